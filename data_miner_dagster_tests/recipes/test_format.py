"""Follow `How to add an export format`: `lines` writes one line per box."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

NEW_FILES: Final = {
    "export/lines.py": '''
"""A line per box: image, class and corners."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.records import ReleaseImage


def lines_file(folder: Path) -> Path:
    """Return where the lines are."""
    return folder / "boxes.txt"


def lines_of(image: ReleaseImage) -> list[str]:
    """Return the lines of an image."""
    return [f"{image.file_name} {box.class_index} {box.box_xyxy}" for box in image.boxes]


class LinesWriter:
    """Writes `boxes.txt`."""

    def __init__(self, folder: Path) -> None:
        self._file = lines_file(folder).open("w", encoding="utf-8")

    def add(self, image: ReleaseImage) -> None:
        """Write the lines of an image."""
        self._file.writelines(f"{line}\\n" for line in lines_of(image))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lines_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the first line that is another."""
    wanted = [line for image in expected.read_images() for line in lines_of(image)]
    if lines_file(folder).read_text(encoding="utf-8").splitlines() != wanted:
        yield "boxes.txt: these are not the boxes of the release"


CODEC: Final = Codec(lambda to: LinesWriter(to.folder), (lines_problems,))
''',
}
CHANGES: Final = {
    "export/formats.py": {
        '    Format("crops"': (
            '    Format("lines", "a line per box", "lines:CODEC", in_releases=True, has_images_beside=True),\n'
            '    Format("crops"'
        ),
    },
}

USED: Final = """
import pytest
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export import lines
from data_miner_dagster.export.formats import formats_table
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_project

assert "| `lines` | a line per box | yes | yes, with `images/` |" in formats_table()
told = CliRunner().invoke(app, ["export", "--help"]).output.replace("│", "")
assert "lines: a line per box" in " ".join(told.split())
root, out = tmp_path / "root", tmp_path / "out"
platform = build_project(root)
release_project(platform, "cyclists")
release = platform.layout.release_folder("cyclists", "v001")
assert len(lines.lines_file(release).read_text().splitlines()) == 5
assert "boxes.txt" in (release / "SHA256SUMS").read_text()
outcome = export_release(platform, "cyclists", format="lines", to=out)
assert (outcome.num_images, outcome.num_boxes) == (7, 5)
assert lines.lines_file(out).read_bytes() == lines.lines_file(release).read_bytes()
assert len(list((out / "images").rglob("*.jpg"))) == 7
with pytest.raises(ConfigError, match="use one of all, .*, lines, crops"):
    export_release(platform, "cyclists", format="words", to=out / "again")
lines.LinesWriter.add = lambda writer, image: None
with pytest.raises(DataMinerError, match="as lines cannot be read back: boxes.txt: these are not the boxes"):
    export_release(platform, "cyclists", format="lines", to=out / "again")
"""


@pytest.mark.slow
def test_recipe_of_a_format__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, NEW_FILES, CHANGES, USED)


def test_recipe_of_a_format__names_every_file() -> None:
    assert unnamed_files("How to add an export format", CHANGES) == []
