"""Join the tables of a project into releasable images with their boxes, one video at a time."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.schema import ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.interpolation import ShownSettings
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import OutOfDateError, PermanentError
from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.splits import split_at
from data_miner_dagster.domain.statuses import PROJECT_WAY, TABLE_STAGES
from data_miner_dagster.domain.verdicts import FramePlace
from data_miner_dagster.export.records import EXTRA_COLUMNS, ReleaseImage, ReleaseVideo
from data_miner_dagster.operations.detection.detect_project import num_unreadable_frames
from data_miner_dagster.operations.foreign.stored_pictures import remedy_for_image
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import not_ready
from data_miner_dagster.operations.releasing.labelling import Labelling
from data_miner_dagster.operations.verification.verify_boxes import read_verification
from data_miner_dagster.stages.releasing import DECIMALS, FrameOutcome, candidate_frames, public_reference
from data_miner_dagster.storage.by_video import TableByVideo
from data_miner_dagster.storage.frames import frames_identity, has_frames, read_frame_images, read_frames
from data_miner_dagster.storage.tables import (
    FRAMES_KEY,
    MADE_FROM_KEY,
    has_values,
    read_batches,
    read_fingerprint,
    read_metadata,
    read_table,
)
from data_miner_dagster.storage.verdicts import kept_by_hand

_FRAME_COLUMNS: Final = (
    "frame_index",
    "file_name",
    "pts",
    "time_base_numerator",
    "time_base_denominator",
    "pts_seconds",
    "width",
    "height",
    "size_bytes",
    "sha256",
    "sharpness",
)
_BOX_COLUMNS: Final = (
    "frame_index",
    "class_name",
    "prompt",
    "confidence",
    "x_min",
    "y_min",
    "x_max",
    "y_max",
    "detector",
    "num_agreeing_detectors",
)


@dataclass(frozen=True, slots=True)
class DecidedFrame:
    """The outcome of one frame, with its image if the outcome is RELEASED."""

    outcome: FrameOutcome
    image: ReleaseImage | None = None
    has_detections: bool = True  # False if no detector reported anything, at any confidence
    num_verdicts: int = 0  # people's verdicts on the boxes of the frame
    unmet_verdicts: tuple[str, ...] = ()  # answer ids of those verdicts that match no box


Attempt = Callable[[str, Callable[[], DecidedFrame]], DecidedFrame | None]


@dataclass(frozen=True, slots=True)
class ImagePlace:
    """The split of a video's images (or the cut, if the video is in several splits), and the id of its first image."""

    split: str = ""
    first_image_id: int = 1

    def after(self, num_images: int) -> "ImagePlace":
        """Return the place of the images after the first `num_images`."""
        return ImagePlace(self.split, self.first_image_id + num_images)


_ANYWHERE: Final = ImagePlace()


@dataclass(frozen=True, slots=True)
class ReleasedVideo:
    """The split, group and counts of a video in a release."""

    split: str
    group: str
    num_images: int
    num_boxes: int


@dataclass(frozen=True, slots=True)
class _VideoRows:
    """One video's rows in the tables, by frame index, and the video's public address."""

    video_key: str
    frames: Mapping[int, Mapping[str, Any]]
    similar: Mapping[int, Mapping[str, Any]]
    boxes: Mapping[int, Sequence[Mapping[str, Any]]]
    url: str


