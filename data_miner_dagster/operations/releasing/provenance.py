"""Trace a released image and its boxes to their origin, and state why the release contains them (`data-miner trace`).

Facts about an image come from the release. Facts that the release lacks, such as the similarity to each prompt, come
from the project's tables if they still agree with the release about the image. Verdicts and runs come from the catalog.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import pyarrow.compute as pc

from data_miner_dagster.catalog.measurements import PROJECT_STAGES, RunOfItem, runs_of_item
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.addresses import address_at
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.verdicts import SAME_FRAME_SECONDS, Verdict
from data_miner_dagster.domain.work import VIDEO_STAGES
from data_miner_dagster.export.lookups import find_image, find_image_id, image_id_of_box
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.parquet import read_videos
from data_miner_dagster.export.records import ReleaseImage, ReleaseVideo
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import existing_version
from data_miner_dagster.operations.split_memory import release_versions
from data_miner_dagster.storage.similarities import similarities_of_frame
from data_miner_dagster.storage.tables import rows_with

logger = logging.getLogger(__name__)

_IMAGE: Final = "image:"
_BOX: Final = "box:"
_ROUNDING: Final = 1e-3
"""The tolerance for comparing similarities: tables store half-precision values, and releases round to six digits."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A duplicate frame that the released image represents."""

    frame_id: str
    similarity: float | None
    """The cosine of the embeddings of the duplicate and the image, or None if it was not stored."""
    tier: str | None
    """The simplest comparison that finds the duplicate (`DuplicateTier`), or None if it was not stored."""


@dataclass(frozen=True, slots=True)
class ImageProvenance:
    """The origin of one image of a release, and the reasons why the release contains it."""

    project: str
    version: str
    image: ReleaseImage
    annotation_ids: tuple[int, ...]
    """The COCO ids of the image's boxes, in the order of the boxes."""
    video: ReleaseVideo
    thresholds: Mapping[str, float]
    """The thresholds of the release, by class."""
    similarities: Mapping[str, float]
    """The similarity to each prompt, highest first, or {} if the project's tables no longer match the release."""
    duplicates: tuple[Duplicate, ...]
    """The duplicates of the image, or () if it has none or the project's tables no longer match the release."""
    verdicts: tuple[Verdict, ...]
    """People's current verdicts on the frame as a whole, on its boxes, and on whether it is a duplicate."""
    runs: tuple[RunOfItem, ...]
    """The runs that processed the video or the project, by stage, latest first."""

    @property
    def address(self) -> str:
        """The address of the video. It points to the time of the image if the site supports that."""
        return address_at(self.video.url, self.image.pts_seconds)

    def as_json(self) -> dict[str, Any]:
        """Return the provenance as a JSON-compatible dict."""
        content = asdict(self) | {
            "address": self.address,
            "verdicts": [_verdict_as_json(verdict) for verdict in self.verdicts],
            "runs": [asdict(run) | {"measured_at": run.measured_at.isoformat()} for run in self.runs],
        }
        for annotation_id, box in zip(content.pop("annotation_ids"), content["image"]["boxes"], strict=True):
            box["annotation_id"] = annotation_id
        return content


def trace_image(
    platform: Platform, what: str, *, project: str | None = None, version: str | None = None
) -> ImageProvenance:
    """Return the origin of one image of a release and of its boxes.

    Args:
        platform: the platform of one root.
        what: an image file or label file of a release or export, a frame id, or `image:N` or `box:N` with an id from
            COCO or Parquet.
        project: the name of the project. If it is None, the path in `what` determines it, or all projects are searched.
        version: the version of the release. If it is None, the path in `what` determines it, or the current release is
            searched.

    Raises:
        ConfigError: the project or release does not exist, `what` is not a valid id, no searched release contains the
            image, or the releases of several projects contain it.
        DataMinerError: the release is damaged.
    """
    place = _place_in(platform, what)
    project, version = project or (place[0] if place else None), version or (place[1] if place else None)
    unread: list[str] = []
    found = list(_releases_with(platform, what, project, version, unread))
    if unread and not found:
        raise DataMinerError(f"{what!r} was not found in the releases that can be read; {unread[0]}")
    for line in unread:
        logger.warning("a release was passed over: %s", line)
    if not found:
        where = f"{f'release {version}' if version else 'the current release'} of {project or 'any project'}"
        raise ConfigError(
            f"{what!r} is not in {where}; give a file of a release, a frame (`<video key>/000012`), `image:N` or "
            "`box:N`, or choose another release with --version"
        )
    if len(found) > 1:
        names = ", ".join(name for name, _, _ in found)
        raise ConfigError(f"{what!r} is in releases of several projects ({names}); choose one with --project")
    return _provenance(platform, *found[0])


