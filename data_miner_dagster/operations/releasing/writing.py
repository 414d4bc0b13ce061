"""One release's folder: what is decided before the first byte, then images, formats, datasheet and manifest."""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError, NothingToReleaseError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.json_records import as_json
from data_miner_dagster.domain.statuses import PROJECT_WAY
from data_miner_dagster.export.card import write_card
from data_miner_dagster.export.codec import Destination, ReleaseWriter
from data_miner_dagster.export.datasheet import write_datasheet
from data_miner_dagster.export.differences import compare_releases
from data_miner_dagster.export.formats import RELEASE_FORMATS
from data_miner_dagster.export.manifest import ChecksumWriter, write_manifest
from data_miner_dagster.export.parquet import write_videos
from data_miner_dagster.export.records import (
    IMAGES_FOLDER,
    ReleaseHeader,
    ReleaseImage,
    ReleaseModel,
    ReleaseTally,
    ReleaseVideo,
)
from data_miner_dagster.export.verification import release_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.source import ImagePlace, ReleasedVideo, ReleaseSource
from data_miner_dagster.operations.reporting.funnel import Funnel
from data_miner_dagster.operations.split_memory import Manifests
from data_miner_dagster.stages.filtering.decisions import FilteringRules, resolve_rules
from data_miner_dagster.stages.releasing import (
    CandidateColumns,
    Candidates,
    ImageSelection,
    assign_splits,
    chosen_frames,
    divided_groups,
    group_videos,
    version_number,
)
from data_miner_dagster.storage.tables import read_metadata

_NO_HARD_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a project before a release: read once, and passed on."""

    config: ProjectConfig
    manifests: Manifests  # of the releases on disk
    rows: Sequence[ReleaseRow]  # of the releases in the catalog
    remembered: Mapping[str, str]  # video key to split, of every video that was ever released
    funnel: Funnel  # up to the boxes
    selection: ImageSelection | None = None  # what chooses among all images; None: every one is released


@dataclass(frozen=True, slots=True)
class Choice:
    """The images that were chosen among all that may be released."""

    settings: Mapping[str, object]
    num_candidates: int
    frames: Mapping[str, npt.NDArray[np.int32]]  # frame indices by video; no video without any

    def of(self, video_key: str) -> frozenset[int]:
        """Return the frame indices of one video."""
        return frozenset(self.frames[video_key].tolist())


@dataclass(frozen=True, slots=True)
class ReleasePlan:
    """What is decided before the first byte is written."""

    standing: Standing
    header: ReleaseHeader
    fingerprint: str
    split_by_video: dict[str, str]
    choice: Choice | None  # None: every image
    group_by_video: dict[str, str]
    divided_groups: list[tuple[str, ...]]
    videos_without_images: list[str]  # decided on, and every frame of theirs gave way to another's or was left out
    models: tuple[ReleaseModel, ...]
    rules: FilteringRules
    duplicate_encoder: str
    duplicate_threshold: float
    left_out: Collection[str]  # videos and frames whose files cannot be had

    @property
    def config(self) -> ProjectConfig:
        """The project's configuration."""
        return self.standing.config


def plan_release(
    platform: Platform, standing: Standing, source: ReleaseSource, fingerprint: str, version: str
) -> ReleasePlan:
    """Decide what goes where.

    Raises:
        NothingToReleaseError: no frame survived; the message is the funnel in one line.
        VideosLeftOutError: frames of videos cannot be had.
    """
    config = standing.config
    columns = CandidateColumns() if standing.selection is not None else None
    video_keys = _videos_with_images(source, columns)
    if not video_keys:
        raise NothingToReleaseError(f"project {config.name!r} has nothing to release: {standing.funnel.as_line()}")
    shares = config.releasing.ordered_splits
    duplicates = read_metadata(platform.layout.deduplicated_table(config.name))
    groups = group_videos(video_keys, source.duplicate_links())
    splits = assign_splits(groups, shares, standing.remembered)
    choice = _choose(standing, columns.candidates(splits)) if columns is not None else None
    if choice is not None:
        splits = {key: split for key, split in splits.items() if key in choice.frames}
    return ReleasePlan(
        standing=standing,
        header=ReleaseHeader(
            project=config.name,
            version=version,
            description=config.shown.text(config.description),
            class_names=tuple(config.detection.classes),
            splits=tuple(shares),
        ),
        fingerprint=fingerprint,
        split_by_video=splits,
        choice=choice,
        divided_groups=divided_groups([tuple(key for key in group if key in splits) for group in groups], splits),
        videos_without_images=sorted(set(source.video_keys) - set(splits)),
        group_by_video={video_key: group[0] for group in groups for video_key in group},
        models=_models(platform, config),
        rules=resolve_rules(
            config.filtering, platform.models.filter_encoder.name, platform.models.filter_encoder.calibration
        ),
        duplicate_encoder=duplicates.get("encoder") or platform.models.dedup_encoder.name,
        duplicate_threshold=float(
            duplicates.get("threshold") or platform.models.dedup_encoder.calibration.duplicate_threshold
        ),
        left_out=source.left_out,
    )


