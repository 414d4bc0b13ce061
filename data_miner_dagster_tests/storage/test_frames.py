"""Test the reader of frames.parquet, and that no other module reads the table."""

import ast
from pathlib import Path

import pyarrow as pa
import pytest

import data_miner_dagster
from data_miner_dagster.domain.errors import DamagedFileError, OutOfDateError
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.storage.frames import (
    FrameImage,
    FramesIdentity,
    frames_identity,
    has_frames,
    images_of_frames,
    read_frame_images,
    read_frames,
    sound_frames_identity,
)
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.support.frames import frame_rows, write_frames

KEY = "youtube-dQw4w9WgXcQ"
OTHER = "frames-0123456789abcdef"


@pytest.fixture
def layout(tmp_path: Path) -> StorageLayout:
    return StorageLayout(tmp_path)


def test_readers__no_table(layout: StorageLayout) -> None:
    assert not has_frames(layout, KEY)
    assert frames_identity(layout, KEY) is None
    assert sound_frames_identity(layout, KEY) is None
    for read in (
        lambda: read_frames(layout, KEY, ["frame_id"]),
        lambda: read_frame_images(layout, KEY),
    ):
        with pytest.raises(FileNotFoundError):
            read()
    assert images_of_frames(layout, [f"{KEY}/000000"]) == {}


def test_readers__a_table_without_rows(layout: StorageLayout) -> None:
    write_frames(layout, KEY, 0, fingerprint="empty")
    assert has_frames(layout, KEY)
    assert sound_frames_identity(layout, KEY) == FramesIdentity("empty", 0)
    assert read_frames(layout, KEY, ["frame_id"]).num_rows == 0
    assert read_frame_images(layout, KEY) == {}


def test_readers__a_damaged_table(layout: StorageLayout) -> None:
    write_frames(layout, KEY, 3)
    path = layout.frames_table(KEY)
    path.write_bytes(path.read_bytes()[:-20])
    assert has_frames(layout, KEY)
    assert frames_identity(layout, KEY) is None
    for read in (
        lambda: sound_frames_identity(layout, KEY),
        lambda: read_frames(layout, KEY, ["frame_id"]),
        lambda: read_frame_images(layout, KEY),
        lambda: images_of_frames(layout, [f"{KEY}/000000"]),
    ):
        with pytest.raises(
            DamagedFileError,
            match=r"frames\.parquet is damaged .*; the next run, or `data-miner doctor --fix`, removes",
        ):
            read()


def test_read_frames__the_columns_asked_for_in_their_order(layout: StorageLayout) -> None:
    write_frames(layout, KEY, 2, seconds_apart=0.5, quality_flag=[None, "blurred"])
    table = read_frames(layout, KEY, ("quality_flag", "pts_seconds", "frame_index"))
    assert table.to_pydict() == {"quality_flag": [None, "blurred"], "pts_seconds": [0.0, 0.5], "frame_index": [0, 1]}


def test_read_frames__a_column_of_another_type_is_damage(layout: StorageLayout) -> None:
    table = table_from_rows(frame_rows(KEY, 2), FRAMES_SCHEMA)
    position = table.column_names.index("width")
    wide = table.set_column(position, "width", table["width"].cast(pa.int64()))
    write_table(layout.frames_table(KEY), wide, fingerprint="f")
    assert read_frames(layout, KEY, ["height"])["height"].to_pylist() == [48, 48]
    with pytest.raises(DamagedFileError, match="the column width has type int64, not int32"):
        read_frames(layout, KEY, ["height", "width"])


def write_earlier_frames(layout: StorageLayout, lacking: list[str]) -> None:
    table = table_from_rows(frame_rows(KEY, 2), FRAMES_SCHEMA).drop_columns(lacking)
    write_table(layout.frames_table(KEY), table, fingerprint="f")


def test_read_frames__a_nullable_column_that_an_earlier_version_did_not_write_is_null(layout: StorageLayout) -> None:
    write_earlier_frames(layout, ["text_share", "quality_flag"])
    table = read_frames(layout, KEY, ["text_share", "frame_index", "quality_flag"])
    assert table.column_names == ["text_share", "frame_index", "quality_flag"]
    assert table.to_pydict() == {"text_share": [None, None], "frame_index": [0, 1], "quality_flag": [None, None]}
    assert [table.schema.field(name).type for name in ("text_share", "quality_flag")] == [pa.float32(), pa.string()]
    assert read_frames(layout, KEY, ["quality_flag"]).to_pydict() == {"quality_flag": [None, None]}


