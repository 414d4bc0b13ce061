"""Before a release is rebuilt, find its inputs that are missing or have changed.

Belongs here: comparing the stored inputs of a release with the present state. Does not belong here: rebuilding the
release (rebuilding.py).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, DamagedFileError, ModelError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, sha256_of_file
from data_miner_dagster.domain.keys import has_foreign_pictures, make_frame_id
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.versions import BUILD_VERSIONS
from data_miner_dagster.models.provider import ModelRole, check_entry_available, is_on_this_machine
from data_miner_dagster.operations.detection.neighbours import windows_fingerprint
from data_miner_dagster.operations.foreign.stored_pictures import remedy_for_image
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.releasing.inputs import (
    Recipe,
    against_fingerprint,
    are_models_unknown,
    earlier_manifests,
    exemplar_hashes,
    python_and_machine,
    versions_of_packages,
)
from data_miner_dagster.operations.verification.verifiers import verifier_model
from data_miner_dagster.stages.detection.windows import WantedTimes, wanted_times
from data_miner_dagster.storage.frames import frames_identity, read_frame_images
from data_miner_dagster.storage.vectors import read_vectors_fingerprint
from data_miner_dagster.storage.windows import read_stored_windows

_MOST_IMAGES_NAMED: Final = 3


def changed_versions(recipe: Recipe) -> list[str]:
    """Return a line for each package whose version has changed, and for a changed Python version or machine type."""
    now = {**versions_of_packages(), **python_and_machine()}
    then = recipe.packages
    names = sorted(now.keys() | then.keys())
    return [
        f"{name} is {now.get(name) or 'not installed'} here, but was {then.get(name) or 'not installed'} when the "
        "release was built; add --any-versions to try anyway"
        for name in names
        if now.get(name) != then.get(name)
    ]


def changed_stages(recipe: Recipe) -> list[str]:
    """Return a line for each stage, except the report, whose version has changed since the release was built."""
    return [
        f"{stage} has changed: it was version {version}, and is now version {BUILD_VERSIONS.get(stage, 'unknown')}; "
        "install the version of data-miner-dagster that built the release"
        for stage, version in sorted(recipe.stages.items())
        if BUILD_VERSIONS.get(stage) != version and stage != "report"
    ]


def lacking_models(platform: Platform, config: ProjectConfig, recipe: Recipe) -> Iterator[str]:
    """Yield a line for each model of a release that is missing, is not on this machine, or has changed."""
    if are_models_unknown(recipe):
        yield (
            "a model was missing when the release was built, so the release does not record its models; restore the "
            "release from a backup instead"
        )
        return
    for role, (name, fingerprint) in sorted(recipe.models.items()):
        try:
            found = _role(platform, config, role)
            check_entry_available(found.entry)
            if found.fingerprint != fingerprint:
                yield (
                    f"the weights or settings of model {name} have changed since the release was built; "
                    "restore the earlier ones"
                )
            elif not is_on_this_machine(found.entry):
                # Imported here because only hub models need the hub's client.
                from data_miner_dagster.models.hub import fetching_command

                command = fetching_command(found.entry)
                yield f"the weights of model {name} are missing or incomplete on this machine; run `{command}`"
        except (ModelError, ConfigError) as error:
            yield str(error)


def lacking_verifier(platform: Platform, config: ProjectConfig, models: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line if a release's verifier is missing, or has changed so that its answers no longer apply.

    Args:
        platform: the platform of one root.
        config: the project's configuration at the time of the release.
        models: the models in the release's manifest.
    """
    name, then = config.detection.verifier_name, [model for model in models if model["role"] == "verifier"]
    if name is None or not then:
        return
    try:
        now = verifier_model(platform, name)
    except (ModelError, ConfigError) as error:
        yield str(error)
        return
    if now.fingerprint != then[0]["fingerprint"]:
        yield (
            f"the model or parameters of verifier {name} have changed since the release was built, so its answers no "
            "longer apply; restore the earlier model and parameters"
        )


def _role(platform: Platform, config: ProjectConfig, role: str) -> ModelRole[Any]:
    if role.startswith("detector "):
        return platform.models.detectors(config.detection.detectors)[int(role.partition(" ")[2]) - 1]
    if role == "tracker":
        return platform.models.video_tracker(config.detection.tracker_model or "sam3")
    found: ModelRole[Any] = getattr(platform.models, role)
    return found


def lacking_files(
    platform: Platform, project: str, videos: Mapping[str, Mapping[str, Any]], left_out: Collection[str]
) -> Iterator[str]:
    """Yield a line for each problem with a video's files: frames, images or embeddings are missing or have changed.

    The images are read in full, unless the video's frames are missing or have changed.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        videos: the stored facts about each video with frames, by key.
        left_out: the video keys and frame ids that the release left out.
    """
    steps = Steps("rebuild: has examined", "videos", len(videos))
    encoder = _encoder_of(platform)
    for key, then in sorted(videos.items()):
        steps.advance()
        found = frames_identity(platform.layout, key)
        if found is None:
            remedy = remedy_for_image(project, key)
            yield f"the frames of {key} are missing; restore the frames from a backup, or {remedy}"
            continue
        if found.fingerprint != then["frames"]:
            yield (
                f"the frames of {key} were extracted again after the release was built, from another file or with "
                "different settings; restore the frames from a backup"
            )
            continue
        yield from _lacking_images(platform, project, key, left_out)
        if encoder is None or not then["is_embedded"]:
            continue
        name, fingerprint = encoder
        file = platform.layout.embedding_file(name, key)
        if read_vectors_fingerprint(file) != embeddings_fingerprint_of(found.fingerprint, fingerprint):
            yield (
                f"the embeddings of {key} from encoder {name} are missing or stale; run `data-miner run --config FILE` "
                "to recreate them"
            )


