"""Decide whether to download a video, by the rules of the projects that want it.

A project whose rules cannot be loaded, for example because its blocklist file is missing, decides nothing. A video that
only such projects want is postponed. The videos of other projects do not wait.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from data_miner_dagster.catalog.members import projects_wanting
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import Rejection, VideoCandidate
from data_miner_dagster.operations.downloading.records import NotWantedError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import PostponedError
from data_miner_dagster.operations.sourcing.rules import ProjectRules, load_rules

logger = logging.getLogger(__name__)

_UNDECIDED_SECONDS: Final = 600.0
"""How long a video is postponed if no project that wants it has rules that can be loaded.

A person must first correct the files of these projects.
"""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The projects that want a video, by name: the rules of each, or the reason why they cannot be loaded."""

    rules: Mapping[str, ProjectRules]
    problems: Mapping[str, str]

    def rejections_of(self, candidate: VideoCandidate) -> dict[str, Rejection]:
        """Return the rejections of a video with complete facts, by project. A project without rules rejects nothing."""
        return {
            project: rejection
            for project, rules in self.rules.items()
            if (rejection := rules.rejection_of(candidate, is_complete=True)) is not None
        }

    def check_decided(self) -> None:
        """Raise if only projects whose rules cannot be loaded want the video.

        Raises:
            PostponedError: no project can decide about the video now.
        """
        if self.problems and not self.rules:
            raise self._postponed()

    def check_accepted(self, candidate: VideoCandidate) -> None:
        """Raise if no project accepts a video whose facts are complete. A video that no project wants is accepted.

        Raises:
            NotWantedError: every project rejects the video.
            PostponedError: every project with rules rejects it, and the rules of another project cannot be loaded.
        """
        rejections = self.rejections_of(candidate)
        if len(rejections) < len(self.rules):
            return
        if self.problems:
            raise self._postponed()
        if rejections:
            raise NotWantedError(candidate, rejections)

    def _postponed(self) -> PostponedError:
        until = utc_now() + timedelta(seconds=_UNDECIDED_SECONDS)
        return PostponedError(VideoErrorKind.TRANSIENT, until, "; ".join(self.problems.values()))


def wishes_by_video(platform: Platform, video_keys: Collection[str]) -> dict[str, Wishes]:
    """Return the projects that want each of the given videos. Log a warning for each whose rules cannot be loaded."""
    wanting = projects_wanting(platform.database, video_keys)
    rules: dict[str, ProjectRules] = {}
    problems: dict[str, str] = {}
    for project in sorted({project for names in wanting.values() for project in names}):
        try:
            rules[project] = load_rules(platform, project)
        except ConfigError as error:
            problems[project] = str(error)
            logger.warning("%s; until then, videos that only this project wants are not downloaded", error)
    return {
        key: Wishes(
            {project: rules[project] for project in names if project in rules},
            {project: problems[project] for project in names if project in problems},
        )
        for key, names in wanting.items()
    }
