"""Sort a project's videos into those that its stages can work on now and those that lack something.

Every stage after embedding starts from this result. It combines the catalog (the members and their states) with the
files (what exists and is current), so that no two stages disagree about a project's videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path

from data_miner_dagster.catalog.pending import record_bases
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.bases import embedding_basis
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.damage import damaged
from data_miner_dagster.storage.frames import sound_frames_identity
from data_miner_dagster.storage.vectors import read_vectors_fingerprint


@dataclass(frozen=True, slots=True)
class MemberFrames:
    """The frames of one member video, and their current embeddings from the project's filter encoder."""

    video_key: str
    frames_fingerprint: str
    num_frames: int
    embeddings_file: Path
    embeddings_fingerprint: str


@dataclass(frozen=True, slots=True)
class FailedMember:
    """A member whose video has failed, is unavailable, or was left out because of a fault.

    `kind` is None if the catalog stores no kind of error. `message` is one line for the user.
    """

    video_key: str
    kind: VideoErrorKind | None
    message: str


@dataclass(frozen=True, slots=True)
class ProjectMembers:
    """All members of a project except rejected ones. Each is in exactly one of the lists."""

    ready: tuple[MemberFrames, ...]
    not_embedded: tuple[str, ...]  # videos with frames whose embeddings from the filter encoder are missing or stale
    unsettled: tuple[str, ...]  # videos without frames: not downloaded or extracted yet, or their frames are missing
    failed: tuple[FailedMember, ...]

    def without(self, lines: Mapping[str, str]) -> "ProjectMembers":
        """Return these members, with the videos in `lines` moved to the end of `failed` and the lines as messages."""
        if not lines:
            return self
        left_out = [FailedMember(key, VideoErrorKind.INTERNAL_ERROR, line) for key, line in sorted(lines.items())]
        ready = tuple(member for member in self.ready if member.video_key not in lines)
        return replace(self, ready=ready, failed=(*self.failed, *left_out))


def project_members(platform: Platform, project: str) -> ProjectMembers:
    """Sort a project's members by the work that is possible on them now, without loading models or vectors.

    An EXTRACTED video whose frames are missing counts as unsettled: extraction recreates them. Missing frames and
    embeddings are recorded in the catalog, so that planners request them.

    Raises:
        ConfigError: the project does not exist, or its stored settings do not fit this version.
        DamagedFileError: the frames or embeddings of a member exist but cannot be read.
        ModelError: the weights of the filter encoder are missing.
    """
    platform.project_config(project)  # raises a clear error for an unknown name
    encoder_name = platform.models.filter_encoder.name
    encoder_fingerprint = platform.models.filter_encoder.fingerprint
    ready: list[MemberFrames] = []
    not_embedded: list[str] = []
    unsettled: list[str] = []
    failed: list[FailedMember] = []
    with item_guard("members of a project") as guard:
        for video in find_videos(platform.database, project=project):
            if video.status in (VideoStatus.FAILED, VideoStatus.UNAVAILABLE):
                failed.append(FailedMember(video.key, video.error_kind, video.error or video.status.value.lower()))
                continue
            look = partial(_frames_of, platform, video, encoder_name, encoder_fingerprint)
            found = guard.attempt(video.key, look, partial(_fail, failed, video.key))
            if isinstance(found, MemberFrames):
                ready.append(found)
            elif found is not None:
                (unsettled if found is _Lack.FRAMES else not_embedded).append(video.key)
                _note_lack(platform, video, found)
    failed.sort(key=lambda member: member.video_key)
    return ProjectMembers(tuple(ready), tuple(not_embedded), tuple(unsettled), tuple(failed))


class _Lack(Enum):
    FRAMES = "frames"
    EMBEDDINGS = "embeddings"


def _note_lack(platform: Platform, video: VideoRow, lack: _Lack) -> None:
    """Record missing files in the catalog. Planners read no files, and rely on this record to request the work."""
    stage, on_record = WorkStage.EXTRACTION, video.frames_basis
    if lack is _Lack.EMBEDDINGS:
        stage, on_record = WorkStage.EMBEDDING, video.embedding_basis
        if on_record != embedding_basis(platform.models.filter_encoder):
            return
    if on_record is not None and video.status is VideoStatus.EXTRACTED:
        with platform.database.transaction() as session:
            record_bases(session, stage, {video.key: None})


def _fail(failed: list[FailedMember], video_key: str, fault: ItemFault) -> None:
    failed.append(FailedMember(video_key, VideoErrorKind.INTERNAL_ERROR, fault.line))


def _frames_of(
    platform: Platform, video: VideoRow, encoder_name: str, encoder_fingerprint: str
) -> MemberFrames | _Lack:
    """Return the frames and embeddings of a video that has not failed, or which of the two is missing or stale."""
    if video.status is not VideoStatus.EXTRACTED:
        return _Lack.FRAMES
    frames = sound_frames_identity(platform.layout, video.key)
    if frames is None:
        return _Lack.FRAMES
    embeddings_file = platform.layout.embedding_file(encoder_name, video.key)
    embeddings_fingerprint = embeddings_fingerprint_of(frames.fingerprint, encoder_fingerprint)
    stored_fingerprint = read_vectors_fingerprint(embeddings_file)
    if stored_fingerprint is None and embeddings_file.exists():
        # The error makes the claim's holder remove the file and record that, so the embeddings are recreated.
        raise damaged(embeddings_file, "no embeddings")
    if stored_fingerprint != embeddings_fingerprint:
        return _Lack.EMBEDDINGS
    return MemberFrames(
        video_key=video.key,
        frames_fingerprint=frames.fingerprint,
        num_frames=frames.num_frames,
        embeddings_file=embeddings_file,
        embeddings_fingerprint=embeddings_fingerprint,
    )


def failures_by_kind(failed: Sequence[FailedMember]) -> Mapping[str, int]:
    """Return the number of failed members by error kind, in the order of the enum. Only kinds that occur are included.

    A member without a kind counts as TRANSIENT.
    """
    kinds = [member.kind or VideoErrorKind.TRANSIENT for member in failed]
    return {kind.value: kinds.count(kind) for kind in VideoErrorKind if kind in kinds}
