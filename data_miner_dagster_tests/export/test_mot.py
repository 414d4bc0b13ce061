"""Tests of MOT and YouTube-VIS with TrackEval. test_verification.py tests that the read-back finds each fault.

Two objects move through three images of a video, but the second is missing from the middle one. A correct tracker gets
a high score. A tracker that swaps the two objects on the last image gets two identity switches.
"""

import configparser
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trackeval.datasets import MotChallenge2DBox, YouTubeVIS
from trackeval.metrics import CLEAR, HOTA

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.formats import EXPORT_FORMATS, TABLES
from data_miner_dagster.export.records import PERSON, ReleaseBox, ReleaseImage
from data_miner_dagster.export.tracks import TrackedFrame, write_tracks
from data_miner_dagster.export.verification import export_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.support.releases import (
    JUDGED_HEADER,
    release_box,
    release_image,
    tally_of,
    write_format,
    write_pictures,
)
from data_miner_dagster_tests.support.sample_project import textured_image

MASK = Mask.of_region(np.ones((20, 10), np.bool_), left_top=(30, 10), resolution_wh=(64, 48))


def followed(track_id: int | None, left: float, **values: Any) -> ReleaseBox:
    return replace(release_box(0, (left, 10.0, left + 10, 30.0)), track_id=track_id, recovered=False, **values)


def images() -> tuple[ReleaseImage, ...]:
    boxes = (
        (followed(1, 2.0), followed(2, 40.5), followed(None, 20.0, is_unsure=True)),
        (followed(1, 4.0),),
        (
            followed(1, 6.0),
            followed(2, 30.0, mask=MASK),
            replace(followed(None, 50.0), detector=PERSON, recovered=None),
        ),
    )
    return tuple(
        replace(release_image(number, "train", "files-a", number * 2), boxes=own) for number, own in enumerate(boxes, 1)
    )


def exported(
    base: Path,
    name: str,
    of: tuple[ReleaseImage, ...],
    tracked: Sequence[TrackedFrame] = (),
    contents: Mapping[int, bytes] = MappingProxyType({}),
) -> tuple[Path, list[str]]:
    """Export images of a release that is written to `base`. Return the export's folder and its problems.

    The release has whole-clip tracks if `tracked` is given. `contents` replaces image files, by image id.
    """
    release, folder, format = base / "release", base / name, EXPORT_FORMATS[name]
    write_pictures(release, of)
    for image in of:
        if image.image_id in contents:
            (release / image.path_in_release).write_bytes(contents[image.image_id])
    folder.mkdir()
    with StoredPictures(ExtractionConfig()) as pictures:
        write_format(TABLES, Destination(release, JUDGED_HEADER, release, pictures), of)
        if tracked:
            write_tracks(release, iter(tracked))
        write_format(format, Destination(folder, JUDGED_HEADER, release, pictures), of)
    expected = Expected(JUDGED_HEADER, tally_of(of), lambda: iter(of), release=release)
    return folder, export_problems(format, folder, expected)


def scores(dataset: Any, sequence: str, class_name: str) -> tuple[float, int, int]:
    """Return the HOTA, identity switches and number of ground-truth detections of the tracker `ours`."""
    data = dataset.get_preprocessed_seq_data(dataset.get_raw_seq_data("ours", sequence), class_name)
    clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    hota = HOTA().eval_sequence(data)
    return round(float(np.mean(hota["HOTA"])), 3), int(clear["IDSW"]), int(data["num_gt_dets"])