def _place_in(platform: Platform, what: str) -> tuple[str, str] | None:
    """Return the project and version that a path names (`releases/<project>/<version>/...`).

    Return None if the path does not name a release in this root.
    """
    parts = PurePath(what).parts
    for number in range(len(parts) - 2):
        project, version = parts[number + 1], parts[number + 2]
        if parts[number] == "releases" and read_manifest(platform.layout.release_folder(project, version)):
            return project, version
    return None


def _releases_with(
    platform: Platform, what: str, project: str | None, version: str | None, unread: list[str]
) -> Iterator[tuple[str, str, int]]:
    """Yield the project, version and image id for each searched release that contains the image.

    If `project` is None, all projects are searched, and a line for each release that cannot be read is added to
    `unread`. If `version` is None, only current releases are searched.

    Raises:
        ConfigError: `what` is not a valid id, or the project or release does not exist.
        DataMinerError: the only release to search is damaged.
    """
    names = [project] if project is not None else _projects_with(platform, version)
    for name in names:
        standing = existing_version(platform, name, version)
        release = platform.layout.release_folder(name, standing)
        try:
            image_id = _image_id(release, what)
        except ConfigError:
            raise
        except (DataMinerError, OSError) as error:
            if project is not None:
                raise
            unread.append(str(error))  # another project's release may contain the image
            continue
        if image_id is not None:
            yield name, standing, image_id


def _projects_with(platform: Platform, version: str | None) -> list[str]:
    """Return the projects that have a release of this version on disk, or any release if no project has this one."""
    versions = {row.name: release_versions(platform, row.name) for row in find_projects(platform.database)}
    released = [name for name, known in versions.items() if known]
    return [name for name in released if version in (None, *versions[name])] or released


def _image_id(release: Path, what: str) -> int | None:
    for prefix in (_IMAGE, _BOX):
        if what.startswith(prefix):
            number = what.removeprefix(prefix)
            if not number.isdecimal():
                raise ConfigError(f"{what!r} is not an id; write `{prefix}` and a number, such as `{prefix}12`")
            if prefix == _BOX:
                return image_id_of_box(release, int(number))
            return int(number) if find_image(release, int(number)) else None
    return find_image_id(release, what)


def _provenance(platform: Platform, project: str, version: str, image_id: int) -> ImageProvenance:
    release = platform.layout.release_folder(project, version)
    found, manifest = find_image(release, image_id), read_manifest(release)
    if found is None or manifest is None:
        raise DataMinerError(
            f"release {project} {version} is damaged; run `data-miner releases {project} --check` to list the damaged "
            "files"
        )
    image, annotation_ids = found
    video = next(video for video in read_videos(release) if video.video_key == image.video_key)
    return ImageProvenance(
        project=project,
        version=version,
        image=image,
        annotation_ids=annotation_ids,
        video=video,
        thresholds=manifest["thresholds"],
        similarities=_similarities(platform, project, image),
        duplicates=_duplicates(platform, project, image),
        verdicts=tuple(_verdicts(platform, project, image)),
        runs=(
            *runs_of_item(platform.database, image.video_key, VIDEO_STAGES),
            *runs_of_item(platform.database, project, PROJECT_STAGES),
        ),
    )


def _similarities(platform: Platform, project: str, image: ReleaseImage) -> dict[str, float]:
    """Return the similarity to each prompt, highest first, or {} if the tables no longer match the release."""
    found = similarities_of_frame(platform.layout.similarities_table(project), image.frame_id)
    if abs(found.get(image.similar_prompt, 2.0) - image.similarity) > _ROUNDING:
        return {}
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _duplicates(platform: Platform, project: str, image: ReleaseImage) -> tuple[Duplicate, ...]:
    """Return the duplicates of the image, or () if the release states a different number of duplicates."""
    columns = ["frame_id", "representative_frame_id", "is_representative", "similarity", "tier"]
    table = platform.layout.deduplicated_table(project)
    rows = rows_with(table, columns, pc.field("representative_frame_id") == image.frame_id)
    found = tuple(
        Duplicate(row["frame_id"], row["similarity"], row["tier"]) for row in rows if not row["is_representative"]
    )
    return found if len(found) == image.num_duplicates else ()


def _verdicts(platform: Platform, project: str, image: ReleaseImage) -> Iterator[Verdict]:
    for verdict in verdicts_in_force(platform.database, project, video_keys=[image.video_key]):
        if abs(verdict.place.pts_seconds - image.pts_seconds) <= SAME_FRAME_SECONDS:
            yield verdict


def _verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "answer_id": verdict.answer_id,
        "word": verdict.word.value,
        "who": verdict.who,
        "given_at": verdict.given_at.isoformat(),
        "class_name": verdict.final_class_name or (verdict.shown.class_name if verdict.shown else None),
        "box_as_shares": verdict.final_box or (verdict.shown.box if verdict.shown else None),
        "other_frame_id": verdict.other_frame_id,
    }
