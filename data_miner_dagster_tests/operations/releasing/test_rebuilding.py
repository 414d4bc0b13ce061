"""Test rebuilding after later releases and verdicts and on a restored root, and that missing inputs are named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster.export.manifest import damaged_files
from data_miner_dagster.operations.copies.backup import make_backup
from data_miner_dagster.operations.copies.restore import restore_root
from data_miner_dagster.operations.object_stores import open_place
from data_miner_dagster.operations.releasing.rebuilding import plan_rebuild, rebuild_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.upkeep.forgetting import forget_videos
from data_miner_dagster_tests.operations.releasing.release_folders import files_of
from data_miner_dagster_tests.support.damage import damage
from data_miner_dagster_tests.support.living_project import PROJECT, LivingPlatform
from data_miner_dagster_tests.support.verdicts import box_verdict, frame_verdict

SETTINGS = {"keep": 0.5, "near": 0.97, "confidence": 0.05, "unsure_from": 0.05}
SPLITS = {"train": 0.5, "test": 0.5}


def _release(platform: LivingPlatform) -> str:
    platform.run_stages()
    return str(release_project(platform, PROJECT).metadata["version"])


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivingPlatform]:
    """Yield a root with four releases: of two videos, of three, after verdicts, and with other settings."""
    platform = LivingPlatform(tmp_path_factory.mktemp("rebuilding") / "root")
    platform.configure(**SETTINGS, splits=SPLITS)
    platform.add("files-x0", (0,))
    platform.add("files-x1", (52,))
    assert _release(platform) == "v001"
    platform.add("files-x5", (26, 67))
    assert _release(platform) == "v002"
    wrong = box_verdict("files-x0/000000", 0.0, VerdictWord.WRONG, ("red", (2 / 64, 2 / 48, 3 / 64, 31 / 48)))
    add_verdicts(platform.database, PROJECT, [wrong, frame_verdict("files-x1/000000", 0.0, VerdictWord.DROP)])
    assert _release(platform) == "v003"
    platform.configure(**{**SETTINGS, "keep": 0.8}, splits={"train": 0.8, "val": 0.1, "test": 0.1})
    assert _release(platform) == "v004"
    yield platform
    platform.database.dispose()


def _folder(platform: LivingPlatform, version: str) -> Path:
    return platform.layout.release_folder(PROJECT, version)


def _lacks(platform: LivingPlatform, version: str = "v001") -> list[str]:
    return plan_rebuild(platform, PROJECT, version=version).lacks


def test_rebuild_release__after_later_releases_and_verdicts(releases: LivingPlatform, tmp_path: Path) -> None:
    of_root = files_of(releases.root / "releases")
    images = {
        frozenset(path.name for path in folder.rglob("*.jpg")) for folder in _folder(releases, "v001").parent.iterdir()
    }
    assert len(images) == 3  # the last two differ only in their splits
    for version in ("v001", "v002", "v003", "v004"):
        plan = plan_rebuild(releases, PROJECT, version=version)
        assert plan.lacks == []
        rebuilt = rebuild_release(releases, plan, tmp_path / version)
        assert files_of(rebuilt.folder) == files_of(_folder(releases, version))
        assert all(path.stat().st_nlink == 1 for path in rebuilt.folder.rglob("*.jpg"))  # copies rather than links
    assert files_of(releases.root / "releases") == of_root
    assert not [entry for entry in releases.root.iterdir() if "rebuild" in entry.name]
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        rebuild_release(releases, plan, tmp_path / "v001")
    with pytest.raises(ConfigError, match="in the root's own folder releases"):
        rebuild_release(releases, plan, _folder(releases, "v009"))


def test_rebuild_release__on_a_restored_root_and_from_the_manifest_alone(
    releases: LivingPlatform, tmp_path: Path
) -> None:
    store = open_place(releases.config.objects, str(tmp_path / "copies"))
    make_backup(releases, store)
    restored = LivingPlatform(tmp_path / "restored")
    restore_root(store, restored.layout)
    wanted = files_of(_folder(releases, "v003"))
    manifest = tmp_path / "release.json"
    shutil.copyfile(_folder(restored, "v003") / "release.json", manifest)
    shutil.rmtree(_folder(restored, "v003"))
    plan = plan_rebuild(restored, PROJECT, manifest=manifest)
    assert (plan.version, plan.lacks) == ("v003", [])
    rebuilt = rebuild_release(restored, plan, tmp_path / "again")
    assert files_of(rebuilt.folder) == wanted
    assert damaged_files(rebuilt.folder) == []
    restored.database.dispose()


@pytest.fixture
def copy(releases: LivingPlatform, tmp_path: Path) -> Iterator[LivingPlatform]:
    """Yield a copy of the root that the test may damage."""
    shutil.copytree(releases.root, tmp_path / "root", symlinks=True)
    platform = LivingPlatform(tmp_path / "root")
    yield platform
    platform.database.dispose()


def _change_recipe(platform: LivingPlatform, version: str, **changes: dict[str, object]) -> None:
    path = platform.layout.release_inputs(PROJECT, version)
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    recipe = json.loads(metadata[b"recipe"])
    recipe = {name: {**recipe[name], **changes[name]} if name in changes else recipe[name] for name in recipe}
    pq.write_table(table.replace_schema_metadata({**metadata, b"recipe": json.dumps(recipe).encode()}), path)


def test_plan_rebuild__names_all_that_is_gone_at_once(copy: LivingPlatform, tmp_path: Path) -> None:
    (copy.layout.frames_folder("files-x0") / "000000.jpg").unlink()
    picture = copy.layout.frames_folder("files-x1") / "000000.jpg"
    content = picture.read_bytes()
    picture.unlink()  # the releases still have the picture under another name
    picture.write_bytes(content[:-1] + b"?")
    shutil.rmtree(copy.layout.frames_folder("files-x5"))
    copy.layout.embedding_file("axis", "files-x1").unlink()
    shutil.rmtree(_folder(copy, "v001"))
    copy.looking.fingerprint = "2"
    _change_recipe(copy, "v002", packages={"numpy": "1.0.0"}, stages={"filtering": 99})
    lacks = _lacks(copy, "v002")
    wanted = [
        "numpy is ",
        "filtering has changed: it was version 99",
        "the weights or settings of model colours have changed",
        "1 image of files-x0 is missing or changed (000000.jpg)",
        "1 image of files-x1 is missing or changed (000000.jpg)",
        "the embeddings of files-x1 from encoder axis are missing",
        "the frames of files-x5 are missing",
        "release v001 is missing",
    ]
    assert len(lacks) == len(wanted)
    assert all(line.startswith(start) for line, start in zip(lacks, wanted, strict=True))
    assert lacks[0].endswith(" here, but was 1.0.0 when the release was built; add --any-versions to try anyway")
    with pytest.raises(DataMinerError, match=r"v002 cannot be rebuilt: numpy is .*; release v001 is missing"):
        rebuild_release(copy, plan_rebuild(copy, PROJECT, version="v002"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plan_rebuild__of_a_release_with_the_texts_of_an_earlier_version(copy: LivingPlatform) -> None:
    _change_recipe(copy, "v001", stages={"releasing": 4})
    (line,) = _lacks(copy)
    assert line == (
        "releasing has changed: it was version 4, and is now version 5; install the version of data-miner-dagster that "
        "built the release"
    )


def test_rebuild_release__another_result_is_not_handed_over(copy: LivingPlatform, tmp_path: Path) -> None:
    _change_recipe(copy, "v001", packages={"numpy": "1.0.0"})
    assert len(_lacks(copy)) == 1
    plan = plan_rebuild(copy, PROJECT, version="v001", any_versions=True)
    assert files_of(rebuild_release(copy, plan, tmp_path / "same").folder) == files_of(_folder(copy, "v001"))
    copy.looking.grow = 3.0  # the same weights now find other boxes
    shutil.rmtree(copy.layout.detection_parts(PROJECT))
    with pytest.raises(DataMinerError, match=r"cannot be rebuilt: annotations/.* came out differently; nothing was"):
        rebuild_release(copy, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plan_rebuild__where_nothing_is_kept_of_a_release(copy: LivingPlatform, tmp_path: Path) -> None:
    copy.layout.release_inputs(PROJECT, "v001").unlink()  # as after an earlier version
    with pytest.raises(DataMinerError, match=r"v001 cannot be rebuilt: its inputs are damaged or not stored"):
        _lacks(copy)
    damage(copy.layout.release_inputs(PROJECT, "v004"))
    with pytest.raises(DataMinerError, match=r"v004\.parquet is damaged, .*; restore this file, or the release, from"):
        _lacks(copy, "v004")
    forget_videos(copy, "files-x5", reason="asked", keep_releases=True)
    with pytest.raises(DataMinerError, match=r"v002 cannot be rebuilt: .* one of its videos was forgotten"):
        _lacks(copy, "v002")
    with pytest.raises(ConfigError, match=r"is not the release\.json of a release of 'life'"):
        plan_rebuild(copy, PROJECT, manifest=tmp_path / "absent.json")
