"""Load a project's rules from its configuration and blocklist files, and apply them with facts from the catalog."""

from dataclasses import dataclass, replace
from pathlib import Path

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.interpolation import ShownSettings
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.config.sourcing import RulesConfig
from data_miner_dagster.config.text_files import MAX_LIST_BYTES, read_text_file
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import VIDEO_FACTS, Rejection, VideoCandidate
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_folder import base_folder_of, limits_of_file
from data_miner_dagster.stages.sourcing import Blocklists, list_entries, rejection_of


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """The rules and blocklists of one project, ready to apply to candidates."""

    rules: RulesConfig
    blocklists: Blocklists
    shown: ShownSettings

    def rejection_of(self, candidate: VideoCandidate, *, is_complete: bool) -> Rejection | None:
        """Return the rejection by the first rule that a candidate violates, or None if it violates none.

        `is_complete` is True if the video's page has been read. In that case, the site cannot provide missing facts.
        """
        rejection = rejection_of(candidate, self.rules, self.blocklists, is_complete=is_complete)
        return replace(rejection, message=self.shown.text(rejection.message)) if rejection is not None else None


def load_rules(platform: Platform, project: str) -> ProjectRules:
    """Return the rules of a registered project.

    Raises:
        ConfigError: the project does not exist, its stored settings do not fit this version, or a blocklist file cannot
            be read or is not allowed. Without the blocklist, unwanted videos would become members.
    """
    row = find_project(platform.database, project)
    return rules_of(platform, platform.project_config(project), row.config_file if row is not None else None)


def rules_of(platform: Platform, config: ProjectConfig, config_file: str | None) -> ProjectRules:
    """Return the rules of a project that was read from a file and may not be in the catalog.

    `config_file` is the path of that file, or None if there is no file.

    Raises:
        ConfigError: a blocklist file cannot be read, or is outside the folders that the project file may access.
    """
    project, rules = config.name, config.sourcing.rules
    folder, limits = base_folder_of(config_file), limits_of_file(platform, config_file)

    def entries(file: str | None) -> list[str]:
        if file is None:
            return []
        path = folder / Path(file).expanduser()
        if problem := limits.problem_of_path(path, is_text=True):
            raise ConfigError(f"project {project!r}: blocklist {problem}")
        try:
            return list_entries(read_text_file(path, max_bytes=MAX_LIST_BYTES))
        except FileNotFoundError as error:
            raise ConfigError(f"project {project!r}: blocklist {path} does not exist; correct its path") from error
        except ConfigError as error:
            raise ConfigError(f"project {project!r}: blocklist {error}") from error

    return ProjectRules(
        rules,
        Blocklists.of(
            (*rules.blocked_hashtags, *entries(rules.blocked_hashtags_file)),
            (*rules.blocked_channels, *entries(rules.blocked_channels_file)),
        ),
        config.shown,
    )


def with_known(candidate: VideoCandidate, row: VideoRow | None) -> VideoCandidate:
    """Return a candidate with its missing facts filled in from its catalog row, if it has one."""
    if row is None:
        return candidate
    return replace(
        candidate,
        **{name: getattr(row, name) for name in VIDEO_FACTS if getattr(candidate, name) is None},
    )
