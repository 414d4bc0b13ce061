"""The texts in a release may change only if `RELEASING_VERSION` is raised.

Otherwise `data-miner rebuild` would report a different result instead of a different version of this package.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.versions import RELEASING_VERSION
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_project

TEXTS: Final = ("README.md", "datasheet.md", "data.yaml")
DIGEST_OF_VERSION: Final = (5, "71493f22b601a536")
_OF_LIBRARIES: Final = re.compile(r"\b[0-9a-f]{32,}\b|\b[\d.,]+ [kMG]?B\b")
"""Fingerprints and sizes, which depend on the versions of the libraries that encode pictures and tables."""


def test_release_project__other_texts_are_another_version(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = platform.layout.release_folder("cyclists", "v001")
    texts = [_OF_LIBRARIES.sub("?", (folder / name).read_text(encoding="utf-8")) for name in TEXTS]
    found = (RELEASING_VERSION, hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16])
    assert found == DIGEST_OF_VERSION, (
        f"the texts of a release have changed: {found}; raise RELEASING_VERSION, and set DIGEST_OF_VERSION to the new "
        "version and digest"
    )
