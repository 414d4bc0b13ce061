"""Read the frames that people have judged, with the boxes detected on them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import OutOfDateError
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.domain.verdicts import FramePlace
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import not_ready
from data_miner_dagster.operations.releasing.labelling import WORDS_ON_BOXES, VerdictsByFrame
from data_miner_dagster.stages.evaluation.answers import FoundOnFrame, ReviewedFrame
from data_miner_dagster.stages.sampling import sampled_places
from data_miner_dagster.storage.by_video import TableByVideo
from data_miner_dagster.storage.frames import has_frames, read_frame_images
from data_miner_dagster.storage.tables import read_batches, read_table

_COLUMNS = ("frame_index", "class_name", "confidence", "x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True, slots=True)
class StoredDetections:
    """The stored detections of a project. The boxes are read one video at a time."""

    project: str
    table: TableByVideo
    frame_ids: frozenset[str]  # all frames that a detector has examined
    detector: str  # the detector's name in the registry, or several names joined by `+`; empty without detections
    revision: str  # fingerprint of the detector and the class list; empty if no frame was examined
    class_names: tuple[str, ...]

    def on_frames(self, video_key: str) -> Mapping[int, FoundOnFrame]:
        """Return the boxes on one video's frames, by frame index. Frames without boxes are omitted.

        Raises:
            OutOfDateError: a box belongs to a class that the project no longer has.
            DamagedFileError: the table of detections cannot be read.
        """
        rows = self.table.rows_of(video_key)
        place_by_class = {name: place for place, name in enumerate(self.class_names)}
        names = rows["class_name"].to_pylist()
        if gone := sorted(set(names) - place_by_class.keys()):
            raise OutOfDateError(
                f"the detections of project {self.project!r} are out of date: they have boxes of {gone[0]!r}, which is "
                "no longer a class of the project; run `data-miner run --config FILE` to detect again"
            )
        indices = rows["frame_index"].to_numpy()
        classes = np.array([place_by_class[name] for name in names], np.int64)
        confidences = rows["confidence"].to_numpy().astype(np.float64)
        boxes = np.stack([rows[name].to_numpy() for name in _COLUMNS[3:]], axis=1).astype(np.float64)
        return {
            int(index): FoundOnFrame(classes[chosen], confidences[chosen], boxes[chosen])
            for index in np.unique(indices)
            for chosen in (indices == index,)
        }


NOTHING_FOUND = FoundOnFrame(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))


def stored_detections(platform: Platform, project: str, config: ProjectConfig) -> StoredDetections:
    """Return a project's detections.

    Raises:
        NotReadyError: detection has not run yet.
        DamagedFileError: the table of detections, or the table of examined frames, cannot be read.
    """
    path, frames = platform.layout.detections_table(project), platform.layout.detected_frames_table(project)
    for table in (path, frames):
        if not table.is_file():
            raise not_ready(project, PROJECT_WAY[ProjectStage.DETECTION].asset)
    seen = read_table(frames, ["frame_id", "detection_fingerprint"])
    return StoredDetections(
        project=project,
        table=TableByVideo(path, _COLUMNS),
        frame_ids=frozenset(seen["frame_id"].to_pylist()),
        detector=next((batch["detector"][0].as_py() for batch in read_batches(path, ["detector"]) if len(batch)), ""),
        revision=seen["detection_fingerprint"][0].as_py() if len(seen) else "",
        class_names=tuple(config.detection.classes),
    )


def reviewed_frames(platform: Platform, project: str, detections: StoredDetections) -> Iterator[ReviewedFrame]:
    """Yield the examined frames that have verdicts on boxes or are marked complete, in order of video and index.

    A verdict belongs to a time in a video, so it applies to the frame that was sampled at that time. Videos
    without frames are omitted.

    Raises:
        OutOfDateError: a box belongs to a class that the project no longer has.
        DamagedFileError: the table of detections, or of a video's frames, cannot be read.
    """
    in_force = verdicts_in_force(platform.database, project, words=WORDS_ON_BOXES)
    verdicts, sampled = VerdictsByFrame(in_force), sampled_places(in_force)
    for video_key in sorted({verdict.place.video_key for verdict in in_force}):
        if has_frames(platform.layout, video_key):
            for frame in _of_video(platform, video_key, verdicts, detections):
                yield replace(frame, is_random=any(verdict.place in sampled for verdict in frame.verdicts))


def _of_video(
    platform: Platform, video_key: str, by_frame: VerdictsByFrame, detections: StoredDetections
) -> Iterable[ReviewedFrame]:
    found = detections.on_frames(video_key)
    for index, image in read_frame_images(platform.layout, video_key).items():
        frame_id = make_frame_id(video_key, index)
        verdicts = by_frame.of(FramePlace(video_key, image.pts_seconds))
        if verdicts and frame_id in detections.frame_ids:
            yield ReviewedFrame(frame_id, image.resolution_wh, found.get(index, NOTHING_FOUND), tuple(verdicts))