Changed = Callable[[int, int], int]
"""Maps a frame number and an object's true number to the number that a tracker gives the object on that frame."""
TRACKERS: Mapping[str, tuple[Changed, int]] = {
    "right": (lambda _frame, number: number, 0),
    "takes one for the other at the end": (lambda frame, number: 3 - number if frame == 3 else number, 2),
}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_mot__read_by_trackeval(tmp_path: Path, tracker: str) -> None:
    change, num_switches = TRACKERS[tracker]
    folder, problems = exported(tmp_path, "mot", images())
    assert problems == []
    lines = (folder / "train" / "files-a" / "gt" / "gt.txt").read_text().splitlines()
    assert lines == [
        "1,1,2.0,10.0,10.0,20.0,1,1,1",
        "1,2,40.5,10.0,10.0,20.0,1,1,1",
        "1,1000000001,20.0,10.0,10.0,20.0,0,1,1",  # an unsure box
        "2,1,4.0,10.0,10.0,20.0,1,1,1",
        "3,1,6.0,10.0,10.0,20.0,1,1,1",
        "3,2,30.0,10.0,10.0,20.0,1,1,1",
        "3,1000000002,50.0,10.0,10.0,20.0,0,1,1",  # a box that a person drew
    ]
    found = [line.split(",") for line in lines if ",100000000" not in line]
    results = tmp_path / "trackers" / "ours" / "data"
    results.mkdir(parents=True)
    told = [[frame, str(change(int(frame), int(number))), *rest[:4], "1"] for frame, number, *rest in found]
    (results / "files-a.txt").write_text("".join(f"{','.join(line)}\n" for line in told))
    dataset = MotChallenge2DBox(
        {
            "GT_FOLDER": str(folder / "train"),
            "SEQMAP_FILE": str(folder / "train" / "sequences.txt"),
            "TRACKERS_FOLDER": str(tmp_path / "trackers"),
            "SKIP_SPLIT_FOL": True,
            "DO_PREPROC": False,
            "PRINT_CONFIG": False,
        }
    )
    assert (dataset.seq_list, dataset.seq_lengths) == (["files-a"], {"files-a": 3})
    hota, switches, num_objects = scores(dataset, "files-a", "pedestrian")
    assert (switches, num_objects) == (num_switches, 5)
    assert (hota == 1.0) == (num_switches == 0)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_youtube_vis__read_by_trackeval(tmp_path: Path, tracker: str) -> None:
    change, num_switches = TRACKERS[tracker]
    folder, problems = exported(tmp_path, "youtube-vis", images())
    assert problems == []
    content = json.loads((folder / "youtube_vis_train" / "instances.json").read_text())
    (video,) = content["videos"]
    assert video["file_names"] == [f"files-a/{number:06d}.jpg" for number in (1, 2, 3)]
    first, second, drawn = content["annotations"]
    assert second["bboxes"] == [[40.5, 10.0, 10.0, 20.0], None, [30.0, 10.0, 10.0, 20.0]]
    # without a mask, the area of the box in whole pixels: columns 40 to 50
    # with a mask, its runs: they begin after 30 columns of 48 pixels and 10 rows
    assert second["areas"] == [220, None, 200]
    assert second["segmentations"][2]["counts"][:3] == [30 * 48 + 10, 20, 28]
    assert [track["iscrowd"] for track in (first, second, drawn)] == [0, 0, 1]
    both: dict[int, list[Any]] = {1: [None] * 3, 2: [None] * 3}
    for track in (first, second):
        for frame in (1, 2, 3):
            if (outline := track["segmentations"][frame - 1]) is not None:
                both[change(frame, track["track_id"])][frame - 1] = outline
    told = [
        {
            "video_id": 1,
            "category_id": 1,
            "score": 1.0,
            "segmentations": [entry and {"size": entry["size"], "counts": rle_of(entry)} for entry in segmentations],
        }
        for segmentations in both.values()
    ]
    results = tmp_path / "trackers" / "youtube_vis_train" / "ours" / "data"
    results.mkdir(parents=True)
    (results / "results.json").write_text(json.dumps(told))
    dataset = YouTubeVIS(
        {
            "GT_FOLDER": f"{folder}/",
            "TRACKERS_FOLDER": f"{tmp_path / 'trackers'}/",
            "SPLIT_TO_EVAL": "train",
            "PRINT_CONFIG": False,
        }
    )
    assert (dataset.seq_list, dataset.class_list) == (["files-a"], ["person", "bicycle"])
    hota, switches, num_objects = scores(dataset, "files-a", "person")
    # the object that a person drew counts too, although no tracker found it
    assert (switches, num_objects) == (num_switches, 6)
    assert (hota > 0.85) == (num_switches == 0)


def rle_of(entry: Mapping[str, Any]) -> str:
    """Return a mask's run lengths in COCO's compressed form, which trackers submit."""
    from pycocotools import mask as coco_masks

    counts: bytes = coco_masks.frPyObjects(entry, *entry["size"])["counts"]
    return counts.decode()


@pytest.mark.parametrize("name", ["mot", "youtube-vis"])
def test_tracks__of_whole_clips(tmp_path: Path, name: str) -> None:
    of = images()
    frames = [
        TrackedFrame("files-a", "train", number, number / 2, None, 0, 64, 48, (followed(1, float(number)),))
        for number in range(5)
    ]
    frames[2] = replace(frames[2], frame_id=of[0].frame_id)
    stranger = replace(frames[0], video_key="files-0")  # the release has no image of this video
    folder, problems = exported(tmp_path, name, of, [stranger, *frames])
    assert problems == []
    pictures = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    if name == "mot":
        lines = (folder / "train" / "files-a" / "gt" / "gt.txt").read_text().splitlines()
        assert [line.split(",")[:3] for line in lines] == [[str(n + 1), "1", str(float(n))] for n in range(5)]
        assert pictures == ["train/files-a/img1/000003.jpg"]
        assert "frameRate=2\nseqLength=5\n" in (folder / "train" / "files-a" / "seqinfo.ini").read_text()
        assert (folder / "train" / "sequences.txt").read_text() == "name\nfiles-a\n"
    else:
        (track,) = json.loads((folder / "youtube_vis_train" / "instances.json").read_text())["annotations"]
        assert [box[0] for box in track["bboxes"]] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert pictures == ["youtube_vis_train/JPEGImages/files-a/000003.jpg"]


