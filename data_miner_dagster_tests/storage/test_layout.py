"""Where everything lies under the root, written out once more by hand, and that no key leads out of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.layout import StorageLayout

LAYOUT = StorageLayout(Path("/root"))
KEY = "youtube-dQw4w9WgXcQ"
PATHS: dict[str, Path] = {
    "catalog.sqlite": LAYOUT.catalog_file,
    "platform.json": LAYOUT.platform_file,
    "dagster_home": LAYOUT.dagster_home,
    "project_files": LAYOUT.project_files,
    "videos": LAYOUT.videos,
    "frames": LAYOUT.frames,
    "embeddings": LAYOUT.embeddings,
    f"videos/{KEY}": LAYOUT.video_folder(KEY),
    f"videos/{KEY}/info.json": LAYOUT.video_info(KEY),
    f"frames/{KEY}": LAYOUT.frames_folder(KEY),
    f"frames/{KEY}/frames.parquet": LAYOUT.frames_table(KEY),
    f"frames/{KEY}/000007.jpg": LAYOUT.frame_path(KEY, "000007.jpg"),
    f"embeddings/lite/{KEY}.npz": LAYOUT.embedding_file("lite", KEY),
    "embeddings/lite/prompts/0f3a.npz": LAYOUT.prompt_embedding_file("lite", "0f3a"),
    "projects/pets": LAYOUT.project_folder("pets"),
    "projects/pets/stage_versions.json": LAYOUT.stage_versions("pets"),
    "projects/pets/file_hashes.json": LAYOUT.file_hashes("pets"),
    "projects/pets/similarities.parquet": LAYOUT.similarities_table("pets"),
    "projects/pets/calibration": LAYOUT.calibration_folder("pets"),
    "projects/pets/filtered.parquet": LAYOUT.filtered_table("pets"),
    "projects/pets/deduplicated.parquet": LAYOUT.deduplicated_table("pets"),
    "projects/pets/representatives.npz": LAYOUT.representatives_file("pets"),
    "projects/pets/reuploads.parquet": LAYOUT.reuploads_table("pets"),
    "projects/pets/detections.parquet": LAYOUT.detections_table("pets"),
    "projects/pets/detected_frames.parquet": LAYOUT.detected_frames_table("pets"),
    "projects/pets/detection_parts": LAYOUT.detection_parts("pets"),
    "releases/pets": LAYOUT.releases_folder("pets"),
    "releases/pets/v001": LAYOUT.release_folder("pets", "v001"),
    "reports/pets": LAYOUT.report_folder("pets"),
}
OF_A_VIDEO: tuple[Callable[[str], Path], ...] = (
    LAYOUT.video_folder,
    LAYOUT.video_info,
    LAYOUT.frames_folder,
    LAYOUT.frames_table,
    lambda key: LAYOUT.frame_path(key, "000000.jpg"),
    lambda key: LAYOUT.embedding_file("lite", key),
)
OF_A_PROJECT: tuple[Callable[[str], Path], ...] = (
    LAYOUT.project_folder,
    LAYOUT.stage_versions,
    LAYOUT.file_hashes,
    LAYOUT.similarities_table,
    LAYOUT.calibration_folder,
    LAYOUT.filtered_table,
    LAYOUT.deduplicated_table,
    LAYOUT.representatives_file,
    LAYOUT.reuploads_table,
    LAYOUT.detections_table,
    LAYOUT.detected_frames_table,
    LAYOUT.detection_parts,
    LAYOUT.releases_folder,
    lambda name: LAYOUT.release_folder(name, "v001"),
    lambda version: LAYOUT.release_folder("pets", version),
    LAYOUT.report_folder,
    lambda encoder: LAYOUT.embedding_file(encoder, KEY),
    lambda digest: LAYOUT.prompt_embedding_file("lite", digest),
    lambda encoder: LAYOUT.prompt_embedding_file(encoder, "0f3a"),
)


@pytest.mark.parametrize("relative", PATHS)
def test_layout__is_that_of_every_root(relative: str) -> None:
    assert PATHS[relative] == Path("/root", relative)


@pytest.mark.parametrize("wrong", ["", "..", "../..", "a/b", "/etc", "a-../b", "nokey"])
def test_layout__no_path_of_a_key_that_is_none(wrong: str) -> None:
    for path_of in OF_A_VIDEO:
        with pytest.raises(ConfigError, match="video key"):
            path_of(wrong)


@pytest.mark.parametrize("wrong", ["", "..", ".hidden", "a/b", "/etc", "a..b", "a\0"])
def test_layout__no_path_of_a_name_that_is_none(wrong: str) -> None:
    for path_of in OF_A_PROJECT:
        with pytest.raises(ConfigError, match="project name"):
            path_of(wrong)


def test_filled_rooms__a_root_that_is_not_there_and_one_of_empty_rooms(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path / "root")
    assert layout.filled_rooms() == []
    assert not layout.root.exists()
    for room in ("videos", "frames", "projects", "releases", "reports", "embeddings"):
        (layout.root / room).mkdir(parents=True)
        (layout.root / room / ".partial-0123456789ab-a").mkdir()
    assert layout.filled_rooms() == []


def test_filled_rooms__those_that_a_catalog_knows_of(tmp_path: Path) -> None:
    for room in ("releases", "reports", "embeddings", "videos"):
        (tmp_path / room / "a").mkdir(parents=True)
    assert StorageLayout(tmp_path).filled_rooms() == ["videos", "releases"]
