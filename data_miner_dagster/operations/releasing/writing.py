"""Plan a release, and write its folder: first images and labels, then the datasheet and the manifest."""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.errors import DataMinerError, NothingToReleaseError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.json_records import as_json
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.card import CardNotes, write_card
from data_miner_dagster.export.codec import Destination, ReleaseWriter
from data_miner_dagster.export.datasheet import write_datasheet
from data_miner_dagster.export.differences import compare_releases
from data_miner_dagster.export.effort import EFFORT_KEY, effort_rows
from data_miner_dagster.export.formats import RELEASE_FORMATS
from data_miner_dagster.export.licences import licences_of
from data_miner_dagster.export.limits import limits_of
from data_miner_dagster.export.manifest import ChecksumWriter, size_of_all_but_images, write_manifest
from data_miner_dagster.export.parquet import write_videos
from data_miner_dagster.export.records import (
    IMAGES_FOLDER,
    ReleaseHeader,
    ReleaseImage,
    ReleaseTally,
)
from data_miner_dagster.export.tracks import write_tracks
from data_miner_dagster.export.verification import release_problems
from data_miner_dagster.operations.detection.not_followed import read_not_followed
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures, remedy_for_image
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.releasing.effort import effort_of
from data_miner_dagster.operations.releasing.next_steps import next_step
from data_miner_dagster.operations.releasing.planning import (
    Choice,
    FrameTally,
    ReleasePlan,
    Standing,
    WrittenImages,
    manifest_content,
    release_models,
)
from data_miner_dagster.operations.releasing.quality import quality_content
from data_miner_dagster.operations.releasing.source import DecidedFrame, ImagePlace, ReleasedVideo, ReleaseSource
from data_miner_dagster.operations.releasing.splitting import FoundImages, split_videos
from data_miner_dagster.operations.releasing.tracks import has_tracks, tracked_frames
from data_miner_dagster.stages.filtering.decisions import resolve_rules
from data_miner_dagster.stages.releasing import (
    CandidateColumns,
    Candidates,
    FrameOutcome,
    chosen_frames,
    version_number,
)
from data_miner_dagster.stages.reviewing.waiting import waiting_line, waiting_remedy
from data_miner_dagster.stages.splitting.groups import divided_groups
from data_miner_dagster.storage.tables import read_metadata

_NO_HARD_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS})


def plan_release(
    platform: Platform, standing: Standing, source: ReleaseSource, fingerprint: str, version: str
) -> ReleasePlan:
    """Decide on the content of a release: images, splits, models and rules. Nothing is written.

    Args:
        platform: the platform of one root.
        standing: the state of the project.
        source: the source of the project's representatives and their boxes.
        fingerprint: the fingerprint of the release.
        version: the version of the release.

    Raises:
        NothingToReleaseError: no image can be released; the message contains the reason and the remedy.
        OutOfDateError: a table is out of date.
        VideosLeftOutError: frames of videos are missing or unreadable.
    """
    config, frames = standing.config, FrameTally()
    columns = CandidateColumns() if standing.selection is not None else None
    found = videos_with_images(source, columns, frames, standing.decided)
    if not found.by_video:
        raise NothingToReleaseError(_nothing_to_release(platform, standing, frames))
    duplicates = read_metadata(platform.layout.deduplicated_table(config.name))
    groups, splits = split_videos(config.releasing, source, found, standing.decided)
    is_in_a_split = found.is_in_a_split(splits)
    frames.leave_between_blocks(int(np.count_nonzero(~is_in_a_split)))
    choice = _choose(standing, columns.candidates(splits).where(is_in_a_split)) if columns is not None else None
    if choice is not None:
        splits = {key: split for key, split in splits.items() if key in choice.frames}
    return ReleasePlan(
        standing=standing,
        header=ReleaseHeader(
            project=config.name,
            version=version,
            description=config.shown.text(config.description),
            class_names=tuple(config.detection.classes),
            splits=tuple(config.releasing.ordered_splits),
            extra_columns=source.extra_columns,
        ),
        fingerprint=fingerprint,
        split_by_video=splits,
        choice=choice,
        divided_groups=divided_groups([tuple(key for key in group if key in splits) for group in groups], splits),
        videos_without_images=sorted(set(source.video_keys) - set(splits)),
        group_by_video={video_key: group[0] for group in groups for video_key in group},
        models=release_models(platform, config),
        rules=resolve_rules(
            config.filtering, platform.models.filter_encoder.name, platform.models.filter_encoder.calibration
        ),
        duplicate_encoder=duplicates.get("encoder") or platform.models.dedup_encoder.name,
        duplicate_threshold=float(
            duplicates.get("threshold") or platform.models.dedup_encoder.calibration.duplicate_threshold
        ),
        left_out=source.left_out,
        frames=frames,
        num_verdicts=len(source.labelling.verdicts),
        verification=source.verification,
        not_followed=read_not_followed(platform.layout.detected_frames_table(config.name)),
        effort=effort_of(platform, config, standing.funnel, standing.replaced, choice),
    )