def test_read_frames__a_column_that_must_not_be_null_is_to_be_extracted(layout: StorageLayout) -> None:
    write_earlier_frames(layout, ["contrast"])
    with pytest.raises(OutOfDateError) as caught:
        read_frames(layout, KEY, ["frame_index", "contrast"])
    assert str(caught.value) == (
        f"the frames of video {KEY} were extracted before the column contrast was introduced; run "
        "`data-miner backfill --asset frames --project PROJECT --force --keys-file FILE` with the video's key in FILE"
    )
    assert read_frames(layout, KEY, ["frame_index"]).num_rows == 2


def test_read_frames__a_column_that_never_was(layout: StorageLayout) -> None:
    write_frames(layout, KEY, 2)
    with pytest.raises(KeyError, match="colour"):
        read_frames(layout, KEY, ["colour"])


def test_read_frame_images__where_each_lies_and_what_it_is(layout: StorageLayout) -> None:
    write_frames(layout, KEY, 2, frame_index=[0, 7], file_name=["000000.jpg", "000007.png"], width=[64, 32])
    assert read_frame_images(layout, KEY) == {
        0: FrameImage(
            0, PictureFile(layout.root / f"frames/{KEY}/000000.jpg", is_foreign=False), "0" * 64, (64, 48), 0.0
        ),
        7: FrameImage(
            7, PictureFile(layout.root / f"frames/{KEY}/000007.png", is_foreign=False), "0" * 63 + "1", (32, 48), 1.0
        ),
    }


def test_images_of_frames__of_several_videos_in_the_order_asked_for(layout: StorageLayout) -> None:
    assert images_of_frames(layout, []) == {}
    write_frames(layout, KEY, 2)
    write_frames(layout, OTHER, 1)
    asked = [f"{KEY}/000001", f"{OTHER}/000000", f"{KEY}/000002", f"{KEY}/000000"]
    images = images_of_frames(layout, asked)
    assert list(images) == [f"{KEY}/000001", f"{OTHER}/000000", f"{KEY}/000000"]  # the video has no third frame
    assert images[f"{KEY}/000001"].file.path == layout.root / f"frames/{KEY}/000001.jpg"
    assert images[f"{OTHER}/000000"].file.is_foreign, "a folder's pictures keep the bytes that somebody gave them"


def test_frames__no_other_module_knows_where_they_lie() -> None:
    """Each of the other modules that name these files has a reason to do so.

    Extraction writes the table into a new folder, and the search for damage recognizes the table by its name. For a
    deleted frame, previews name a file that does not exist. The review and the search for similar frames already have
    the file names of the frames.
    """
    product = Path(data_miner_dagster.__file__).parent
    naming = {
        path.relative_to(product).as_posix(): names
        for path in sorted(product.rglob("*.py"))
        if (names := _names_of_their_places(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert naming == {
        "operations/damage.py": {"FRAMES_TABLE_NAME"},
        "operations/embedding/similar_frames.py": {"frame_picture"},
        "operations/extraction/manifest.py": {"FRAMES_TABLE_NAME"},
        "operations/extraction/same_bytes.py": {"FRAMES_TABLE_NAME"},
        "operations/reporting/previews.py": {"frame_picture"},
        "operations/reviewing/shown_frames.py": {"frame_picture"},
        "storage/frames.py": {"frames_table", "frame_picture"},
        "storage/layout.py": {"FRAMES_TABLE_NAME", "frames.parquet", "frame_path"},
    }


def _names_of_their_places(tree: ast.Module) -> set[str]:
    """Return the names by which a module refers to frame tables and images: those of the layout, or a literal."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & {"frames_table", "frame_picture", "frame_path"}
        elif isinstance(node, ast.Name):
            found |= {node.id} & {"FRAMES_TABLE_NAME"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            found |= {Path(node.value).name} & {"frames.parquet"}
    return found
