"""Test releases and exports in buckets (complete, resumed after kills, recorded, withdrawn), and the hub's records."""

import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from typer.testing import CliRunner

from data_miner_dagster.catalog.outside_copies import find_outside_copies, record_publication
from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.cli.main import app
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.operations.copies.backup import make_backup
from data_miner_dagster.operations.copies.publishing import (
    dataset_url,
    export_to_bucket,
    publish_release,
    withdraw_publication,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release, names_in_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.upkeep.forgetting import copies_showing, releases_holding
from data_miner_dagster.stages.releasing import Candidates
from data_miner_dagster.storage.folder_store import FolderStore
from data_miner_dagster_tests.operations.copies.killing import kill_at_request
from data_miner_dagster_tests.support.buckets import BUCKET, SECRET_KEY, FaultyBuckets
from data_miner_dagster_tests.support.dataset_hub import serving_dataset
from data_miner_dagster_tests.support.file_hub import use_hub

PLACE = f"s3://{BUCKET}/public"


@pytest.fixture
def platform(released_root: Path, buckets: FaultyBuckets) -> Platform:
    """Return a platform with a released project and a bucket."""
    settings = {"models": {"profile": "lite"}, "objects": buckets.settings(concurrent_transfers=1)}
    return Platform(PlatformConfig.model_validate(settings), released_root)


def _published(buckets: FaultyBuckets, prefix: str = "public/cyclists/v001/") -> dict[str, bytes]:
    return {name.removeprefix(prefix): buckets.get(name) for name in buckets.names(prefix)}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publish_release__is_the_release_remembered_and_withdrawn(platform: Platform, buckets: FaultyBuckets) -> None:
    would = publish_release(platform, "cyclists", PLACE, dry_run=True)
    assert (buckets.names(), find_outside_copies(platform.database)) == ([], [])
    sent = publish_release(platform, "cyclists", PLACE)
    release = platform.layout.release_folder("cyclists", "v001")
    assert sent == would
    assert sent.files.num_files == len(list(names_in_release(release)))
    assert _published(buckets) == _files(release)
    assert [(row.url, row.project_name, row.version) for row in find_outside_copies(platform.database)] == [
        (f"{PLACE}/cyclists/v001", "cyclists", "v001")
    ]
    again = publish_release(platform, "cyclists", PLACE)
    assert (again.files.num_files, again.files.num_there) == (0, sent.files.num_files)
    assert len(find_outside_copies(platform.database)) == 1
    videos = [row for row in find_videos(platform.database) if row.key == "files-aaa"]
    make_backup(platform, FolderStore(platform.root.parent / "copies"))
    publication, backup = copies_showing(platform, videos, releases_holding(platform, ["files-aaa"]))
    assert publication.endswith(f"`data-miner publish cyclists --version v001 --to {PLACE} --withdraw`")
    assert "--keep 1" in backup
    manifest, content = release / "release.json", (release / "release.json").read_bytes()
    manifest.write_text("{")
    doubtful, _ = copies_showing(platform, videos, releases_holding(platform, ["files-aaa"]))
    assert ", which cannot be read and may show the videos, at" in doubtful
    manifest.write_bytes(content)
    buckets.put("public/cyclists/v002/release.json", b"another's")
    assert withdraw_publication(platform, "cyclists", PLACE, "v001") == sent.files.num_files
    assert buckets.names() == ["public/cyclists/v002/release.json"]
    with pytest.raises(ConfigError, match="has not published"):
        withdraw_publication(platform, "cyclists", PLACE, "v001")


def test_forget__withdraws_published_copies_and_names_those_that_it_cannot_reach(
    platform: Platform, buckets: FaultyBuckets, tmp_path: Path
) -> None:
    gone = f"s3://{BUCKET}-gone/public"
    publish_release(platform, "cyclists", PLACE)
    record_publication(platform.database, f"{gone}/cyclists/v001", "cyclists", "v001")
    file = tmp_path / "platform.yaml"
    file.write_text(
        yaml.safe_dump({"platform": platform.config.model_dump(mode="json", include={"models", "objects"})})
    )
    arguments = ["forget", "files-aaa", "--withdraw", "--yes", "--root", str(platform.root), "--config", str(file)]
    told = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert told.exit_code == 1
    assert f"{PLACE}/cyclists/v001: " in told.output
    assert f"not removed: {gone}/cyclists/v001: " in told.output
    assert (
        f"`data-miner publish cyclists --version v001 --to {gone} --withdraw --root {platform.root} --config {file}`"
        in told.output
    )
    assert buckets.names() == []
    assert [row.url for row in find_outside_copies(platform.database)] == [f"{gone}/cyclists/v001"]
    assert find_video(platform.database, "files-aaa") is None


class _OddServer(BaseHTTPRequestHandler):
    """Answers a listing request with a size that is not a number and repeats a secret."""

    def do_GET(self) -> None:
        entry = f"<Contents><Key>public/a.jpg</Key><Size>{SECRET_KEY} of a client</Size></Contents>"
        content = f"<ListBucketResult><Name>odd</Name>{entry}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Suppress the request log."""


@pytest.fixture
def odd_endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _OddServer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_forget__an_unexpected_error_of_one_copy_stops_neither_the_others_nor_the_forgetting(
    platform: Platform, buckets: FaultyBuckets, odd_endpoint: str, tmp_path: Path
) -> None:
    odd = "s3://odd/public"  # precedes the other copy in the catalog's order
    record_publication(platform.database, f"{odd}/cyclists/v001", "cyclists", "v001")
    publish_release(platform, "cyclists", PLACE)
    content = platform.config.model_dump(mode="json", include={"models", "objects"})
    stores = content["objects"]["stores"]
    stores["s3://odd"] = {**stores["s3://"], "endpoint": odd_endpoint}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump({"platform": content}))
    arguments = ["forget", "files-aaa", "--withdraw", "--yes", "--root", str(platform.root), "--config", str(file)]
    told = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert told.exit_code == 1
    assert f"not removed: {odd}/cyclists/v001: ValueError: invalid literal for int()" in told.output
    assert "'*** of a client' (objects/" in told.output
    assert SECRET_KEY not in told.output
    assert f"{PLACE}/cyclists/v001: " in told.output
    assert buckets.names() == []
    assert [row.url for row in find_outside_copies(platform.database)] == [f"{odd}/cyclists/v001"]
    assert find_video(platform.database, "files-aaa") is None


