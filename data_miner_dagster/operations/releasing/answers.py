"""Compute how verdicts given or undone since a release change the number of frames waiting for review."""

import json
from collections.abc import Collection, Mapping

import pyarrow.compute as pc

from data_miner_dagster.catalog.schema import VerdictRow
from data_miner_dagster.catalog.verdicts import all_verdicts, in_force
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.verdicts import FramePlace, Verdict
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.labelling import Labelling, VerdictsByFrame
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.stages.releasing import FrameOutcome
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.tables import read_batches


def change_of_waiting(platform: Platform, project: str, version: str) -> int:
    """Return how many more frames are waiting for review because of verdicts given or undone since a release.

    The result is negative if fewer frames are waiting now, and 0 if the release's inputs are not stored.

    Raises:
        DataMinerError: a table is missing, cannot be read, or is out of date.
        FileNotFoundError: a table is being rewritten.
    """
    undone = _stored_verdicts(platform, project, version)
    if undone is None:
        return 0
    stored = list(all_verdicts(platform.database, project))
    then = VerdictsByFrame(in_force([one.verdict for one in stored if undone.get(one.verdict.answer_id) is False]))
    now = VerdictsByFrame(in_force([one.verdict for one in stored if one.undone_at is None]))
    changed = set(then.answer_ids) ^ set(now.answer_ids)
    if not changed:
        return 0
    config = platform.project_config(project)
    frames = _frames_of(platform, [one.verdict for one in stored if one.verdict.answer_id in changed])
    held_then, held_now = (_num_held(platform, config, verdicts, frames) for verdicts in (then, now))
    return held_now - held_then


def _stored_verdicts(platform: Platform, project: str, version: str) -> Mapping[str, bool] | None:
    """Map the answer id of each verdict given before a release to whether the verdict had been undone by then.

    Return None if the release's inputs are not stored.
    """
    path = platform.layout.release_inputs(project, version)
    if not path.is_file():
        return None
    undone = {}
    for batch in read_batches(path, ["table", "content"]):
        for content in batch.filter(pc.equal(batch["table"], VerdictRow.__tablename__))["content"].to_pylist():
            row = json.loads(content)
            undone[row["answer_id"]] = row["undone_at"] is not None
    return undone


def _frames_of(platform: Platform, verdicts: Collection[Verdict]) -> Mapping[str, Collection[int]]:
    """Return the indices of the frames that `verdicts` are about, by video key. Videos without frames are omitted."""
    by_frame, frames = VerdictsByFrame(verdicts), {}
    for video_key in by_frame.video_keys:
        if not has_frames(platform.layout, video_key):  # the video was deleted, or is being extracted again
            continue
        table = read_frames(platform.layout, video_key, ["frame_index", "pts_seconds"])
        indices, seconds = (table[name].to_pylist() for name in ("frame_index", "pts_seconds"))
        frames[video_key] = {
            index for index, second in zip(indices, seconds, strict=True) if by_frame.of(FramePlace(video_key, second))
        }
    return frames


def _num_held(
    platform: Platform, config: ProjectConfig, verdicts: VerdictsByFrame, frames: Mapping[str, Collection[int]]
) -> int:
    """Return how many of the given frames a release with these verdicts would hold back."""
    source = ReleaseSource(platform, config.name, config, Labelling(config, verdicts))
    decided = (one for video_key, indices in frames.items() for one in source.frames_of(video_key, only=indices))
    return sum(one.outcome is FrameOutcome.HELD for one in decided)
