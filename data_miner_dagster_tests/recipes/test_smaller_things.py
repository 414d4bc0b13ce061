"""Follow `Where smaller things go`: add a command, and a column of `frames.parquet`."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

COMMAND_FILE: Final = {
    "cli/counting.py": '''
"""The command `count-videos`."""

from data_miner_dagster.cli.options import RootOption, opened_existing
from data_miner_dagster.cli.output import echo


def count_videos(root: RootOption = None) -> None:
    """Say how many videos there are."""
    from data_miner_dagster.catalog.videos import find_videos

    echo(f"{len(find_videos(opened_existing(root, None, None).database))} videos")
''',
}
COMMAND: Final = {
    "cli/main.py": {
        "from data_miner_dagster.cli.damage import": (
            "from data_miner_dagster.cli.counting import count_videos\nfrom data_miner_dagster.cli.damage import"
        ),
        '    "Tune": (': '    "Tune": (count_videos, ',
    },
}
COLUMN: Final = {
    "domain/tables.py": {
        '        not_null("sharpness", ': (
            '        pa.field("num_black_pixels", pa.int32()),\n        not_null("sharpness", '
        ),
    },
    "operations/extraction/manifest.py": {
        '                "sharpness": quality.sharpness,\n': (
            '                "num_black_pixels": int((luma == 0).sum()),\n'
            '                "sharpness": quality.sharpness,\n'
        ),
    },
    "domain/versions.py": {"EXTRACTION_VERSION: Final = ": "EXTRACTION_VERSION: Final = 100 + "},
}

COMMAND_USED: Final = """
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster_tests.support.sample_project import build_project

build_project(tmp_path / "root", through="sourcing")
told = CliRunner().invoke(app, ["count-videos", "--root", str(tmp_path / "root")]).output
assert told == "5 videos\\n", told
assert "Say how many videos there are." in CliRunner().invoke(app, ["--help"]).output
"""
COLUMN_USED: Final = """
from fractions import Fraction

import numpy as np

from data_miner_dagster.assets.extraction import frames
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.operations.extraction.manifest import Moment, frame_folder_writer
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import read_table, write_table

layout = StorageLayout(tmp_path)
folder = layout.frames_folder("files-aaa")
folder.mkdir(parents=True)
luma = np.full((48, 64), 90, np.uint8)
luma[:2, :3] = 0
with frame_folder_writer(folder, "files-aaa", "fingerprint", ExtractionConfig()) as writer:
    writer.add(b"picture", "jpg", luma, Moment(0, Fraction(1, 1000), 0, True))
table = read_frames(layout, "files-aaa", ["frame_id", "num_black_pixels"])
assert table.to_pylist() == [{"frame_id": "files-aaa/000000", "num_black_pixels": 6}], table
path = layout.frames_table("files-aaa")
write_table(path, read_table(path).drop_columns(["num_black_pixels"]), fingerprint="of an earlier version")
assert read_frames(layout, "files-aaa", ["num_black_pixels"]).to_pylist() == [{"num_black_pixels": None}]
(code_version,) = frames.code_versions_by_key.values()
assert int(code_version) > 100, code_version
"""


@pytest.mark.slow
def test_a_command__what_is_named_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, COMMAND_FILE, COMMAND, COMMAND_USED)


@pytest.mark.slow
def test_a_column_of_frames__what_is_named_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, {}, COLUMN, COLUMN_USED)


def test_smaller_things__every_file_is_named() -> None:
    assert unnamed_files("Where smaller things go", [*COMMAND, *COLUMN]) == []
