"""Write docs/licences.md, the licences of all components of an installation: `make licences`. Needs this package.

    pip-licenses --from=mixed --with-system --format=json | python docker/locks/licences.py
    python docker/locks/licences.py models      only the models; needs no pip-licenses

The packages are those of `cuda.txt`, the largest lock of an image. pip-licenses reads each one's metadata from an
environment that has them all. A package without licence metadata is an error until its licence is looked up and added
to `LOOKED_UP`.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from lock import LOCKS, REPOSITORY, pins

PAGE: Final = REPOSITORY / "docs" / "licences.md"
LOOKED_UP: Final = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # a stub for NVIDIA's packages that contains no files
    "faster-coco-eval": "Apache-2.0",  # according to its file LICENSE
}
SAME: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD License",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Python Software Foundation License": "PSF-2.0",
}
"""The identifier of a licence, by the name that packages use for it."""
ASKING: Final = re.compile(r"GPL|MPL|Proprietary|EUPL|CDDL|EPL")
"""Matches the names of licences whose conditions go beyond passing on their text."""
_MODELS: Final = "## Models"
_HEAD: Final = """\
# Licences

`make licences` writes this page from the packages' own metadata (pip-licenses) and from the model registry. It is not
legal advice. The metadata of a package does not mention the libraries that its wheel contains: `av` and `opencv-python`
contain FFmpeg (LGPL), and `av` contains libx264 and libx265 (GPL-2.0 or later).
[Supply chain](deploy/supply-chain.md#licences-with-conditions) explains the conditions.

"""


def canonical(name: str) -> str:
    """Return the name of a package as locks write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def one_name(licence: str) -> str:
    """Return one name for all spellings of a licence, so that packages under the same licence are listed together."""
    parts = {SAME.get(part.strip(), part.strip()) for part in licence.split(";")}
    return "; ".join(sorted(parts))


def packages_part(said: Mapping[str, str], locked: Mapping[str, str]) -> str:
    """Return the tables of packages, by licence.

    Raises:
        SystemExit: a locked package is not installed, or has no licence metadata.
    """
    found = {**said, **LOOKED_UP}
    if absent := sorted(locked.keys() - found.keys()):
        sys.exit(
            f"these packages are not installed: {', '.join(absent)}; install them, so that their licences can be read"
        )
    if silent := sorted(name for name in locked if found[name] in ("UNKNOWN", "")):
        sys.exit(
            f"these packages state no licence: {', '.join(silent)}; look it up, and add it to LOOKED_UP in {__file__}"
        )
    by_licence: dict[str, list[str]] = {}
    for name, version in sorted(locked.items()):
        by_licence.setdefault(one_name(found[name]), []).append(f"{name} {version}")
    asking = {licence: names for licence, names in by_licence.items() if ASKING.search(licence)}
    others = {licence: names for licence, names in by_licence.items() if licence not in asking}
    return "\n".join(
        [
            "## Packages\n",
            f"{len(locked)} packages: this one, and all that it and the extras in the container images require on "
            "Linux with CUDA.\n",
            "### With conditions\n",
            *_table(("licence", "packages"), asking),
            "",
            "### Other licences\n",
            *_table(("licence", "packages"), others),
            "",
        ]
    )


def models_part() -> str:
    """Return the table of the registry's built-in models. None of them is part of the package."""
    from data_miner_dagster.models.registry import BUILT_IN

    rows = {
        entry.name: [entry.licence + (" (accepted on the hub first)" if entry.is_gated else ""), entry.source]
        for entry in sorted(BUILT_IN.values(), key=lambda entry: entry.name)
    }
    lines = [f"| `{name}` | {licence} | {source} |" for name, (licence, source) in rows.items()]
    head = ["| model | licence of the weights | source |", "|---|---|---|"]
    note = "Neither the package nor the container images contain weights.\n"
    return "\n".join([f"{_MODELS}\n", note, *head, *lines, ""])


def _table(columns: tuple[str, str], rows: Mapping[str, Iterable[str]]) -> list[str]:
    ordered = sorted(rows.items(), key=lambda row: row[0].lower())
    return [
        f"| {' | '.join(columns)} |",
        "|---|---|",
        *(f"| {licence} | {', '.join(names)} |" for licence, names in ordered),
    ]


def main() -> None:
    """Write the page, or only its models."""
    if sys.argv[1:] == ["models"]:
        packages = PAGE.read_text(encoding="utf-8").partition(_MODELS)[0].removeprefix(_HEAD)
    else:
        said = {canonical(entry["Name"]): entry["License"].strip() for entry in json.load(sys.stdin)}
        locked = pins((REPOSITORY / LOCKS / "cuda.txt").read_text(encoding="utf-8"))
        packages = packages_part(said, locked) + "\n"
    Path(PAGE).write_text(_HEAD + packages + models_part(), encoding="utf-8")


if __name__ == "__main__":
    main()