@pytest.mark.parametrize("name", ["mot", "youtube-vis"])
def test_tracks__of_whole_clips_beside_a_folder_of_pictures(tmp_path: Path, name: str) -> None:
    """Check that evaluation ignores the boxes in a folder of pictures, in which objects are not followed."""
    [followed_image, *_] = images()
    picture = replace(release_image(1, "train", "pictures-b", 0), boxes=(replace(followed(None, 5.0), recovered=None),))
    tracked = TrackedFrame("files-a", "train", 0, 0.0, followed_image.frame_id, 0, 64, 48, (followed(1, 2.0),))
    folder, problems = exported(tmp_path, name, (followed_image, picture), [tracked])
    assert problems == []
    if name == "mot":
        place = folder / "train" / "pictures-b"
        assert (place / "gt" / "gt.txt").read_text() == "1,1000000001,5.0,10.0,10.0,20.0,0,1,1\n"
        assert "seqLength=1\nimWidth=64\nimHeight=48\n" in (place / "seqinfo.ini").read_text()
    else:
        content = json.loads((folder / "youtube_vis_train" / "instances.json").read_text())
        assert [(video["length"], video["width"]) for video in content["videos"]] == [(1, 64), (1, 64)]


def pictures_as(*extensions: str, video_key: str) -> tuple[tuple[ReleaseImage, ...], dict[int, bytes]]:
    """Return one image per extension, and the images' file contents by image id."""
    of, contents = [], {}
    for number, extension in enumerate(extensions, 1):
        buffer = io.BytesIO()
        textured_image(number).save(buffer, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[extension])
        contents[number] = buffer.getvalue()
        facts: dict[str, Any] = {
            "file_name": f"train/{video_key}_{number:06d}.{extension}",
            "size_bytes": len(contents[number]),
            "sha256": hashlib.sha256(contents[number]).hexdigest(),
        }
        of.append(replace(release_image(number, "train", video_key, number), boxes=(followed(1, 2.0),), **facts))
    return tuple(of), contents


@pytest.mark.parametrize(
    ("formats", "exported_as"),
    [
        (("png", "png"), ("png", "png")),
        (("webp", "webp"), ("webp", "webp")),
        (("jpg", "webp", "png"), ("png", "png", "png")),  # seqinfo.ini has one extension for all images
    ],
)
def test_mot__names_pictures_by_their_format(
    tmp_path: Path, formats: Sequence[str], exported_as: Sequence[str]
) -> None:
    of, contents = pictures_as(*formats, video_key="frames-a")
    folder, problems = exported(tmp_path, "mot", of, contents=contents)
    assert problems == []
    place = folder / "train" / "frames-a"
    facts = configparser.ConfigParser()
    facts.read_string((place / "seqinfo.ini").read_text())
    for number, (own, extension) in enumerate(zip(formats, exported_as, strict=True), 1):
        assert facts["Sequence"]["imExt"] == f".{extension}"
        path = place / facts["Sequence"]["imDir"] / f"{number:06d}.{extension}"
        with Image.open(path) as opened:
            assert (opened.format or "").lower() == extension
            with Image.open(io.BytesIO(contents[number])) as released:
                assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(released.convert("RGB")))
        assert own != extension or path.read_bytes() == contents[number]


def test_youtube_vis__names_pictures_by_their_format(tmp_path: Path) -> None:
    of, contents = pictures_as("webp", "jpg", "png", video_key="frames-a")
    folder, problems = exported(tmp_path, "youtube-vis", of, contents=contents)
    assert problems == []
    place = folder / "youtube_vis_train"
    (video,) = json.loads((place / "instances.json").read_text())["videos"]
    assert video["file_names"] == ["frames-a/000001.webp", "frames-a/000002.jpg", "frames-a/000003.png"]
    assert [(place / "JPEGImages" / name).read_bytes() for name in video["file_names"]] == [*contents.values()]


def test_tracks__a_release_without_any_is_refused(tmp_path: Path) -> None:
    header = replace(JUDGED_HEADER, extra_columns=())
    with StoredPictures(ExtractionConfig()) as pictures:
        for name in ("mot", "youtube-vis"):
            with pytest.raises(ConfigError, match=r"cyclists v001 has no tracks; set detection\.tracking"):
                EXPORT_FORMATS[name].codec.open_writer(Destination(tmp_path, header, tmp_path, pictures))