def _choose(standing: Standing, candidates: Candidates) -> Choice | None:
    if standing.selection is None:
        return None
    num_candidates = len(candidates.frame_indices)
    frames = chosen_frames(candidates, standing.selection.choose(candidates))
    if not frames:
        raise NothingToReleaseError(
            f"project {standing.config.name!r} has nothing to release: none of its {num_candidates:,} images is chosen"
        )
    return Choice(standing.selection.settings, num_candidates, frames)


def _videos_with_images(source: ReleaseSource, columns: CandidateColumns | None) -> list[str]:
    """Return the videos that have an image to release; their images, in compact form, go into `columns`."""
    faults: dict[str, ItemFault] = {}
    with item_guard("dataset") as guard:

        def has_images(video_key: str) -> bool:
            def attempt(frame_id: str, work: Callable[[], ReleaseImage | None]) -> ReleaseImage | None:
                return guard.attempt(video_key, work, partial(faults.__setitem__, frame_id))

            read = partial(source.images_of, video_key, attempt=attempt)
            images = guard.attempt(video_key, read, partial(faults.__setitem__, video_key), proves=False) or []
            if columns is not None:
                for image in images:
                    boxes = ((box.class_index, box.confidence) for box in image.boxes)
                    columns.add(video_key, image.frame_index, image.similarity, boxes)
            return bool(images)

        found = [video_key for video_key in source.video_keys if has_images(video_key)]
    if faults:
        raise VideosLeftOutError(faults)
    return found


def _models(platform: Platform, config: ProjectConfig) -> tuple[ReleaseModel, ...]:
    models = platform.models
    entries = [("frame filter", models.filter_encoder.entry)]
    if config.deduplication.encoder == "dedup":
        entries.append(("near-duplicates", models.dedup_encoder.entry))
    entries += [("detector", detector.entry) for detector in models.detectors(config.detection.detectors)]
    return tuple(
        ReleaseModel(role, entry.name, entry.source, entry.revision, entry.licence, entry.fingerprint)
        for role, entry in entries
    )


def write_release(folder: Path, platform: Platform, source: ReleaseSource, plan: ReleasePlan) -> None:
    """Fill an empty folder with a complete release, read back; the manifest comes last.

    Raises:
        VideosLeftOutError: images of frames are missing, or not what was extracted: videos by key, frames by id.
        DataMinerError: the release does not read back.
    """
    with closing(ChecksumWriter(folder)) as checksums:
        with StoredPictures(platform.config.extraction) as pictures:
            tally, kept = _write_images(Destination(folder, plan.header, folder, pictures), source, plan, checksums)
        videos = list(source.videos(_released_videos(plan, tally)))
        write_videos(folder, videos)
        problems = release_problems(folder, plan.header, tally)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DataMinerError(
                f"release {plan.header.title} does not read back: {problems[0]}{more}; nothing was published"
            )
        content = _manifest_content(plan, tally, videos, kept)
        content["changes"] = _changes(folder, platform, plan, content)
        write_card(folder, plan.header, tally)
        write_datasheet(folder, plan.header, content, videos)
        checksums.add_all_but_images()
    write_manifest(folder, content, num_files=checksums.num_files)


def _released_videos(plan: ReleasePlan, tally: ReleaseTally) -> dict[str, ReleasedVideo]:
    return {
        key: ReleasedVideo(plan.split_by_video[key], plan.group_by_video[key], num_images, tally.boxes_by_video[key])
        for key, num_images in tally.images_by_video.items()
    }


def _write_images(
    destination: Destination, source: ReleaseSource, plan: ReleasePlan, checksums: ChecksumWriter
) -> tuple[ReleaseTally, list[str]]:
    """Write images and labels; return the counts, and the frames that are in because a person said so."""
    tally, kept = ReleaseTally.of(plan.header), []
    faults: dict[str, ItemFault] = {}
    for split in plan.header.splits:
        (destination.folder / IMAGES_FOLDER / split).mkdir(parents=True)
    with ExitStack() as stack:
        writers = [stack.enter_context(closing(format.codec.open_writer(destination))) for format in RELEASE_FORMATS]
        content = _Content(destination.folder, writers, checksums, copies_images=plan.config.releasing.copy_images)
        guard = stack.enter_context(item_guard("dataset"))
        for video_key in sorted(plan.split_by_video):
            place = ImagePlace(plan.split_by_video[video_key], tally.num_images + 1)
            only = plan.choice.of(video_key) if plan.choice is not None else None
            read = partial(_images_and_files, source, video_key, place, only)
            found = guard.attempt(video_key, read, partial(faults.__setitem__, video_key), proves=False)
            images, files = found or ([], {})
            for image in images:
                write = partial(_write_image, content, image, files)
                if guard.attempt(video_key, write, partial(faults.__setitem__, image.frame_id)):
                    tally.add(image)
                    if (image.video_key, image.pts_seconds) in source.kept_by_hand:
                        kept.append(image.frame_id)
    if faults:
        raise VideosLeftOutError(faults)
    return tally, kept


