"""Define the platform of one root: the settings, files, catalog and models that every operation receives."""

import copy
import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError

from data_miner_dagster.catalog.claims import Claim, check_claim, hold_claim
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.catalog.leases import RunLease
from data_miner_dagster.catalog.migrations import Migration, has_tables, initialize
from data_miner_dagster.catalog.pending import record_bases
from data_miner_dagster.catalog.projects import find_project, find_projects
from data_miner_dagster.catalog.renewal import note_progress
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.problems import describe_problems, stored_misfit
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig, references_of_snapshot
from data_miner_dagster.domain.errors import CatalogError, ConfigError, DamagedFileError, DataMinerError
from data_miner_dagster.domain.records import VideoOutcome
from data_miner_dagster.domain.secret_values import remember_reference
from data_miner_dagster.domain.unwritable import writing_to_root
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.catalog_place import catalog_url_in_force
from data_miner_dagster.operations.damage import remove_damaged_files
from data_miner_dagster.operations.devices import device_of_process
from data_miner_dagster.operations.own_students import student_entries
from data_miner_dagster.operations.tracing import item_span
from data_miner_dagster.operations.verdict_files import adopt_verdict_files
from data_miner_dagster.storage.atomic import publishing_as, write_json
from data_miner_dagster.storage.file_systems import check_place_of_sqlite
from data_miner_dagster.storage.layout import StorageLayout

CLAIM_WAIT_SECONDS: Final = 3600.0

ReportVideo = Callable[[VideoOutcome], None]
"""A callback for each finished video. It shows progress, and makes finished work count even if the run dies later."""

logger = logging.getLogger(__name__)


REMEMBERED_SECTIONS: Final = ("cluster", "downloading", "embedding", "extraction", "models", "room")
"""Sections of the platform's configuration that are stored in the root, so that later commands need not repeat them."""


def remembered_settings(layout: StorageLayout) -> dict[str, dict[str, object]]:
    """Return the configuration sections stored by the root's last run, by name, or an empty dict before the first run.

    Raises:
        ConfigError: the file that contains the sections cannot be read.
    """
    path = layout.platform_file
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("not a mapping of sections")
        return {name: dict(content[name]) for name in REMEMBERED_SECTIONS if name in content}
    except FileNotFoundError:
        return {}
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        why = (
            error.strerror if isinstance(error, OSError) else "not UTF-8" if isinstance(error, UnicodeError) else error
        )
        raise ConfigError(
            f"{path} cannot be read ({str(why).splitlines()[0]}); restore the file from a backup, or remove it if the "
            "settings of the platform have not changed since the last run"
        ) from error


