from collections.abc import Mapping
from typing import Any

import pytest

from data_miner_dagster.export.licences import Redistribution, forbidding, licences_of, redistribution_of, source_of
from data_miner_dagster.export.limits import limits_of
from data_miner_dagster.export.records import ReleaseVideo

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}


def video(key: str, num_images: int, **values: Any) -> ReleaseVideo:
    """Return a video with this many images and, by default, an unknown channel and licence."""
    columns: dict[str, Any] = {
        "video_key": key,
        "split": "train",
        "group": key,
        "url": f"https://www.videos.example/{key}",
        "title": None,
        "channel": None,
        "licence": None,
        "upload_date": None,
        "duration_seconds": 3.0,
        "sha256": None,
        "source": "urls",
        "query": "",
        "num_frames": num_images,
        "num_images": num_images,
        "num_boxes": 0,
    }
    return ReleaseVideo(**(columns | values))


def release(by_split: Mapping[str, int], boxes: Mapping[str, int], **splits: Any) -> dict[str, Any]:
    """Return a manifest with these numbers."""
    return {
        "num_images": sum(by_split.values()),
        "images_by_split": {**dict.fromkeys(SHARES, 0), **by_split},
        "splits": {"shares": SHARES, **splits},
        "classes": list(boxes),
        "boxes_by_class": dict(boxes),
    }


ROOMY = {"train": 800, "test": 100, "val": 100}


def test_limits_of__none_of_a_balanced_release() -> None:
    videos = [video(f"v{index}", 100, channel=f"c{index}") for index in range(10)]
    assert limits_of(release(ROOMY, {"car": 500}), videos, {split: {"car": 9} for split in SHARES}) == []


def test_limits_of__one_video_gives_most() -> None:
    videos = [video("large", 600), *(video(f"v{index}", 100) for index in range(4))]
    assert limits_of(release(ROOMY, {"car": 500}), videos) == ["one video provides 60% of the images: large"]
    assert limits_of(release(ROOMY, {"car": 500}), [video("only", 1000)]) == ["all images come from one video"]


def test_limits_of__videos_that_could_not_be_followed() -> None:
    videos = [video(f"v{index:02}", 50, channel=f"c{index}") for index in range(20)]
    manifest = release(ROOMY, {"car": 500}) | {"not_followed": ["v03", "without-images"]}
    assert limits_of(manifest, videos) == ["objects could not be followed in 1 video, so no box was recovered: v03"]
    manifest["not_followed"] = [video.video_key for video in videos[:12]]
    (limit,) = limits_of(manifest, videos)
    assert limit.startswith("objects could not be followed in 12 videos, so no box was recovered: v00, v01, ")
    assert limit.endswith(", v09 and 2 more")


def test_limits_of__a_class_with_few_boxes_and_one_that_a_split_lacks() -> None:
    videos = [video(f"v{index}", 100) for index in range(10)]
    boxes = {"car": 500, "cart": 12, "sled": 1, "ski": 0}
    by_split = {"train": {"car": 400, "cart": 12, "sled": 1}, "test": {"car": 50}, "val": {"car": 50}}
    assert limits_of(release(ROOMY, boxes), videos, by_split) == [
        "the class cart has 12 boxes",
        "the class cart has no box in test and val",
        "the class sled has 1 box",
        "the class sled has no box in test and val",
        "the class ski has no box",
    ]


def test_limits_of__one_channel() -> None:
    videos = [video(f"v{index}", 80, channel=f"c{index}") for index in range(10)]
    filling = [*videos, video("t", 100, channel="t", split="test"), video("x", 100, channel="Club", split="val")]
    assert limits_of(release(ROOMY, {"car": 500}), filling) == [
        "one channel provides 100% of the images in test: t",
        "one channel provides 100% of the images in val: Club",
    ]
    most = [*videos[:5], *(video(f"x{index}", 200, channel="Club") for index in range(3))]
    assert limits_of(release(ROOMY, {"car": 500}), most) == ["one channel provides 60% of the images: Club"]
    alike = [video(f"x{index}", 100, channel="Club") for index in range(10)]
    assert limits_of(release(ROOMY, {"car": 500}), alike) == ["all images come from one channel, Club"]


def test_limits_of__splits() -> None:
    videos = [video(f"v{index}", 10) for index in range(10)]
    found = limits_of(release({"train": 90, "val": 10}, {"car": 500}, divided_groups=[["v1", "v2"]]), videos)
    assert found == [
        "test has no image",
        "val has 10 images, so measurements on it are uncertain by ten points or more",
        "near-duplicates are in different splits: v1, v2",
    ]


@pytest.mark.parametrize(
    ("key", "licence", "redistribution"),
    [
        ("youtube-a", None, Redistribution.FORBIDDEN),  # without a stated licence, the site's standard licence applies
        ("vimeo-a", None, Redistribution.UNKNOWN),
        ("youtube-a", "Creative Commons Attribution license (reuse allowed)", Redistribution.ALLOWED),
        ("generic-a", "CC-BY-4.0", Redistribution.ALLOWED),
        ("generic-a", "CC0 1.0", Redistribution.ALLOWED),
        ("generic-a", "CC BY-NC 4.0", Redistribution.NOT_COMMERCIAL),
        ("generic-a", "CC-BY-NC-ND-4.0", Redistribution.NO_DERIVATIVES),
        ("generic-a", "Attribution-NoDerivs", Redistribution.NO_DERIVATIVES),
        ("generic-a", "All Rights  Reserved", Redistribution.FORBIDDEN),
        ("generic-a", "by arrangement", Redistribution.UNKNOWN),
    ],
)
def test_redistribution_of__by_the_words(key: str, licence: str | None, redistribution: Redistribution) -> None:
    assert redistribution_of(video(key, 1, licence=licence)) is redistribution


def test_licences_of__by_source_and_those_that_forbid_are_named() -> None:
    videos = [
        video("youtube-a", 5, url="https://www.youtube.com/watch?v=a"),
        video("youtube-b", 7, url="https://www.youtube.com/watch?v=b"),
        video("vimeo-c", 20, url="https://vimeo.com/1", licence="CC-BY-4.0"),
        video("files-d", 1, url="d.mp4"),
    ]
    uses = licences_of(videos)
    assert [(use.source, use.licence, use.num_videos, use.num_images) for use in uses] == [
        ("vimeo.com", "CC-BY-4.0", 1, 20),
        ("youtube.com", "none stated", 2, 12),
        ("local files", "none stated", 1, 1),
    ]
    assert forbidding(uses) == "Licences that forbid redistribution: youtube.com, none stated (12 images)"
    assert forbidding(uses[:1]) is None
    assert source_of(videos[3]) == "local files"