def _encoder_of(platform: Platform) -> tuple[str, str] | None:
    """Return the name and fingerprint of the filter encoder, or None if it is missing (see `lacking_models`)."""
    try:
        return platform.models.filter_encoder.name, platform.models.filter_encoder.fingerprint
    except (ModelError, ConfigError):
        return None


def _lacking_images(platform: Platform, project: str, key: str, left_out: Collection[str]) -> Iterator[str]:
    lost = []
    for index, image in read_frame_images(platform.layout, key).items():
        path = image.file.path
        is_expected = key not in left_out and make_frame_id(key, index) not in left_out
        if is_expected and not (path.is_file() and sha256_of_file(path) == image.sha256):
            lost.append(path.name)
    if lost:
        more = f" and {len(lost) - _MOST_IMAGES_NAMED} more" if len(lost) > _MOST_IMAGES_NAMED else ""
        names = ", ".join(lost[:_MOST_IMAGES_NAMED])
        images = counted(len(lost), f"image of {key} is", f"images of {key} are")
        remedy = remedy_for_image(project, key)
        yield f"{images} missing or changed ({names}{more}); restore the frames from a backup, or {remedy}"


@dataclass(frozen=True, slots=True)
class FollowedVideo:
    """A video whose objects were followed for a release."""

    key: str
    sha256: str | None  # of the video file, or None if it is not recorded
    file_name: str | None  # of the video file, or None if it is not recorded
    pts_seconds: Sequence[float] = ()
    """The times of the video's images in the release. Other frames may have been examined too."""


def lacking_windows(platform: Platform, config: ProjectConfig, videos: Iterable[FollowedVideo]) -> Iterator[str]:
    """Yield a line for each video whose file is missing and whose pictures around frames are missing or unusable.

    Folders of pictures are not examined, since no pictures around their frames are needed.

    Args:
        platform: the platform of one root.
        config: the project's settings at the time of the release.
        videos: the videos whose objects were followed.
    """
    layout, tracking = platform.layout, config.detection.tracking
    assert tracking is not None
    for video in sorted(videos, key=lambda video: video.key):
        if has_foreign_pictures(video.key):
            continue
        stored = read_stored_windows(layout, video.key)
        fingerprint = windows_fingerprint(platform.config.extraction, video.sha256)
        has_pictures = (
            stored is not None
            and stored.fingerprint == fingerprint
            and WantedTimes(stored.times_us, stored.steps_us).covers(wanted_times(video.pts_seconds, tracking))
        )
        has_source = video.file_name is not None and (layout.video_folder(video.key) / video.file_name).is_file()
        if not has_pictures and not has_source:
            yield line_of_windows(config.name, video.key)


def line_of_windows(project: str, video_key: str) -> str:
    """Return the line for a video whose file is missing and whose pictures around frames are missing or incomplete."""
    return (
        f"pictures around the frames of {video_key} are missing or incomplete, and its video file is missing; download "
        f"the video again with `data-miner backfill --asset videos --project {project} --force --keys-file FILE`, "
        "where FILE contains its key, or restore the video file from a backup"
    )


def lacking_releases(platform: Platform, project: str, version: str, recipe: Recipe) -> Iterator[str]:
    """Yield a line for each older release that is missing or has changed.

    The manifest of the release to rebuild lists the changes since the older releases, so it depends on them.
    """
    found = earlier_manifests(platform, project, version)
    for name, sha256 in sorted(recipe.earlier.items()):
        if name not in found:
            yield (
                f"release {name} is missing, but release {version} lists the changes since release {name}; restore "
                f"release {name} from a backup"
            )
        elif found[name] != sha256:
            yield (
                f"the release.json of release {name} has changed since release {version} was built; restore the file "
                "from a backup"
            )


def lacking_from_outside(platform: Platform, config: ProjectConfig, recipe: Recipe) -> Iterator[str]:
    """Yield a line for changed or missing exemplars, and another for changed or missing projects and releases.

    The projects and releases are those that deduplication compares the project with.
    """
    for what, look in (
        ("exemplars of prompts or classes", lambda: _same_exemplars(platform, config, recipe)),
        ("projects or releases that the project was compared with", lambda: _same_others(platform, config, recipe)),
    ):
        yield from _line_of(what, look)


def _line_of(what: str, look: Callable[[], bool]) -> Iterator[str]:
    try:
        if not look():
            yield f"{what} have changed since the release was built; restore the earlier ones"
    except (ConfigError, DamagedFileError) as error:
        yield str(error)


def _same_exemplars(platform: Platform, config: ProjectConfig, recipe: Recipe) -> bool:
    return exemplar_hashes(platform, config) == dict(recipe.exemplars)


def _same_others(platform: Platform, config: ProjectConfig, recipe: Recipe) -> bool:
    return against_fingerprint(platform, config) == recipe.against