def _nothing_to_release(platform: Platform, standing: Standing, frames: FrameTally) -> str:
    project, num_held = standing.config.name, frames.by_outcome[FrameOutcome.HELD]
    why = f"{standing.funnel.as_line()}; {next_step(platform, project, standing.funnel)}"
    if num_held:
        why = f"{waiting_line(num_held, frames.by_outcome.total())}: {waiting_remedy(project)}"
    return f"project {project!r} has nothing to release: {why}"


def _choose(standing: Standing, candidates: Candidates) -> Choice | None:
    if standing.selection is None:
        return None
    num_candidates = len(candidates.frame_indices)
    frames = chosen_frames(candidates, standing.selection.choose(candidates))
    if not frames:
        raise NothingToReleaseError(
            f"project {standing.config.name!r} has nothing to release: releasing.select "
            f"chooses none of its {counted(num_candidates, 'image')}; change the settings of releasing.select"
        )
    return Choice(standing.selection.settings, num_candidates, frames)


def videos_with_images(
    source: ReleaseSource, columns: CandidateColumns | None, tally: FrameTally, decided: Mapping[str, str]
) -> FoundImages:
    """Return the videos that have an image to release, with their image and box counts.

    Args:
        source: the source of the project's representatives and their boxes.
        columns: receives the images in compact form, or None if no selection needs them.
        tally: receives the outcome of every examined representative.
        decided: the remembered or prescribed splits, by video key.

    Raises:
        OutOfDateError: a table is out of date.
        VideosLeftOutError: frames of videos are missing or unreadable.
    """
    faults: dict[str, ItemFault] = {}
    found = FoundImages(decided)
    with item_guard("dataset") as guard:

        def look_at(video_key: str) -> None:
            def attempt(frame_id: str, work: Callable[[], DecidedFrame]) -> DecidedFrame | None:
                return guard.attempt(video_key, work, partial(faults.__setitem__, frame_id))

            read = partial(source.frames_of, video_key, attempt=attempt)
            frames = guard.attempt(video_key, read, partial(faults.__setitem__, video_key), proves=False) or []
            for frame in frames:
                tally.add(frame)
            images = [frame.image for frame in frames if frame.image is not None]
            if columns is not None:
                for image in images:
                    boxes = ((box.class_index, box.confidence) for box in image.labels)
                    columns.add(video_key, image.frame_index, image.similarity, boxes)
            if images:
                found.add(video_key, images)

        for video_key in source.video_keys:
            look_at(video_key)
    if faults:
        raise VideosLeftOutError(faults)
    return found


def write_release(folder: Path, platform: Platform, source: ReleaseSource, plan: ReleasePlan) -> None:
    """Write a complete release into an empty folder, and read it back. The manifest is written last.

    Raises:
        VideosLeftOutError: images are missing or differ from the extracted ones. The error lists video keys and frame
            ids.
        DataMinerError: the release cannot be read back, or one of its videos has left the project.
    """
    with closing(ChecksumWriter(folder)) as checksums:
        with StoredPictures(platform.config.extraction) as pictures:
            steps = Steps("releasing: has written", "videos", len(plan.split_by_video), platform)
            destination = Destination(folder, plan.header, folder, pictures)
            written = _write_images(destination, source, plan, checksums, steps)
        tally = written.tally
        videos = list(source.videos(_released_videos(plan, tally)))
        write_videos(folder, videos)
        if has_tracks(platform, plan.header.project):
            write_tracks(folder, tracked_frames(platform, plan))
        problems = release_problems(folder, plan.header, tally)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DataMinerError(
                f"release {plan.header.title} cannot be read back: {problems[0]}{more}; nothing was published; try "
                "again, and report the problem if it persists"
            )
        content = manifest_content(plan, written, videos)
        content["quality"] = quality_content(platform, plan.config, boxes_by_verdict=tally.boxes_by_verdict)
        content["changes"] = _changes(folder, platform, plan, content)
        content["limits"] = limits_of(content, videos, tally.boxes_by_split_and_class)
        if plan.effort is not None:
            content[EFFORT_KEY] = {**plan.effort, "labels_size_bytes": size_of_all_but_images(folder)}
        notes = CardNotes(content["limits"], licences_of(videos), effort_rows(content))
        write_card(folder, plan.header, tally, notes)
        write_datasheet(folder, plan.header, content, videos)
        checksums.add_all_but_images()
    write_manifest(folder, content, num_files=checksums.num_files)


