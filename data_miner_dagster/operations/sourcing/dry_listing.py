"""List the sources of a project file without storing anything, to show which videos the project would get."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.catalog.forgotten import without_forgotten
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import Rejection, VideoCandidate
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_folder import base_folder_of, limits_of_file
from data_miner_dagster.operations.sourcing.list_sources import by_rules, nothing_listed, site_workers
from data_miner_dagster.operations.sourcing.listings import Listing, ask_all
from data_miner_dagster.operations.sourcing.local_keys import LocalKeys
from data_miner_dagster.operations.sourcing.queries import LocalFiles, ProjectFolder, queries_of_project
from data_miner_dagster.operations.sourcing.rules import rules_of
from data_miner_dagster.stages.sourcing import apply_cap, first_of_each
from data_miner_dagster.storage.file_hashes import FileHashes


@dataclass(frozen=True, slots=True)
class DryListing:
    """The result of listing a project's sources without storing anything."""

    wanted: Sequence[VideoCandidate]  # the candidates that pass the rules, up to `sourcing.max_videos`
    num_listed: int  # candidates, including repeated ones
    num_repeated: int  # candidates that an earlier query or entry lists too
    num_forgotten: int  # candidates that were removed on request
    num_by_rule: Mapping[RejectionRule, int]
    listings: Sequence[Listing]
    num_requests: int
    rows: Mapping[str, VideoRow]  # the root's catalog rows for the wanted videos, by key

    @property
    def failed(self) -> Sequence[Listing]:
        """The listings that failed, entirely or in part."""
        return [listing for listing in self.listings if listing.error is not None]


def list_without_keeping(platform: Platform, config: ProjectConfig, config_file: Path) -> DryListing:
    """List the sources of a project like `list_sources`, but without storing anything or fetching thumbnails.

    The root's pauses between requests to a site and its breakers for sites apply here too.

    Args:
        platform: a platform with a catalog. If the catalog has a project of this name, its members count as known.
        config: the settings of the project.
        config_file: the file that `config` was read from.

    Raises:
        ConfigError: a blocklist cannot be read, or every query failed without finding a candidate.
    """
    known = find_members(platform.database, config.name) if find_project(platform.database, config.name) else []
    folder = ProjectFolder(base_folder_of(str(config_file)), limits_of_file(platform, config_file), platform.config)
    local = LocalFiles(FileHashes(platform.layout.file_hashes(config.name)), LocalKeys(platform))
    queries = list(queries_of_project(config, folder, {member.video_key for member in known}, local))
    meter = Meter(WorkStage.SOURCING, config.name, platform.run_id, of_process=True)
    with meter.working(), site_workers(platform) as client:
        listings = ask_all(platform, client, queries)
    if listings and all(listing.error is not None and not listing.candidates for listing in listings):
        raise ConfigError(config.shown.text(nothing_listed(config.name, listings)))
    candidates, num_repeated = first_of_each(item for listing in listings for item in listing.candidates)
    allowed = without_forgotten(platform.database, candidates)
    rules = rules_of(platform, config, str(config_file))
    rows = {row.key: row for row in find_videos(platform.database, [item.video_key for item in allowed])}
    decided = apply_cap(
        [by_rules(rules, item, rows.get(item.video_key)) for item in allowed], config.sourcing.max_videos
    )
    wanted = [candidate for candidate, rejection in decided if rejection is None]
    return DryListing(
        wanted=wanted,
        num_listed=len(candidates) + num_repeated,
        num_repeated=num_repeated,
        num_forgotten=len(candidates) - len(allowed),
        num_by_rule=_by_rule([rejection for _, rejection in decided if rejection is not None]),
        listings=listings,
        num_requests=meter.take().num_requests,
        rows={item.video_key: rows[item.video_key] for item in wanted if item.video_key in rows},
    )


def _by_rule(rejections: Sequence[Rejection]) -> dict[RejectionRule, int]:
    counts = Counter(rejection.rule for rejection in rejections)
    return {rule: counts[rule] for rule in RejectionRule if rule in counts}