class ReleaseSource:
    """A reader of a project's representatives with their releasable boxes, in order of video and time.

    After construction, memory use is bounded by the rows of one video, one row group of each table, and one number per
    duplicate group.

    Raises:
        NotReadyError: a stage has not run.
        OutOfDateError: a table was not built from the current table of the previous stage.
    """

    def __init__(self, platform: Platform, project: str, config: ProjectConfig, labelling: Labelling) -> None:
        self._platform = platform
        self._project = project
        self._config = config
        self._shown = config.shown
        self._paths = {PROJECT_WAY[stage].asset: platform.layout.table_of(project, stage) for stage in TABLE_STAGES}
        self._paths["detected frames"] = platform.layout.detected_frames_table(project)
        for name, path in self._paths.items():
            if not path.is_file():
                raise not_ready(project, "detections" if name == "detected frames" else name)
        self.verification = read_verification(self._paths["detected frames"])
        """The counts of the verifier's verdicts on the boxes, or None if the project has no verifier."""
        self.fingerprints = {name: read_fingerprint(path) or "" for name, path in self._paths.items()}
        unique = self._unique_frame_ids()
        self.unseen = self._check_current(unique)
        self.labelling = labelling.among(self._places_of(unique, labelling.verdicts.video_keys))
        """The labelling that decides which boxes are released. It contains only the verdicts on representatives."""
        self._unique = TableByVideo(self._paths["deduplicated_frames"], ["frame_index", "is_representative"])
        self._filtered = TableByVideo(
            self._paths["filtered_frames"], ["frame_index", "positive_similarity", "positive_prompt"]
        )
        self.extra_columns = tuple(name for name in EXTRA_COLUMNS if has_values(self._paths["detections"], name))
        """The optional columns of boxes that this project has."""
        self._detections = TableByVideo(self._paths["detections"], [*_BOX_COLUMNS, *self.extra_columns])
        self._num_duplicates = self._count_duplicates()
        self.kept_by_hand = kept_by_hand(read_metadata(self._paths["filtered_frames"]))
        """The frames that are included because of a person's verdict, by video and time."""
        decided = read_metadata(self._paths["deduplicated_frames"])
        self._frames_fingerprints: dict[str, str] = json.loads(decided.get(FRAMES_KEY, "{}"))
        self.video_keys: list[str] = self._unique.video_keys
        self.left_out: Collection[str] = ()
        """The video keys and frame ids to leave out because of missing or unreadable files."""

    def frames_of(
        self,
        video_key: str,
        place: ImagePlace = _ANYWHERE,
        *,
        only: Collection[int] | None = None,
        attempt: Attempt = lambda _frame_id, work: work(),
    ) -> list[DecidedFrame]:
        """Return the outcomes of a video's examined representatives, in order of time.

        Args:
            video_key: the video.
            place: the split of the video's images and the id of the first one.
            only: the indices of the frames to decide on, or None for all. LEFT_OUT frames are always included.
            attempt: called with (frame id, work) for each frame to decide on. It returns the result of `work`, or None
                to leave out the frame.

        Raises:
            DataMinerError: the frames are missing or differ from those that were deduplicated, or a table is stale.
        """
        unique = self._unique.rows_of(video_key)
        looked_at = candidate_frames(
            unique["frame_index"].to_numpy(),
            unique["is_representative"].to_numpy(),
            lambda frame_index: make_frame_id(video_key, frame_index) in self.unseen,
        )
        is_here = video_key not in self.left_out
        rows = self._rows_of(video_key) if is_here and looked_at else None
        frames: list[DecidedFrame] = []
        num_images = 0
        for frame_index in looked_at:
            frame_id = make_frame_id(video_key, frame_index)
            if rows is None or frame_id in self.left_out:
                frames.append(DecidedFrame(FrameOutcome.LEFT_OUT))
            elif only is None or frame_index in only:
                work = partial(self._frame_of, rows, frame_index, place.after(num_images))
                if (frame := attempt(frame_id, work)) is not None:
                    frames.append(frame)
                    num_images += frame.image is not None
        return frames

    def _frame_of(self, rows: _VideoRows, frame_index: int, place: ImagePlace) -> DecidedFrame:
        """Return the outcome of one frame, with its image if it is released."""
        frame = rows.frames.get(frame_index)
        if frame is None:
            raise self._stale("filtered_frames", f"{rows.video_key} no longer has frame {frame_index}")
        box_rows = rows.boxes.get(frame_index, [])
        split = split_at(place.split, frame["pts_seconds"])
        frame_place = FramePlace(rows.video_key, frame["pts_seconds"])
        labelled = self.labelling.label(frame_place, (frame["width"], frame["height"]), box_rows)
        decided = DecidedFrame(
            labelled.outcome,
            has_detections=bool(box_rows),
            num_verdicts=labelled.num_verdicts,
            unmet_verdicts=tuple(verdict.answer_id for verdict in labelled.unmet),
        )
        if labelled.outcome is not FrameOutcome.RELEASED:
            return decided
        if split is None:
            return replace(decided, outcome=FrameOutcome.BETWEEN_BLOCKS)
        frame_id = make_frame_id(rows.video_key, frame_index)
        similar = rows.similar[frame_index]
        image = ReleaseImage(
            image_id=place.first_image_id,
            file_name=f"{split}/{rows.video_key}_{frame_index:06d}{Path(frame['file_name']).suffix}",
            split=split,
            width=frame["width"],
            height=frame["height"],
            size_bytes=frame["size_bytes"],
            sha256=frame["sha256"],
            frame_id=frame_id,
            video_key=rows.video_key,
            frame_index=frame_index,
            video_url=rows.url,
            pts=frame["pts"],
            time_base_numerator=frame["time_base_numerator"],
            time_base_denominator=frame["time_base_denominator"],
            pts_seconds=frame["pts_seconds"],
            similarity=round(similar["positive_similarity"], DECIMALS),
            similar_prompt=self._shown.text(similar["positive_prompt"]),
            sharpness=round(frame["sharpness"], DECIMALS),
            num_duplicates=self._num_duplicates.get(frame_id, 0),
            boxes=labelled.boxes,
        )
        return replace(decided, image=image)

    def _rows_of(self, video_key: str) -> _VideoRows:
        return _VideoRows(
            video_key,
            frames=self._frames_of(video_key),
            similar=_by_frame_index(self._filtered.rows_of(video_key)),
            boxes=self._boxes_of(video_key),
            url=self._url_of(video_key),
        )

    def image_files_of(self, video_key: str) -> dict[int, Path]:
        """Return the path of each frame's image file by frame index, after checking that the frames are unchanged."""
        self._check_frames(video_key)
        images = read_frame_images(self._platform.layout, video_key)
        return {frame_index: image.file.path for frame_index, image in images.items()}

    def duplicate_links(self) -> set[tuple[str, str]]:
        """Return (A, B) pairs of video keys: A is a re-upload of B, or has a frame that duplicates a frame of B."""
        links: set[tuple[str, str]] = set()
        for batch in read_batches(
            self._paths["deduplicated_frames"], ["video_key", "is_representative", "representative_frame_id"]
        ):
            removed = batch.filter(pc.invert(batch["is_representative"]))
            links |= {
                (video_key, split_frame_id(representative)[0])
                for video_key, representative in zip(
                    removed["video_key"].to_pylist(), removed["representative_frame_id"].to_pylist(), strict=True
                )
            }
        reuploads = self._platform.layout.reuploads_table(self._project)
        if reuploads.is_file():
            table = read_table(reuploads, ["video_key", "original_video_key"])
            links |= set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
        return {link for link in links if link[0] != link[1]}

    def channel_of(self, video_key: str) -> str | None:
        """Return the id of a video's channel, the channel's name if the id is unknown, or None if both are unknown."""
        video = find_video(self._platform.database, video_key)
        return (video.channel_id or video.channel) if video is not None else None

    def videos(self, released: Mapping[str, ReleasedVideo]) -> Iterator[ReleaseVideo]:
        """Yield the released videos in key order, or raise an OutOfDateError if one has left the project."""
        members = {member.video_key: member for member in find_members(self._platform.database, self._project)}
        for video_key in sorted(released):
            video = find_video(self._platform.database, video_key)
            member = members.get(video_key)
            if video is None or member is None:
                raise self._stale("filtered_frames", f"{video_key} is no longer a video of the project")
            yield _release_video(video, member, released[video_key], self._shown)

    def _unique_frame_ids(self) -> pa.ChunkedArray:
        table = read_table(self._paths["deduplicated_frames"], ["frame_id", "is_representative"])
        return table.filter(table["is_representative"])["frame_id"]

    def _places_of(self, unique: pa.ChunkedArray, video_keys: Collection[str]) -> Iterator[FramePlace]:
        """Yield the places of the representatives in `unique` that belong to the given videos."""
        if not video_keys:
            return
        wanted = pa.array(sorted(video_keys), pa.string())
        for batch in read_batches(self._paths["filtered_frames"], ["frame_id", "video_key", "pts_seconds"]):
            rows = batch.filter(pc.is_in(batch["video_key"], value_set=wanted))
            rows = rows.filter(pc.is_in(rows["frame_id"], value_set=unique))
            for row in rows.select(["video_key", "pts_seconds"]).to_pylist():
                yield FramePlace(row["video_key"], row["pts_seconds"])

    def _check_current(self, unique: pa.ChunkedArray) -> set[str]:
        """Return the ids of unexamined representatives, or raise an OutOfDateError if a table is out of date."""
        filtered = read_table(self._paths["filtered_frames"], ["frame_id", "is_kept"])
        if not pc.all(pc.is_in(unique, filtered.filter(filtered["is_kept"])["frame_id"]), min_count=0).as_py():
            raise self._stale("deduplicated_frames", "it contains frames that filtering does not keep")
        assets = [PROJECT_WAY[stage].asset for stage in TABLE_STAGES]
        for upstream, downstream in pairwise(assets):
            made_from = read_metadata(self._paths[downstream]).get(MADE_FROM_KEY)
            if made_from is not None and made_from != self.fingerprints[upstream]:
                raise self._stale(downstream, f"it was not made from the current {upstream}")
        seen = read_table(self._paths["detected frames"], ["frame_id"])["frame_id"]
        unseen = set(unique.filter(pc.invert(pc.is_in(unique, seen))).to_pylist())
        if len(unseen) != num_unreadable_frames(self._paths["detected frames"]):
            raise self._stale("detections", "there are representatives that no detector has examined")
        return unseen

    def _stale(self, asset: str, why: str) -> OutOfDateError:
        remedy = "run `data-miner run --config FILE`, or materialize it again"
        return OutOfDateError(f"project {self._project!r}: asset {asset} is out of date ({why}); {remedy}")

    def _count_duplicates(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for batch in read_batches(self._paths["deduplicated_frames"], ["is_representative", "representative_frame_id"]):
            removed = batch.filter(pc.invert(batch["is_representative"]))
            for entry in pc.value_counts(removed["representative_frame_id"]).to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        return counts

    def _frames_of(self, video_key: str) -> dict[int, dict[str, Any]]:
        self._check_frames(video_key)
        return _by_frame_index(read_frames(self._platform.layout, video_key, _FRAME_COLUMNS))

    def _check_frames(self, video_key: str) -> None:
        """Raise a DataMinerError if the frames of a video are missing, or differ from those that were deduplicated."""
        if not has_frames(self._platform.layout, video_key):
            raise PermanentError(f"the frames of {video_key} are missing; {remedy_for_image(self._project, video_key)}")
        seen = self._frames_fingerprints.get(video_key)
        if seen is None:
            return
        found = frames_identity(self._platform.layout, video_key)
        if found is None or found.fingerprint != seen:
            raise self._stale("filtered_frames", f"the frames of {video_key} were extracted again after filtering")

    def _boxes_of(self, video_key: str) -> dict[int, list[dict[str, Any]]]:
        boxes: dict[int, list[dict[str, Any]]] = {}
        for row in self._detections.rows_of(video_key).to_pylist():
            if row["class_name"] not in self._config.detection.classes:
                raise self._stale("detections", f"it has class {row['class_name']!r}, which is not in the class list")
            boxes.setdefault(row["frame_index"], []).append(row)
        return boxes

    def _url_of(self, video_key: str) -> str:
        video = find_video(self._platform.database, video_key)
        return _public_url(video, self._shown) if video is not None else ""


def _public_url(video: VideoRow, shown: ShownSettings) -> str:
    return shown.text(public_reference(video.url, is_path=video.origin is Origin.LOCAL))


def _by_frame_index(table: pa.Table) -> dict[int, dict[str, Any]]:
    return {row["frame_index"]: row for row in table.to_pylist()}


def _release_video(
    video: VideoRow, member: ProjectVideoRow, released: ReleasedVideo, shown: ShownSettings
) -> ReleaseVideo:
    return ReleaseVideo(
        video_key=video.key,
        split=released.split,
        group=released.group,
        url=_public_url(video, shown),
        title=video.title,
        channel=video.channel,
        licence=video.licence,
        upload_date=video.upload_date.isoformat() if video.upload_date else None,
        duration_seconds=video.duration_seconds,
        sha256=video.sha256,
        source=member.source,
        query=shown.text(public_reference(member.query, is_path=video.origin is Origin.LOCAL)),
        num_frames=video.num_frames or 0,
        num_images=released.num_images,
        num_boxes=released.num_boxes,
    )
