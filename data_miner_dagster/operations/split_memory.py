"""Read the splits and generations of a project's videos from the catalog and from the project's releases on disk.

A video's split is decided once, and stays the same even if every release that shows the video is removed. The same
is true of its generation, the number of the first release for which its frames were decided. Releases are always read
as well: a run may have been killed between writing a release and its rows in the catalog, and roots of early versions
have no rows about splits and generations.
"""

from collections.abc import Mapping
from typing import Any

from data_miner_dagster.catalog.database import Session
from data_miner_dagster.catalog.members import skipped_reuploads
from data_miner_dagster.catalog.splits import add_generations, add_splits, read_generations, read_splits
from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.manifest import is_release, read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.releasing import version_number
from data_miner_dagster.stages.splitting.groups import merge_splits

Manifests = Mapping[str, dict[str, Any]]
"""Manifests of releases by version, oldest first."""


def release_versions(platform: Platform, project: str) -> list[str]:
    """Return the versions of a project's complete releases on disk, oldest first."""
    folder = platform.layout.releases_folder(project)
    if not folder.is_dir():
        return []
    versions = [entry.name for entry in folder.iterdir() if version_number(entry.name) and is_release(entry)]
    return sorted(versions, key=version_number)


def read_manifests(platform: Platform, project: str, *, passes_over: bool = False) -> Manifests:
    """Return the manifests of a project's complete releases on disk, by version, oldest first.

    Reading manifests takes time, so callers read them once and pass them on. With `passes_over`, releases whose
    manifest cannot be read are left out.

    Raises:
        DataMinerError: the manifest of a release is damaged.
        OSError: the manifest of a release cannot be read.
    """
    manifests: dict[str, dict[str, Any]] = {}
    for version in release_versions(platform, project):
        try:
            manifest = read_manifest(platform.layout.release_folder(project, version))
        except (DataMinerError, OSError):
            if not passes_over:
                raise
            continue
        if manifest is not None:
            manifests[version] = manifest
    return manifests


def remembered_splits(
    platform: Platform, project: str, releasing: ReleasingConfig, manifests: Manifests
) -> dict[str, str]:
    """Return the remembered split of each video, by video key, for the shares and grouping in `releasing`.

    The result contains every video ever released with these shares and this grouping. It also contains rejected
    re-uploads, which have the split of their original. For a divided video, the value is the text of its cut
    (domain/splits.py). `manifests` contains the manifests of the project's releases (`read_manifests`).
    """
    text = _shares_text(releasing.ordered_splits, releasing.group_by)
    rows = read_splits(platform.database, project, text)
    return {**released_splits(manifests).get(text, {}), **rows}


def released_splits(manifests: Manifests) -> dict[str, dict[str, str]]:
    """Return the splits in releases, by combination of shares and grouping, and then by video key.

    Withdrawn releases on disk count too. If releases contradict each other, `merge_splits` decides. For a divided
    video, the value is the text of its cut (domain/splits.py).
    """
    by_shares: dict[str, list[dict[str, Any]]] = {}
    for manifest in manifests.values():
        splits = manifest["splits"]
        by_shares.setdefault(_shares_text(splits["shares"], splits.get("group_by")), []).append(splits)
    return {
        text: merge_splits([splits["by_video"] for splits in releases], list(releases[0]["shares"]))
        for text, releases in by_shares.items()
    }


def remember_splits(session: Session, project: str, released: Mapping[str, Mapping[str, str]]) -> None:
    """Store the splits from `released_splits` in the catalog. Existing rows stay unchanged.

    A re-upload that the project rejects gets the split of its original, in case the re-upload is used later.
    """
    originals = skipped_reuploads(session, project)
    for text, splits in sorted(released.items()):
        bound = {key: splits[original] for key, original in originals.items() if original in splits}
        add_splits(session, project, text, {**bound, **splits})


def remember_releases(platform: Platform, project: str, *, passes_over: bool = False) -> None:
    """Store the splits and generations from a project's releases on disk, so that they outlive the releases.

    With `passes_over`, releases whose manifest cannot be read are left out.

    Raises:
        DataMinerError: the manifest of a release is damaged.
        OSError: the manifest of a release cannot be read.
    """
    manifests = read_manifests(platform, project, passes_over=passes_over)
    splits, generations = released_splits(manifests), released_generations(manifests)
    with platform.database.transaction() as session:
        remember_splits(session, project, splits)
        add_generations(session, project, generations)


def _shares_text(shares: Mapping[str, float], group_by: str | None) -> str:
    text = ",".join(f"{name}={float(share)!r}" for name, share in shares.items())  # in the order of drawing splits
    return f"{text};group_by={group_by}" if group_by else text


def remembered_generations(platform: Platform, project: str) -> dict[str, int]:
    """Return the generation of every video whose frames were ever decided for a release, by video key.

    Raises:
        DataMinerError: the manifest of a release is damaged.
    """
    released = released_generations(read_manifests(platform, project))
    return {**released, **read_generations(platform.database, project)}


def released_generations(manifests: Manifests) -> dict[str, int]:
    """Return the number of each video's first release, by video key, even if the release has no image of the video."""
    generations: dict[str, int] = {}
    for version, manifest in manifests.items():
        for video_key in (*manifest["splits"]["by_video"], *manifest.get("videos_without_images", ())):
            generations.setdefault(video_key, version_number(version))
    return generations
