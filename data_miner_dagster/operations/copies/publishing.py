"""Store releases outside the root, as exports or as publications recorded in the catalog, and withdraw publications."""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.outside_copies import find_outside_copies, record_publication, remove_publication
from data_miner_dagster.domain.copies import CopyKind
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.object_urls import HUB_PROTOCOL, ObjectUrl
from data_miner_dagster.export.card import CARD_FILE
from data_miner_dagster.export.datasheet import DATASHEET_FILE
from data_miner_dagster.export.formats import EXPORT_NAMES, WHOLE
from data_miner_dagster.export.huggingface import is_shard
from data_miner_dagster.export.manifest import MANIFEST_FILE
from data_miner_dagster.objects.access import Access
from data_miner_dagster.objects.errors import translated
from data_miner_dagster.operations.copies.sending import SentFiles, remove_files, send_files
from data_miner_dagster.operations.item_faults import fault_of, log_fault
from data_miner_dagster.operations.object_stores import access_of, bucket_url, open_bucket, shown_address
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release, names_in_release, whole_release
from data_miner_dagster.operations.releasing.standing import existing_version
from data_miner_dagster.operations.releasing.unfinished_exports import export_work_folder

_HUB_FORMAT: Final = "huggingface"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SentRelease:
    """A release, or an export of it in one format, at an address."""

    version: str
    address: str
    files: SentFiles


def export_to_bucket(
    platform: Platform, project: str, *, format: str, to: str, version: str | None = None
) -> SentRelease:
    """Store a release, or an export of it in one format, at an empty address in a bucket. Images are included.

    If `version` is None, the current release is stored (see `existing_version`). If the process is killed, the same
    call can continue later: an export is written again with the same bytes, and files that the bucket already has are
    not sent again.

    Raises:
        ClaimHeldError: `format` is not `all` (the release as it is), and another export of the project to a bucket or
            hub is running.
        ConfigError: the project, release or format does not exist, `to` is not the address of a bucket, or other files
            are stored there.
        DataMinerError: the release was withdrawn or is damaged.
        ObjectError, ObjectTransientError: the bucket refuses a request, or does not answer.
    """
    if format not in EXPORT_NAMES:
        raise ConfigError(f"format {format!r} is not supported; use one of {', '.join(EXPORT_NAMES)}")
    url = bucket_url(to)
    version = existing_version(platform, project, version)
    with _files_of(platform, project, version, format) as (files, last):
        sent = send_files(
            open_bucket(platform.config.objects, url),
            files,
            last=last,
            num_at_once=platform.config.objects.concurrent_transfers,
        )
    return SentRelease(version, url.text, sent)


def publish_release(
    platform: Platform, project: str, to: str, *, version: str | None = None, dry_run: bool = False
) -> SentRelease:
    """Publish a whole release at `<to>/<project>/<version>` in a bucket, or an export of it as a dataset on the hub.

    On the hub, `to` is the dataset's address, and the export is in the format `huggingface`. If `version` is None, the
    current release is published (see `existing_version`). The catalog records the address. In a dry run, nothing is
    sent or recorded.

    Raises:
        ClaimHeldError: `to` is on the hub, and another export of the project to a bucket or hub is running.
        ConfigError: the project or release does not exist, the address belongs to neither a bucket nor a dataset, or
            other files are stored there.
        DataMinerError: the release was withdrawn or is damaged.
        ObjectError, ObjectTransientError: the bucket or hub refuses a request, or does not answer.
    """
    version = existing_version(platform, project, version)
    if to.strip().lower().startswith(f"{HUB_PROTOCOL}:"):
        return _publish_on_hub(platform, project, version, dataset_url(to), dry_run=dry_run)
    url = bucket_url(to).child(f"{project}/{version}")
    with _files_of(platform, project, version, WHOLE) as (files, last):
        if not dry_run:
            record_publication(platform.database, url.text, project, version)
        sent = send_files(
            open_bucket(platform.config.objects, url),
            files,
            last=last,
            num_at_once=platform.config.objects.concurrent_transfers,
            dry_run=dry_run,
        )
    return SentRelease(version, url.text, sent)


