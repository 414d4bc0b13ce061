"""Compare all paths under the root with a list written by hand, and test that no key leads out of the root."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import data_miner_dagster
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.previews import preview_at

LAYOUT = StorageLayout(Path("/root"))
KEY = "youtube-dQw4w9WgXcQ"
PATHS: dict[str, Path] = {
    "catalog.sqlite": LAYOUT.catalog_file,
    "platform.json": LAYOUT.platform_file,
    "review_access": LAYOUT.review_access,
    "review_access/link-0f3a": LAYOUT.login_link_file("0f3a"),
    "review_access/session-0f3a": LAYOUT.session_file("0f3a"),
    "review_access/leading-0f3a.html": LAYOUT.leading_page("0f3a"),
    "dagster_home": LAYOUT.dagster_home,
    "project_files": LAYOUT.project_files,
    "videos": LAYOUT.videos,
    "frames": LAYOUT.frames,
    "embeddings": LAYOUT.embeddings,
    "projects": LAYOUT.projects,
    "releases": LAYOUT.releases,
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
    "projects/pets/calibration/plan.json": LAYOUT.calibration_plan("pets"),
    "projects/pets/calibration/questions.csv": LAYOUT.questions_table("pets"),
    "projects/pets/calibration/answers.csv": LAYOUT.answers_file("pets"),
    "projects/pets/calibration/reference.json": LAYOUT.reference_file("pets"),
    "projects/pets/calibration/boxes.json": LAYOUT.box_calibration("pets"),
    "projects/pets/evaluation.json": LAYOUT.evaluation_file("pets"),
    "projects/pets/verdicts/frames.csv": LAYOUT.frame_verdicts("pets"),
    "projects/pets/verdicts/frames.csv.adopted": LAYOUT.adopted_verdicts("pets"),
    "projects/pets/filtered.parquet": LAYOUT.filtered_table("pets"),
    "projects/pets/deduplicated.parquet": LAYOUT.deduplicated_table("pets"),
    "projects/pets/representatives.npz": LAYOUT.representatives_file("pets"),
    "projects/pets/reuploads.parquet": LAYOUT.reuploads_table("pets"),
    "projects/pets/detections.parquet": LAYOUT.detections_table("pets"),
    f"windows/{KEY}": LAYOUT.windows_folder(KEY),
    f"windows/{KEY}/windows.parquet": LAYOUT.windows_table(KEY),
    "projects/pets/window_parts": LAYOUT.window_parts("pets"),
    "projects/pets/window_parts/lite-0f3a": LAYOUT.window_parts_of("pets", "lite", "0f3a"),
    "projects/pets/whole_clip_tracks.parquet": LAYOUT.tracks_table("pets"),
    "projects/pets/whole_clip_frames.parquet": LAYOUT.tracked_frames_table("pets"),
    "projects/pets/detected_frames.parquet": LAYOUT.detected_frames_table("pets"),
    "projects/pets/detection_parts": LAYOUT.detection_parts("pets"),
    "projects/pets/detection_parts/lite-0f3a": LAYOUT.detection_parts_of("pets", "lite", "0f3a"),
    "releases/pets": LAYOUT.releases_folder("pets"),
    "releases/pets/v001": LAYOUT.release_folder("pets", "v001"),
    "reports/pets": LAYOUT.report_folder("pets"),
    "reports/pets/index.html": LAYOUT.report_page("pets"),
    f"previews/videos/{KEY}.webp": LAYOUT.video_preview(KEY),
    "previews/projects/pets": LAYOUT.project_previews("pets"),
    "previews/projects/pets/dataset.webp": LAYOUT.project_preview("pets", "dataset"),
}
OF_A_VIDEO: tuple[Callable[[str], Path], ...] = (
    LAYOUT.video_folder,
    LAYOUT.video_info,
    LAYOUT.frames_folder,
    LAYOUT.frames_table,
    LAYOUT.windows_folder,
    LAYOUT.windows_table,
    lambda key: LAYOUT.frame_path(key, "000000.jpg"),
    lambda key: LAYOUT.embedding_file("lite", key),
    LAYOUT.video_preview,
    lambda key: next(LAYOUT.derived_files(key)),
)
OF_A_PROJECT: tuple[Callable[[str], Path], ...] = (
    LAYOUT.project_folder,
    LAYOUT.stage_versions,
    LAYOUT.file_hashes,
    LAYOUT.similarities_table,
    LAYOUT.calibration_folder,
    LAYOUT.calibration_plan,
    LAYOUT.questions_table,
    LAYOUT.answers_file,
    LAYOUT.reference_file,
    LAYOUT.box_calibration,
    LAYOUT.evaluation_file,
    LAYOUT.filtered_table,
    LAYOUT.deduplicated_table,
    LAYOUT.representatives_file,
    LAYOUT.reuploads_table,
    LAYOUT.detections_table,
    LAYOUT.detected_frames_table,
    LAYOUT.detection_parts,
    LAYOUT.tracks_table,
    LAYOUT.tracked_frames_table,
    LAYOUT.window_parts,
    lambda name: LAYOUT.window_parts_of("pets", name, "0f3a"),
    LAYOUT.releases_folder,
    lambda name: LAYOUT.release_folder(name, "v001"),
    lambda version: LAYOUT.release_folder("pets", version),
    LAYOUT.report_folder,
    LAYOUT.report_page,
    LAYOUT.project_previews,
    lambda name: LAYOUT.project_preview(name, "dataset"),
    lambda name: LAYOUT.project_preview("pets", name),
    lambda name: LAYOUT.detection_parts_of("pets", name, "0f3a"),
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


def test_derived_files__what_can_be_made_again_and_nothing_else(tmp_path: Path) -> None:
    layout = StorageLayout(tmp_path)
    assert list(layout.derived_files()) == []
    other = "local-0123456789abcdef"
    of_the_video = [layout.frames_table(KEY), layout.embedding_file("lite", KEY), layout.video_info(KEY)]
    of_others = [
        layout.frames_table(other),
        layout.embedding_file("lite", other),
        layout.video_info(other),
        layout.prompt_embedding_file("lite", "0f3a"),
        layout.filtered_table("pets"),
        layout.representatives_file("pets"),
        layout.detection_parts_of("pets", "lite", "0f3a") / "000000.boxes.parquet",
        layout.reference_file("pets"),
    ]
    kept = [
        layout.catalog_file,
        layout.platform_file,
        layout.frame_path(KEY, "000000.jpg"),
        layout.answers_file("pets"),
        layout.calibration_plan("pets"),
        layout.release_folder("pets", "v001") / "release.json",
        layout.report_page("pets"),
    ]
    for path in (*of_the_video, *of_others, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert sorted(layout.derived_files()) == sorted([*of_the_video, *of_others])
    assert list(layout.derived_files(KEY)) == of_the_video
    assert layout.embedding_files(KEY) == [layout.embedding_file("lite", KEY)]


def test_paths__joined_from_literals_by_their_owners_alone() -> None:
    """If a module joins a path under the root with a literal, it duplicates knowledge of the layout."""
    joining = {path for path, tree in product_modules() if any(map(is_join_of_a_literal, ast.walk(tree)))}
    assert {path for path in joining if not path.startswith(OWNERS)} == set()
    assert [owner for owner in OWNERS if not any(path.startswith(owner) for path in joining)] == []


def test_paths__no_file_is_named_twice() -> None:
    """Only the modules that define a file name use it as a literal; docstrings and messages may mention it."""
    owners = ("storage/layout.py", "storage/published_layout.py", "export/manifest.py")
    by_module = {path: literals_of(tree) for path, tree in product_modules()}
    owned = {name for owner in owners for name in by_module[owner] if re.fullmatch(r"[\w.]+\.\w+|SHA256SUMS", name)}
    assert {"catalog.sqlite", "info.json", "frames.parquet", "answers.csv", "release.json", "SHA256SUMS"} <= owned
    again = {
        path: named
        for path, literals in by_module.items()
        if path not in owners and (named := {text for text in literals if text.rpartition("/")[2] in owned})
    }
    assert again == {}


OWNERS = (
    "storage/layout.py",
    "storage/published_layout.py",  # part of the layout
    "storage/dagster_home.py",  # in Dagster's own folder
    "storage/detection_parts.py",  # numbered parts in one of the layout's folders
    "export/",  # in a release or an export
    "models/",  # in the cache of models, and files that come with weights
    "catalog/kept_log.py",  # beside an SQLite file
    "catalog/migrations/",  # in the package
    "config/reference.py",  # in the package
    "cli/keeper.py",  # under /proc
    "cli/ports.py",  # also under /proc
    "deployment.py",  # in the package, and in Dagster's own folder
    "history/copying.py",  # in Dagster's own databases
    "web/review/vendoring.py",  # in the package
    "operations/preflight.py",  # a temporary file
    "operations/upkeep/environment.py",  # also a temporary file
    "operations/copies/",  # in a folder that exists only while files are sent
    "sites/",  # a program in the environment, and files in a folder for one fetch
)


def product_modules() -> Iterator[tuple[str, ast.Module]]:
    product = Path(data_miner_dagster.__file__).parent
    for path in sorted(product.rglob("*.py")):
        yield path.relative_to(product).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def is_join_of_a_literal(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and any(
            isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
            for side in (node.left, node.right)
        )
    )


def literals_of(tree: ast.Module) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("preview", [LAYOUT.video_preview(KEY), LAYOUT.project_preview("pets", "dataset")])
def test_preview_at__the_address_leads_back(preview: Path) -> None:
    assert preview_at(LAYOUT, LAYOUT.preview_address(preview)) == preview


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/previews",
        "/previews/videos/",
        "/previews/videos/.webp",
        f"/previews/videos/{KEY}",
        f"/previews/videos/{KEY}.png",
        f"/previews/videos/{KEY}.webp.webp/",
        f"/previews//videos/{KEY}.webp",
        f"previews/videos/{KEY}.webp",
        f"/x/videos/{KEY}.webp",
        "/previews/videos/../../catalog.sqlite",
        "/previews/videos/..-a/../a-b.webp",
        "/previews/projects/../catalog.sqlite",
        "/previews/projects/pets/../x.webp",
        "/previews/projects/.hidden/dataset.webp",
        "/previews/projects/pets/a/dataset.webp",
        "/previews/videos/a-b\0.webp",
        "/previews/videos/a-%2e%2e.webp",
    ],
)
def test_preview_at__no_other_address(address: str) -> None:
    assert preview_at(LAYOUT, address) is None
