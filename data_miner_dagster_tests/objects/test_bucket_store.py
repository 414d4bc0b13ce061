"""Test the contract of object stores, on a real S3 server with faults and on a folder."""

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import (
    ObjectChangedError,
    ObjectError,
    ObjectForbiddenError,
    ObjectMissingError,
    ObjectTransientError,
)
from data_miner_dagster.objects import bucket_store, drivers
from data_miner_dagster.operations.object_stores import open_place
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.storage.atomic import partial_name
from data_miner_dagster.storage.folder_store import FolderStore
from data_miner_dagster_tests.support.buckets import BUCKET, Fault, FaultyBuckets

RANGE = 100_000


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_store, "_RANGE_BYTES", RANGE)


def _store(buckets: FaultyBuckets, **settings: object) -> ObjectStore:
    return open_place(buckets.config(**settings), f"s3://{BUCKET}/base")


def _some_bytes(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


@pytest.fixture(params=["bucket", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Return an empty store of each kind in turn."""
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    return _store(request.getfixturevalue("buckets"))


def test_store__empty(store: ObjectStore, tmp_path: Path) -> None:
    assert list(store.entries()) == []
    assert store.find("nothing") is None
    with pytest.raises(ObjectMissingError, match="nothing"):
        store.read("nothing", max_bytes=10)
    with pytest.raises(ObjectMissingError, match="nothing"):
        store.download("nothing", tmp_path / "file")
    store.remove("nothing")


def test_store__keeps_what_it_is_given(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert store.upload(tmp_path / "file", "a/b.bin") == hashlib.sha256(b"abc").hexdigest()
    store.write("a/c d.txt", b"")
    store.write("ab", b"12")
    assert sorted((entry.name, entry.size_bytes) for entry in store.entries()) == [
        ("a/b.bin", 3),
        ("a/c d.txt", 0),
        ("ab", 2),
    ]
    assert sorted(entry.name for entry in store.entries("a/")) == ["a/b.bin", "a/c d.txt"]
    assert store.read("ab", max_bytes=2) == b"12"
    with pytest.raises(ObjectError, match="more than the limit of 1"):
        store.read("ab", max_bytes=1)
    before = store.find("ab")
    assert before is not None
    store.download("a/b.bin", tmp_path / "back")
    store.download("a/c d.txt", tmp_path / "nothing")
    assert (tmp_path / "back").read_bytes() == b"abc"
    assert (tmp_path / "nothing").read_bytes() == b""
    store.write("ab", b"34")
    store.remove("a/b.bin")
    after = store.find("ab")
    assert after is not None
    assert store.read("ab", max_bytes=2) == b"34"
    assert store.find("a/b.bin") is None


def test_upload__of_a_file_that_is_gone_does_not_blame_the_place(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        store.upload(tmp_path / "gone", "a/b.bin")
    assert list(store.entries()) == []


def test_folder_store__removes_what_killed_writers_left_beside_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "files"
    folder.mkdir(parents=True)
    left, young, foreign = folder / partial_name("ab"), folder / partial_name("ab"), folder / ".partial-by-others"
    for path in (left, young, foreign):
        path.touch()
    for path in (left, foreign):
        os.utime(path, (0, 0))
    FolderStore(tmp_path / "store").write("files/ab", b"1")
    assert set(folder.iterdir()) == {young, foreign, folder / "ab"}


def test_entries__of_a_folder_that_cannot_be_read_are_not_none(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("files/ab", b"1")
    loop = tmp_path / "store" / "snapshots"
    loop.symlink_to(loop)  # unlike a folder without permissions, nobody can read it, not even root
    with pytest.raises(
        ObjectError, match=rf"the folder {loop} cannot be listed \(.+\); check the path, its permissions"
    ):
        list(store.entries("snapshots/"))
    assert [entry.name for entry in store.entries("files/")] == ["files/ab"]
    assert list(store.entries("files/ab/")) == []  # as in a bucket, where this name is a file rather than a folder
    (tmp_path / "file").touch()
    with pytest.raises(ObjectError, match="cannot be listed"):
        list(FolderStore(tmp_path / "file").entries())


def test_entries__of_more_than_a_page_go_on_after_a_fault(
    buckets: FaultyBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "_A_PAGE", 3)
    for name in ("base/a", "base/b", "base/c", "base/d", "base/folder/", "base/folder/e", "base-other"):
        buckets.put(name, b"")
    buckets.faults.append(Fault("503", path="continuation-token", num_times=2))
    assert sorted(entry.name for entry in _store(buckets).entries()) == ["a", "b", "c", "d", "folder/e"]
    assert buckets.num_requests("GET") == 4


@pytest.mark.parametrize("kind", ["503", "cut", "short"])
def test_download__faults_that_pass(kind: str, buckets: FaultyBuckets, tmp_path: Path) -> None:
    content = _some_bytes(RANGE + 1000)
    buckets.put("base/clip.mp4", content)
    buckets.faults.append(Fault(kind, path="clip.mp4", num_times=2))
    _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert buckets.num_requests("GET", "clip.mp4") == 4


def test_download__of_a_server_that_stops_sending_is_given_up_in_time(buckets: FaultyBuckets, tmp_path: Path) -> None:
    buckets.put("base/clip.mp4", b"x" * 1000)
    buckets.faults.append(Fault("slow", path="clip.mp4", num_times=2, seconds=2))
    store = _store(buckets, timeout_seconds=0.3, min_bytes_per_second=10_000, tries=2)
    with pytest.raises(
        ObjectTransientError, match=r"did not respond to a request for s3://clips/base/clip\.mp4 in time"
    ):
        store.download("clip.mp4", tmp_path / "clip.mp4")
    _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"x" * 1000


def test_download__goes_on_where_it_was_cut_off(buckets: FaultyBuckets, tmp_path: Path) -> None:
    content = _some_bytes(2 * RANGE)
    buckets.put("base/clip.mp4", content)
    buckets.faults.append(Fault("503", path="clip.mp4", after=1, num_times=9))
    with pytest.raises(ObjectTransientError, match="SlowDown"):
        _store(buckets, tries=2).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").stat().st_size == RANGE
    buckets.faults.clear()
    buckets.requests.clear()
    _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == content
    assert [line for line in buckets.requests if line.startswith("GET")] == [
        f"GET /clips/base/clip.mp4 bytes={RANGE}-{2 * RANGE - 1}"
    ]


def test_download__of_another_object_than_before_starts_over(buckets: FaultyBuckets, tmp_path: Path) -> None:
    buckets.put("base/clip.mp4", b"new")
    (tmp_path / "clip.mp4").write_bytes(b"ol")
    origin = {"object": "s3://clips/base/clip.mp4", "identity": "another", "size_bytes": 3}
    (tmp_path / "clip.mp4.origin").write_text(json.dumps(origin))
    _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == b"new"


def test_download__of_an_object_that_changes_meanwhile_is_of_one_of_the_two(
    buckets: FaultyBuckets, tmp_path: Path
) -> None:
    old, new = b"o" * (RANGE + 10), b"n" * (RANGE + 5)
    buckets.put("base/clip.mp4", old)
    change = Fault("call", path="clip.mp4", after=1, call=lambda: buckets.put("base/clip.mp4", new))
    buckets.faults.append(change)
    _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == new


def test_download__of_an_object_that_never_rests(buckets: FaultyBuckets, tmp_path: Path) -> None:
    numbers = iter(range(100))
    buckets.put("base/clip.mp4", b"start")
    change = Fault(
        "call", path="clip.mp4", num_times=99, call=lambda: buckets.put("base/clip.mp4", b"%05d" % next(numbers))
    )
    buckets.faults.append(change)
    with pytest.raises(ObjectChangedError, match="replaced 3 times"):
        _store(buckets).download("clip.mp4", tmp_path / "clip.mp4")


@pytest.mark.parametrize("kind", ["503", "cut"])
def test_upload__faults_that_pass(kind: str, buckets: FaultyBuckets, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 1000)
    buckets.faults.append(Fault(kind, method="PUT", num_times=2))
    _store(buckets).upload(tmp_path / "file", "file")
    assert buckets.get("base/file") == b"abc" * 1000


def test_upload__in_parts(buckets: FaultyBuckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_store, "_PART_BYTES", 5 << 20)
    content = _some_bytes((5 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    buckets.faults.append(Fault("503", method="PUT", path="partNumber=2", num_times=2))
    assert _store(buckets).upload(tmp_path / "file", "file") == hashlib.sha256(content).hexdigest()
    assert buckets.get("base/file") == content
    assert buckets.num_requests("PUT") == 4  # the first part was sent only once
    assert buckets.num_requests("GET") == 0  # nothing had to be read back


def test_upload__in_parts_that_fails_leaves_nothing(
    buckets: FaultyBuckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_store, "_PART_BYTES", 5 << 20)
    (tmp_path / "file").write_bytes(bytes(6 << 20))
    # this server also lists uploads that have ended
    uploads = buckets.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    buckets.faults.append(Fault("503", method="PUT", path="partNumber=2", num_times=9))
    with pytest.raises(ObjectTransientError):
        _store(buckets, tries=2).upload(tmp_path / "file", "file")
    assert buckets.names() == []
    assert buckets.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == uploads


def test_upload__of_which_the_bucket_keeps_other_bytes_is_removed(buckets: FaultyBuckets, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    store = _store(buckets)
    driver = store._driver  # type: ignore[attr-defined]
    put = driver.put

    async def damaging(name: str, content: bytes) -> bool:
        await put(name, b"z" * len(content))
        return False

    driver.put = damaging
    with pytest.raises(ObjectError, match="the object s3://clips/base/file differs from the data sent"):
        store.upload(tmp_path / "file", "file")
    assert buckets.names() == []


def test_requests__that_are_forbidden_are_made_once_and_name_no_secret(buckets: FaultyBuckets) -> None:
    buckets.faults.append(Fault("403", method="HEAD", num_times=9))
    with pytest.raises(
        ObjectForbiddenError, match=r"request for s3://clips/base/a failed .*platform\.objects\.stores"
    ) as caught:
        _store(buckets).find("a")
    assert buckets.num_requests("HEAD") == 1
    assert "test-" not in str(caught.value)


def test_requests__of_a_bucket_that_is_not_there(buckets: FaultyBuckets) -> None:
    with pytest.raises(ObjectMissingError, match=r"object or bucket s3://\S+ does not exist"):
        list(open_place(buckets.config(), "s3://no-such-bucket").entries())


def test_requests__to_nobody(buckets: FaultyBuckets) -> None:
    config = buckets.config(stores={"s3://": {"endpoint": "http://127.0.0.1:9", "anonymous": True}}, tries=2)
    with pytest.raises(ObjectTransientError, match=r"request for s3://clips/a failed .*127\.0\.0\.1:9"):
        open_place(config, "s3://clips").find("a")


def test_requests__stop_when_the_caller_has_to(buckets: FaultyBuckets) -> None:
    from data_miner_dagster.domain.errors import RunEndedError
    from data_miner_dagster.domain.object_urls import ObjectUrl
    from data_miner_dagster.operations.object_stores import open_bucket

    def ended() -> None:
        raise RunEndedError("ended")

    with pytest.raises(RunEndedError):
        open_bucket(buckets.config(), ObjectUrl("s3", BUCKET), check=ended).find("a")
    assert buckets.requests == []


def test_store__is_shared_by_threads(store: ObjectStore) -> None:
    threads = [threading.Thread(target=store.write, args=(f"n{number}", b"%d" % number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.read(f"n{number}", max_bytes=1) for number in range(8)] == [b"%d" % number for number in range(8)]