def withdraw_publication(platform: Platform, project: str, to: str, version: str) -> int:
    """Remove a published release from its bucket, and its address from the catalog. Return the number of files removed.

    An interrupted call can be repeated. Publications on the hub must be removed by hand, because earlier commits would
    still contain the files.

    Raises:
        ConfigError: the catalog does not record this publication, or `to` is on the hub or is not a bucket's address.
        ObjectError, ObjectTransientError: a file still exists, or the bucket refuses a request or does not answer.
    """
    if to.strip().lower().startswith(f"{HUB_PROTOCOL}:"):
        raise ConfigError(
            f"{to} is a dataset on the hub, which must be withdrawn by hand; delete the dataset, or its files and "
            "their history, in its settings on the hub"
        )
    url = bucket_url(to).child(f"{project}/{version}")
    if url.text not in {row.url for row in find_outside_copies(platform.database) if row.kind is CopyKind.PUBLICATION}:
        raise ConfigError(
            f"this root has not published {project} {version} to {to}; give the address that was passed to "
            "`data-miner publish`"
        )
    num_files = remove_files(open_bucket(platform.config.objects, url), first=MANIFEST_FILE)
    remove_publication(platform.database, url.text)
    return num_files


def withdraw_publications(platform: Platform, releases: Collection[tuple[str, str]]) -> Iterator[tuple[str, int | str]]:
    """Remove releases, given as pairs of project and version, from every bucket where this root has published them.

    Yield the address of each publication with the number of files removed, or with a one-line error message that
    contains no secrets. After an error, even an unexpected one from a bucket's client, the other publications are still
    removed.
    """
    for copy in find_outside_copies(platform.database):
        project, version = str(copy.project_name), str(copy.version)
        if copy.kind is not CopyKind.PUBLICATION or (project, version) not in releases:
            continue
        place = copy.url.removesuffix(f"/{project}/{version}")
        outcome: int | str
        try:
            outcome = withdraw_publication(platform, project, place, version)
        except DataMinerError as error:
            outcome = fault_of(error).line
        except Exception as error:  # noqa: BLE001 - it is logged, and reported as the outcome of this publication
            outcome = log_fault("withdraw", copy.url, error).line
        yield copy.url, outcome


@contextmanager
def _files_of(platform: Platform, project: str, version: str, format: str) -> Iterator[tuple[Mapping[str, Path], str]]:
    """Yield a mapping from names to the files of a release or export, and the name of the file to send last."""
    if format == WHOLE:
        release = whole_release(platform, project, version)
        yield {name: release / name for name in names_in_release(release)}, MANIFEST_FILE
        return
    with export_work_folder(platform, project) as folder:
        outcome = export_release(platform, project, format=format, to=folder, version=version)
        for image, line in outcome.left_out.items():
            logger.warning("%s is left out of the export: %s", image, line)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        yield {path.relative_to(folder).as_posix(): path for path in paths}, DATASHEET_FILE


# --- the Hugging Face hub ---


def dataset_url(text: str) -> ObjectUrl:
    """Return the address of a dataset, `hf://datasets/<owner>/<name>`.

    Raises:
        ConfigError: the text is not the address of a dataset.
    """
    form = "write hf://datasets/<owner>/<name>"
    try:
        url = ObjectUrl.parse(text)
    except ValueError:
        raise ConfigError(f"{shown_address(text)} is not the address of a dataset; {form}") from None
    if url.bucket != "datasets" or url.path.count("/") != 1:
        raise ConfigError(f"{url} is not the address of a dataset; {form}")
    return url


def _publish_on_hub(platform: Platform, project: str, version: str, url: ObjectUrl, *, dry_run: bool) -> SentRelease:
    """Upload an export to the hub in one commit, tagged with the version. In a dry run, only count its files."""
    with _files_of(platform, project, version, _HUB_FORMAT) as (files, _):
        assert CARD_FILE in files
        sent = SentFiles(len(files), sum(path.stat().st_size for path in files.values()), 0)
        if not dry_run:
            record_publication(platform.database, url.text, project, version)
            try:
                _commit(access_of(platform.config.objects, url), url.path, files, project=project, version=version)
            except Exception as error:
                meant = translated(error, url.text)
                if meant is None:
                    raise
                raise meant from error
    return SentRelease(version, url.text, sent)


def _commit(access: Access, dataset: str, files: Mapping[str, Path], *, project: str, version: str) -> None:
    """Commit an export, and tag the commit. Shards of an earlier release that the export lacks are deleted.

    The dataset's card includes every shard of a split, so leftover shards would mix the releases.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = HfApi(endpoint=access.endpoint, token=access.token)
    hub.create_repo(dataset, repo_type="dataset", private=True, exist_ok=True)
    there = hub.list_repo_files(dataset, repo_type="dataset")
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
        *(CommitOperationDelete(name) for name in there if is_shard(name) and name not in files),
    ]
    commit = hub.create_commit(dataset, operations, repo_type="dataset", commit_message=f"{project} {version}")
    hub.create_tag(dataset, tag=version, revision=commit.oid, repo_type="dataset", exist_ok=True)