def _images_and_files(
    source: ReleaseSource, video_key: str, place: ImagePlace, only: Collection[int] | None
) -> tuple[list[ReleaseImage], dict[int, Path]]:
    files = source.image_files_of(video_key)
    return source.images_of(video_key, place, only=only), files


@dataclass(frozen=True, slots=True)
class _Content:
    """What is filled image by image: the folder, its formats and its checksums."""

    folder: Path
    writers: Sequence[ReleaseWriter]
    checksums: ChecksumWriter
    copies_images: bool


def _write_image(content: _Content, image: ReleaseImage, files: Mapping[int, Path]) -> bool:
    """Put one image and its labels in place; return True. What is left half done of it goes with the folder."""
    target = content.folder / image.path_in_release
    _place_image(files[image.frame_index], target, image, copy=content.copies_images)
    content.checksums.add(image.path_in_release, image.sha256)
    for writer in content.writers:
        writer.add(image)
    return True


def _changes(
    folder: Path, platform: Platform, plan: ReleasePlan, content: Mapping[str, Any]
) -> dict[str, object] | None:
    """Return the differences from the release before, None for the first. Videos that moved: since any before."""
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


def _place_image(source: Path, target: Path, image: ReleaseImage, *, copy: bool) -> None:
    """Hard-link or copy one frame, after its bytes were checked against the frames' manifest."""
    if not source.is_file() or sha256_of_file(source) != image.sha256:
        what = "differs from what was extracted" if source.is_file() else "is missing"
        raise DataMinerError(
            f"the image of frame {image.frame_id} {what}: materialize `frames` of {image.video_key} again with force"
        )
    if not copy:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
        else:
            return
    shutil.copyfile(source, target)


def _manifest_content(
    plan: ReleasePlan, tally: ReleaseTally, videos: list[ReleaseVideo], kept_by_hand: Sequence[str]
) -> dict[str, Any]:
    """Everything that is known of a release. No dates and no absolute paths: the same inputs give the same bytes."""
    config, shown, choice = plan.config, plan.config.shown, plan.choice
    return {
        "project": plan.header.project,
        "version": plan.header.version,
        "description": plan.header.description,
        "fingerprint": plan.fingerprint,
        "num_videos": len(videos),
        "num_images": tally.num_images,
        "num_images_without_boxes": tally.num_images_without_boxes,
        "num_boxes": tally.num_boxes,
        "images_size_bytes": tally.size_bytes,
        **({"left_out": sorted(plan.left_out)} if plan.left_out else {}),
        **({"selection": {**choice.settings, "num_candidates": choice.num_candidates}} if choice else {}),
        **({"kept_by_hand": list(kept_by_hand)} if kept_by_hand else {}),
        "images_by_split": tally.images_by_split,
        "boxes_by_split": tally.boxes_by_split,
        "images_by_class": tally.images_by_class,
        "boxes_by_class": tally.boxes_by_class,
        "classes": list(plan.header.class_names),
        "splits": _splits_content(plan),
        **({"videos_without_images": plan.videos_without_images} if plan.videos_without_images else {}),
        "thresholds": {name: config.releasing.threshold_of(name) for name in plan.header.class_names},
        "models": [asdict(model) for model in plan.models],
        "funnel": plan.standing.funnel.as_json()["steps"],
        "prompts": {
            role: [{**asdict(rule), "text": shown.text(rule.text)} for rule in rules]
            for role, rules in (
                ("positive", plan.rules.positive),
                ("negative", plan.rules.negative),
                ("junk", plan.rules.junk),
            )
        },
        "duplicates": {"encoder": plan.duplicate_encoder, "threshold": plan.duplicate_threshold},
        "config": {
            stage.word: shown.section(stage.word) for stage in PROJECT_WAY if stage.word in ProjectConfig.model_fields
        },
    }


def _splits_content(plan: ReleasePlan) -> dict[str, Any]:
    content: dict[str, Any] = {"shares": plan.config.releasing.ordered_splits, "by_video": plan.split_by_video}
    if plan.divided_groups:
        content["divided_groups"] = plan.divided_groups
    return content