class Platform:
    """Everything an operation needs for one root. The constructor neither reads nor creates anything.

    Args:
        config: the settings.
        root: the folder that contains everything.
        catalog_url: a database to use instead of the one in `config` or SQLite under the root.
        models: models to use instead of those in `config`.

    Raises:
        ConfigError: the root's path is not UTF-8.
    """

    def __init__(
        self,
        config: PlatformConfig,
        root: Path,
        *,
        catalog_url: str | None = None,
        models: ModelProvider | None = None,
    ) -> None:
        self.config = config
        shown = os.fsencode(root.absolute()).decode("utf-8", "backslashreplace")
        if shown != str(root.absolute()):
            raise ConfigError(f"the path of the root, {shown}, is not UTF-8 and cannot be stored; use another path")
        self.layout = StorageLayout(root.absolute())
        self.models = models or ModelProvider(config.models, self._take_device, partial(student_entries, self.layout))
        """The models, each loaded on first use, once per process."""
        self._given_catalog_url = catalog_url or config.storage.catalog_url
        self._lease: RunLease | None = None
        self.may_begin_catalog = False  # True to begin a catalog beside files of an earlier one, as the user requested
        self.is_offline = False  # True to download no video and ask no verifier: all results follow from stored files
        self.migration: Migration | None = None  # the migration of the catalog that this process made
        self._removed_files: list[Path] = []  # unreadable files that this process removed

    def _take_device(self) -> str:
        return device_of_process(self.database, self.config.models.devices)

    def within(self, lease: RunLease) -> Self:
        """Return a platform whose claims belong to the run of `lease`. Everything else is shared with this platform."""
        _ = self.database  # create it once, for both
        ours = copy.copy(self)
        ours._lease = lease  # noqa: SLF001 - an attribute of this class
        return ours

    @property
    def run_id(self) -> str | None:
        """The id of the Dagster run that uses this platform, or None outside a run."""
        return self._lease.run_id if self._lease is not None else None

    def tell_steps(self, num_done: int, num_total: int, remaining_seconds: float | None) -> None:
        """Set the progress and remaining time of the run, if there is one. Renewing its lease stores them."""
        if self._lease is not None:
            self._lease.tell(num_done, num_total, remaining_seconds)

    @property
    def num_removed_files(self) -> int:
        """The number of unreadable files that this process has removed."""
        return len(self._removed_files)

    @property
    def root(self) -> Path:
        """The absolute path of the root."""
        return self.layout.root

    @property
    def has_catalog(self) -> bool:
        """True if a catalog URL is set, or the SQLite file under the root exists. The catalog is not opened."""
        return self.catalog_url is not None or self.layout.catalog_file.exists()

    @cached_property
    def catalog_url(self) -> str | None:
        """The URL of the catalog, or None for SQLite under the root.

        Raises:
            CatalogError: a move to another database was interrupted.
            ConfigError: the catalog was moved, and the settings lack its password or name an SQLite file.
        """
        return catalog_url_in_force(self.layout, self._given_catalog_url)

    @cached_property
    def database(self) -> Database:
        """The catalog. On first use, its tables are created or migrated, and verdicts are imported from earlier files.

        Raises:
            CatalogError: the catalog is damaged, is being restored or moved, or is missing or empty although there are
                files.
            ConfigError: the root cannot be created, the settings do not fit a catalog that was moved, or the catalog
                would be an SQLite file on a file system that several hosts share.
        """
        file = self.layout.catalog_file
        database = Database(self.catalog_url or sqlite_url(file))
        if database.file is not None:
            check_place_of_sqlite(database.file)
        if self.layout.restoring.exists():
            raise CatalogError(
                f"a restore of a backup into {self.root} is running or was interrupted; wait for it, or run "
                "the same `data-miner restore --from PLACE` again"
            )
        rooms = [] if self.may_begin_catalog else self.layout.filled_rooms()
        is_missing = self.catalog_url is None and not file.exists()
        if rooms and (is_missing or not has_tables(database)):
            what = "missing" if is_missing else "empty"
            raise CatalogError(
                f"the catalog {database.engine.url.render_as_string(hide_password=True)} is {what}, but "
                f"{self.root} has files in {', '.join(rooms)}; restore the catalog from a backup, with its -wal file "
                "if there is one, or begin a new one with `data-miner init-db` and run the project files again"
            )
        if self.catalog_url is None:
            with writing_to_root(self.layout.root):
                self.layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.migration = initialize(database)
        if self.migration is not None:
            logger.warning("%s", self.migration)
        adopt_verdict_files(database, self.layout)
        return database

    def project_config(self, project: str) -> ProjectConfig:
        """Return a project's configuration from the catalog.

        Raises:
            ConfigError: the project does not exist, or its stored settings do not fit this version.
        """
        row = find_project(self.database, project)
        if row is None:
            known = ", ".join(row.name for row in find_projects(self.database))
            raise ConfigError(
                f"project {project!r} does not exist; {f'use one of {known}, or ' if known else ''}"
                "add it with `data-miner populate --config FILE`"
            )
        try:
            config = ProjectConfig.from_snapshot(row.config)
        except ValueError as error:
            why = describe_problems(error, ProjectConfig, None) if isinstance(error, ValidationError) else str(error)
            raise ConfigError(
                f"the stored settings of project {project!r} do not fit this version: {why}; correct "
                f"{row.config_file or 'its file'}, and register it again with `data-miner populate --config FILE`"
            ) from None
        for value, reference in config.interpolations.values:
            remember_reference(value, reference)  # this process must never log the value
        return config

    def remember_references(self) -> None:
        """Keep values that project files read from the environment out of all messages of this process."""
        for row in find_projects(self.database):
            for value, reference in references_of_snapshot(row.config):
                remember_reference(value, reference)

    @contextmanager
    def mending(self, video_key: str | None = None) -> Iterator[None]:
        """If the block raises `DamagedFileError`, remove damaged derived files, and raise the exception again.

        The files of the video `video_key` are checked, or all files under the root if it is None. The removed files
        count as missing, so the next run that needs them recreates them.
        """
        try:
            yield
        except DamagedFileError:
            removed = remove_damaged_files(self.layout, video_key=video_key)
            self._removed_files += removed
            # The caller that finds the file missing also updates the catalog.
            with suppress(DATABASE_ERROR, DataMinerError):
                self._ask_again_for(removed)
            raise

    def _ask_again_for(self, removed: Collection[Path]) -> None:
        """Record in the catalog that the frames and embeddings among the removed files no longer exist."""
        frames = {path.parent.name for path in removed if path.parent.parent == self.layout.frames}
        embeddings = self.layout.embeddings / self.models.filter_encoder.name
        embedded = {path.stem for path in removed if path.parent == embeddings}
        with self.database.transaction() as session:
            record_bases(session, WorkStage.EXTRACTION, dict.fromkeys(frames))
            record_bases(session, WorkStage.EMBEDDING, dict.fromkeys(embedded))

    def remove_unreadable(self, path: Path) -> None:
        """Remove an unreadable derived file of a video, so that it is recreated. The caller holds the video's claim."""
        path.unlink(missing_ok=True)
        self._removed_files.append(path)

    @contextmanager
    def hold_video(
        self,
        video_key: str,
        *,
        wait_seconds: float = CLAIM_WAIT_SECONDS,
        stopping: threading.Event | None = None,
    ) -> Iterator[Claim]:
        """Hold a video's claim, which all stages share, and remove derived files that the block finds damaged.

        Raises:
            ClaimHeldError: another worker still holds the claim after `wait_seconds`, or once `stopping` is set.
            RunEndedError: the run was ended from outside.
        """
        with (
            self._hold(f"video/{video_key}", wait_seconds, stopping) as claim,
            item_span("video", video_key),
            self.mending(video_key),
        ):
            yield claim
        if self._lease is not None:
            self._lease.advance()

    @contextmanager
    def hold_project(self, project: str, *, wait_seconds: float = CLAIM_WAIT_SECONDS) -> Iterator[Claim]:
        """Hold a project's claim, which all stages share and which covers the project's derived tables.

        Raises:
            ClaimHeldError: another worker still holds the claim after `wait_seconds`.
            RunEndedError: the run was ended from outside.
        """
        with self._hold(f"project/{project}", wait_seconds) as claim, item_span("project", project), self.mending():
            yield claim

    def hold_shard(self, resource: str) -> AbstractContextManager[Claim]:
        """Hold the claim `resource` (`OpenShard.resource` or `student/<project>`), without waiting for it.

        Raises:
            ClaimHeldError: another worker holds the claim.
            RunEndedError: the run was ended from outside.
        """
        return self._hold(resource, 0)

    @contextmanager
    def _hold(self, resource: str, wait_seconds: float, stopping: threading.Event | None = None) -> Iterator[Claim]:
        self.check_run()
        with hold_claim(
            self.database,
            resource,
            wait_seconds=wait_seconds,
            run_id=self.run_id,
            on_wait=logger.info,
            stopping=stopping,
        ) as claim:
            self.check_run()
            with self.publishing_under(claim):
                yield claim

    def publishing_under(self, claim: Claim) -> AbstractContextManager[None]:
        """Return a context in which the files that this thread writes are published only while the claim is held."""
        return publishing_as(claim.token, partial(self.check_held, claim))

    @contextmanager
    def working_under(self, claim: Claim) -> Iterator[None]:
        """Check that the claim is still held when the block ends, even if it raised. Write rows only after the block.

        Raises:
            ClaimLostError: another worker has taken the claim over, so the block's result or exception does not count.
            RunEndedError: the run was ended from outside.
        """
        try:
            yield
        except Exception:
            self.check_held(claim)
            raise
        self.check_held(claim)

    @property
    def run_idle_limit(self) -> timedelta:
        """The time without progress after which a run counts as hanging. It is longer than any single item may take."""
        config = self.config
        longest = max(CLAIM_WAIT_SECONDS, config.downloading.max_wall_seconds, config.extraction.limits.max_seconds)
        return timedelta(seconds=max(config.runs.max_idle_seconds, 1.5 * longest))

    def check_run(self) -> None:
        """Check, before the next item, that the run may continue.

        Raises:
            RunEndedError: the run was ended from outside.
        """
        note_progress()
        if self._lease is not None:
            self._lease.check()

    def check_held(self, claim: Claim) -> None:
        """Check, before publishing under a claim, that this process still owns the claim and the run.

        Raises:
            ClaimLostError: another worker has taken the claim over.
            RunEndedError: the run was ended from outside.
        """
        self.check_run()
        check_claim(self.database, claim)

    def check_sampling(self) -> None:
        """Compare the sampling settings with those stored in the root, then store `REMEMBERED_SECTIONS` in the root.

        Raises:
            ConfigError: the settings differ, the stored ones cannot be read or used, or the root cannot be written to.
        """
        remembered = self.compare_sampling()
        in_force = self.config.model_dump(mode="json", include=set(REMEMBERED_SECTIONS))
        if remembered != in_force:
            with writing_to_root(self.root):
                write_json(self.layout.platform_file, in_force)

    def compare_sampling(self) -> Mapping[str, Any]:
        """Compare the sampling settings with the settings stored in the root. Return the stored settings.

        Raises:
            ConfigError: the settings differ, or the stored settings cannot be read or do not fit this version.
        """
        remembered = remembered_settings(self.layout)
        wanted = self.config.extraction.sampling_settings()
        try:
            made_with = ExtractionConfig.model_validate(remembered.get("extraction", wanted)).sampling_settings()
        except ValidationError as error:  # the settings in use may be those of a file, so nothing has read these yet
            raise ConfigError(
                stored_misfit(self.layout.platform_file, error, ExtractionConfig, "extraction.")
            ) from None
        differing = [
            f"{name} is {wanted.get(name)!r}, but was {made_with.get(name)!r}"
            for name in sorted(wanted.keys() | made_with.keys())
            if wanted.get(name) != made_with.get(name)
        ]
        if differing:
            raise ConfigError(
                f"platform.extraction differs from the settings that {self.root} was sampled with "
                f"({'; '.join(differing)}); frames are shared by all projects of a root, so use those settings, or "
                "use another --root"
            )
        return remembered
