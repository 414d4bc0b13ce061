"""Buckets as sources: which objects are listed, and which sources and project files may name a bucket."""

import sys
from pathlib import Path

import pytest

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.objects import ObjectsConfig
from data_miner_dagster.config.project_limits import limits_of
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.config.sourcing import FilesSource, ObjectsSource, UrlsSource
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import SourceError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.adding import add_video
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.objects import list_objects
from data_miner_dagster_tests.support.buckets import BUCKET, Fault, FaultyBuckets
from data_miner_dagster_tests.support.local_projects import add_project

PLACE = f"s3://{BUCKET}"


def _listed(buckets: FaultyBuckets, address: str, *, most: int = 100) -> list[str]:
    return [found.url for found in list_objects(buckets.config(), address, source="objects", most=most).candidates]


def test_list_objects__the_videos_below_an_address(buckets: FaultyBuckets) -> None:
    names = (
        "b.mp4",
        "a/z.MOV",
        "a/notes.txt",
        "a/no-ending",
        "a/.hidden.mp4",
        ".cache/c.mp4",
        "a/b/c d.webm",
        "a?.mp4",
    )
    for name in names:
        buckets.put(f"films/{name}", b"x")
    buckets.put("films-of-others/x.mp4", b"x")
    found = list_objects(buckets.config(), f"{PLACE}/films/", source="objects", most=100)
    assert [(one.url, one.title, one.origin, one.rank) for one in found.candidates] == [
        (f"{PLACE}/films/a/b/c d.webm", "c d", Origin.OBJECT, 0),
        (f"{PLACE}/films/a/z.MOV", "z", Origin.OBJECT, 1),
        (f"{PLACE}/films/b.mp4", "b", Origin.OBJECT, 2),
    ]
    assert [one.video_key.partition(".")[0] for one in found.candidates] == ["object-c-d", "object-z", "object-b"]
    assert found.remark == "3 files were left out: .txt (1), invalid name (1), no extension (1)"
    assert _listed(buckets, f"{PLACE}/films", most=2) == [f"{PLACE}/films/a/b/c d.webm", f"{PLACE}/films/a/z.MOV"]


def test_list_objects__one_video_whatever_its_ending(buckets: FaultyBuckets) -> None:
    buckets.put("films/clip", b"x")
    assert _listed(buckets, f"{PLACE}/films/clip") == [f"{PLACE}/films/clip"]


def test_list_objects__an_error_is_never_an_empty_list(buckets: FaultyBuckets) -> None:
    with pytest.raises(SourceError, match="contains no videos"):
        _listed(buckets, f"{PLACE}/nothing")
    with pytest.raises(SourceError, match=r"object or bucket s3://\S+ does not exist"):
        _listed(buckets, "s3://no-such-bucket")
    buckets.faults.append(Fault("503", num_times=99))
    with pytest.raises(SourceError, match="SlowDown"):
        _listed(buckets, f"{PLACE}/films")


def test_list_objects__without_its_settings_is_one_line(
    buckets: FaultyBuckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_BUCKET_KEY")
    with pytest.raises(SourceError, match=r"BUCKET_KEY is not set or is empty, but platform\.objects\.stores refers"):
        _listed(buckets, f"{PLACE}/films")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SourceError, match=r"package gcsfs; run `pip install 'data-miner-dagster\[objects\]'"):
        list_objects(ObjectsConfig(), "gs://bucket/films", source="objects", most=1)


def test_list_sources__of_a_bucket_twice(buckets: FaultyBuckets, tmp_path: Path) -> None:
    buckets.put("films/a.mp4", b"x")
    platform = Platform(PlatformConfig.model_validate({"objects": buckets.settings()}), tmp_path)
    add_project(platform, [{"type": "objects", "urls": [f"{PLACE}/films"]}])
    assert list_sources(platform, "p").counts["new"] == 1
    first = [(video.key, video.url, video.origin) for video in find_videos(platform.database)]
    assert list_sources(platform, "p", force=True).counts["new"] == 0
    assert [(video.key, video.url, video.origin) for video in find_videos(platform.database)] == first
    assert add_video(platform, "p", f"{PLACE}/films/a.mp4") == [(first[0][0], False)]


@pytest.mark.parametrize("address", ["hf://datasets/a/b", "s3://key:secret@bucket/a", "x::s3://bucket/a", "/films"])
def test_source__takes_addresses_of_buckets_alone(address: str) -> None:
    with pytest.raises(ValueError, match="urls"):
        ObjectsSource.model_validate({"type": "objects", "urls": [address]})


def test_source__other_sources_take_no_bucket() -> None:
    with pytest.raises(ValueError, match="use a source with `type: objects`"):
        FilesSource.model_validate({"type": "files", "paths": ["s3://bucket/a.mp4"]})
    with pytest.raises(ValueError, match="use a source with `type: objects`"):
        UrlsSource.model_validate({"type": "urls", "urls": ["s3://bucket/a.mp4"]})


@pytest.mark.parametrize("address", ["hf://datasets/a/b", " HF://datasets/a/b"])
def test_source__on_the_hub_is_not_sent_to_buckets(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"entry 1 is on the Hugging Face hub.*`type: files`"):
        UrlsSource.model_validate({"type": "urls", "urls": [address]})
    # in a list of addresses in the watched folder
    limits = limits_of(PlatformConfig(), tmp_path / "watched", tmp_path / "watched" / "p.yaml")
    problem = limits.problem_of_address(address)
    assert problem is not None
    assert "`type: files`" in problem
    assert "allowed_prefixes" not in problem


def test_limits__a_dropped_file_names_allowed_buckets_alone(tmp_path: Path) -> None:
    source = ObjectsSource.model_validate({"type": "objects", "urls": [f"{PLACE}/films/new"]})
    dropped, other = tmp_path / "watched" / "p.yaml", tmp_path / "p.yaml"

    def problem(file: Path, *allowed: str) -> str | None:
        platform = PlatformConfig.model_validate({"objects": {"allowed_prefixes": allowed}})
        return limits_of(platform, tmp_path / "watched", file).problem_of_source(source)

    assert problem(other) is None
    assert problem(dropped, f"{PLACE}/films") is None
    for allowed in ([], [f"{PLACE}/film"], [f"{PLACE}/films/new/a"], ["s3://others"]):
        refused = problem(dropped, *allowed)
        assert refused is not None
        assert "platform.objects.allowed_prefixes" in refused