def test_publish_release__killed_and_said_again(platform: Platform, buckets: FaultyBuckets) -> None:
    settings = platform.config.model_dump_json()
    kill_at_request(buckets, settings, ("publish", platform.root, PLACE), method="PUT", path="/images/", after=3)
    there = _published(buckets)
    assert "release.json" not in there
    assert "UNFINISHED.json" in there
    assert [row.version for row in find_outside_copies(platform.database)] == ["v001"]
    sent = publish_release(platform, "cyclists", PLACE)
    assert sent.files.num_there >= 3
    assert buckets.num_requests("PUT") == sent.files.num_files
    assert _published(buckets) == _files(platform.layout.release_folder("cyclists", "v001"))


def test_publish_release__over_something_else_or_withdrawn(platform: Platform, buckets: FaultyBuckets) -> None:
    buckets.put("public/cyclists/v001/notes.txt", b"mine")
    with pytest.raises(ConfigError, match=r"is not empty \(it contains notes\.txt\)"):
        publish_release(platform, "cyclists", PLACE)
    assert _published(buckets) == {"notes.txt": b"mine"}
    withdraw_release(platform.database, "cyclists", "v001", "on request")
    with pytest.raises(DataMinerError, match=r"was withdrawn \(on request"):
        publish_release(platform, "cyclists", PLACE, version="v001")


def test_export_to_bucket__of_a_format_is_that_of_a_folder(
    platform: Platform, buckets: FaultyBuckets, tmp_path: Path
) -> None:
    export_release(platform, "cyclists", format="yolo", to=tmp_path / "out")
    sent = export_to_bucket(platform, "cyclists", format="yolo", to=f"{PLACE}/yolo")
    assert _published(buckets, "public/yolo/") == _files(tmp_path / "out")
    buckets.client.delete_object(Bucket=BUCKET, Key="public/yolo/data.yaml")
    with pytest.raises(ConfigError, match="is not empty"):  # as if somebody had changed the export
        export_to_bucket(platform, "cyclists", format="yolo", to=f"{PLACE}/yolo")
    assert sent.files.num_there == 0
    assert [path.name for path in platform.root.iterdir() if path.name.startswith(".")] == []


def test_publish__on_the_hub_without_doing_it(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATA_MINER_ROOT", "DATA_MINER_CONFIG", "DATA_MINER_PROFILE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    arguments = ["publish", "cyclists", "--to", "hf://datasets/me/cyclists", "--dry-run", "--root", str(platform.root)]
    told = CliRunner().invoke(app, arguments, catch_exceptions=False)
    export_release(platform, "cyclists", format="huggingface", to=tmp_path / "out")
    assert told.output.startswith(f"cyclists v001: {len(_files(tmp_path / 'out'))} files, ")
    assert "would be sent → hf://datasets/me/cyclists" in told.output
    assert find_outside_copies(platform.database) == []
    with pytest.raises(ConfigError, match="write hf://datasets/<owner>/<name>"):
        publish_release(platform, "cyclists", "hf://me/cyclists")


class _FirstImage:
    """Chooses only the first image."""

    settings: Mapping[str, object] = MappingProxyType({"first": 1})

    def choose(self, candidates: Candidates) -> npt.NDArray[np.bool_]:
        return np.array([number == 0 for number in range(len(candidates.frame_indices))], np.bool_)


def test_publish__two_versions_on_the_hub_are_both_recorded(
    released_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving_dataset() as (hub, address):
        use_hub(monkeypatch, address, tmp_path)
        objects = {"stores": {"hf://": {"endpoint": address}}}
        settings = {"models": {"profile": "lite"}, "objects": objects}
        platform = Platform(PlatformConfig.model_validate(settings), released_root)
        place = "hf://datasets/me/cyclists"
        publish_release(platform, "cyclists", place)
        publish_release(platform, "cyclists", place)
        release_project(platform, "cyclists", selection=_FirstImage())
        publish_release(platform, "cyclists", place)
    assert [(row.url, row.version) for row in find_outside_copies(platform.database)] == [
        (place, "v001"),
        (place, "v002"),
    ]
    first, second = hub.commits[hub.tags["v001"]], hub.commits[hub.tags["v002"]]
    assert len([name for name in first if name.endswith(".parquet")]) == 2
    videos = [row for row in find_videos(platform.database) if row.key == "files-aaa"]
    copies = copies_showing(platform, videos, releases_holding(platform, ["files-aaa"]))
    assert copies == [f"release cyclists {version} at {place}: remove it on the hub" for version in ("v001", "v002")]
    assert second.keys() < first.keys()


def test_dataset_url__a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="write hf://datasets/<owner>/<name>") as refused:
        dataset_url("hf://me:s3cret@datasets/me/cyclists")
    assert "s3cret" not in str(refused.value)