def _released_videos(plan: ReleasePlan, tally: ReleaseTally) -> dict[str, ReleasedVideo]:
    return {
        key: ReleasedVideo(plan.split_by_video[key], plan.group_by_video[key], num_images, tally.boxes_by_video[key])
        for key, num_images in tally.images_by_video.items()
    }


def _write_images(
    destination: Destination, source: ReleaseSource, plan: ReleasePlan, checksums: ChecksumWriter, steps: Steps
) -> WrittenImages:
    """Write the images and labels of a release. Return their counts, and the ids of frames that the manifest lists.

    Raises:
        VideosLeftOutError: images are missing or differ from the extracted ones.
    """
    tally, kept, num_without_detections = ReleaseTally.of(plan.header), [], 0
    faults: dict[str, ItemFault] = {}
    for split in plan.header.splits:
        (destination.folder / IMAGES_FOLDER / split).mkdir(parents=True)
    with ExitStack() as stack:
        writers = [stack.enter_context(closing(format.codec.open_writer(destination))) for format in RELEASE_FORMATS]
        content = _Content(
            plan.header.project, destination.folder, writers, checksums, copies_images=plan.config.releasing.copy_images
        )
        guard = stack.enter_context(item_guard("dataset"))
        for video_key in sorted(plan.split_by_video):
            place = ImagePlace(plan.split_by_video[video_key], tally.num_images + 1)
            only = plan.choice.of(video_key) if plan.choice is not None else None
            read = partial(_frames_and_files, source, video_key, place, only)
            found = guard.attempt(video_key, read, partial(faults.__setitem__, video_key), proves=False)
            frames, files = found or ([], {})
            for frame in frames:
                if (image := frame.image) is None:
                    continue
                write = partial(_write_image, content, image, files)
                if guard.attempt(video_key, write, partial(faults.__setitem__, image.frame_id)):
                    tally.add(image)
                    num_without_detections += not frame.has_detections and not image.boxes
                    if source.kept_by_hand.holds(image.video_key, image.pts_seconds):
                        kept.append(image.frame_id)
            steps.advance()
    if faults:
        raise VideosLeftOutError(faults)
    return WrittenImages(tally, kept, num_without_detections)


def _frames_and_files(
    source: ReleaseSource, video_key: str, place: ImagePlace, only: Collection[int] | None
) -> tuple[list[DecidedFrame], dict[int, Path]]:
    files = source.image_files_of(video_key)
    return source.frames_of(video_key, place, only=only), files


@dataclass(frozen=True, slots=True)
class _Content:
    """The project, folder, format writers and checksums of a release, to which images are added one by one."""

    project: str
    folder: Path
    writers: Sequence[ReleaseWriter]
    checksums: ChecksumWriter
    copies_images: bool


def _write_image(content: _Content, image: ReleaseImage, files: Mapping[int, Path]) -> bool:
    """Write one image and its labels, and return True.

    If this fails, the caller removes the whole folder, including the incomplete output.
    """
    target = content.folder / image.path_in_release
    _place_image(files[image.frame_index], target, image, content)
    content.checksums.add(image.path_in_release, image.sha256)
    for writer in content.writers:
        writer.add(image)
    return True


def _changes(
    folder: Path, platform: Platform, plan: ReleasePlan, content: Mapping[str, Any]
) -> dict[str, object] | None:
    """Return the differences from the previous release, or None for the first release.

    The split of each video is compared with its split in the latest earlier release that contains the video.
    """
    project, number, shown = plan.header.project, version_number(plan.header.version), plan.config.shown
    earlier = [manifest for version, manifest in plan.standing.manifests.items() if version_number(version) < number]
    if not earlier:
        return None
    last_splits: dict[str, str] = {}
    for manifest in earlier:
        last_splits |= manifest["splits"]["by_video"]
    before = platform.layout.release_folder(project, earlier[-1]["version"])
    last = {**earlier[-1], **{name: shown.everywhere(earlier[-1][name]) for name in ("prompts", "config")}}
    return as_json(compare_releases(before, last, folder, content, last_splits=last_splits))


def _place_image(source: Path, target: Path, image: ReleaseImage, content: _Content) -> None:
    """Hard-link or copy one frame after checking the sha256 of its file.

    Raises:
        DataMinerError: the file is missing or differs from the extracted one.
    """
    if not source.is_file() or sha256_of_file(source) != image.sha256:
        what = "differs from the extracted one" if source.is_file() else "is missing"
        raise DataMinerError(
            f"the image of frame {image.frame_id} {what}; {remedy_for_image(content.project, image.video_key)}"
        )
    if not content.copies_images:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
        else:
            return
    shutil.copyfile(source, target)
