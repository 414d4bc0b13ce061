"""What a project file may reach for: any variable and file if its user names it, few if it was dropped somewhere.

Who may write into the watched folder need not be who started the platform. A file that is there, whichever way it is
loaded, reads only the variables and folders that the platform's settings allow.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from data_miner_dagster.config.interpolation import PLAIN_REFERENCE, REFERENCE, texts_of
from data_miner_dagster.config.settings import StorageConfig
from data_miner_dagster.domain.errors import ConfigError

_PLACEHOLDER: Final = re.compile(r"\{env:([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class ProjectLimits:
    """What one project file may reach for; None: anything."""

    variables: frozenset[str] | None = None
    media_folders: tuple[Path, ...] | None = None  # of videos and pictures
    text_folders: tuple[Path, ...] | None = None  # of lists, whose words are repeated in messages

    def check_references(self, content: object) -> None:
        """Refuse variables that a file may not read, in `${oc.env:NAME}`. Call it before anything is resolved.

        Raises:
            ConfigError: without the file's name.
        """
        if self.variables is None:
            return
        for text in texts_of(content):
            for name in REFERENCE.findall(text):
                if name not in self.variables:
                    raise ConfigError(_not_allowed(name))
            if "${" in PLAIN_REFERENCE.sub("", REFERENCE.sub("", text)):
                raise ConfigError(
                    f"{text[:60]!r}: a file of the watched folder may hold ${{section.key}} and ${{oc.env:NAME}} alone"
                )

    def problem_of_address(self, address: str) -> str | None:
        """Return why an address may not be expanded: it names a variable that the file may not read."""
        if self.variables is None:
            return None
        names = [name for name in _PLACEHOLDER.findall(address) if name not in self.variables]
        return _not_allowed(names[0]) if names else None

    def problem_of_source(self, source: BaseModel) -> str | None:
        """Return why a source may not be asked, with the key that is wrong."""
        for key, value in source.model_dump(mode="json").items():
            for text in value if isinstance(value, list) else [value]:
                if problem := self.problem_of_address(str(text)):
                    return f"{key}: {problem}"
        return None

    def problem_of_path(self, path: Path, *, is_text: bool = False) -> str | None:
        """Return why a file may not be read: it lies outside of the folders allowed, wherever links lead to."""
        folders = self.text_folders if is_text else self.media_folders
        if folders is None:
            return None
        real = path.resolve()
        if any(real.is_relative_to(folder.resolve()) for folder in folders):
            return None
        return (
            f"{path} lies outside of the folders that a file of the watched folder may read; name its folder in "
            "platform.storage.project_paths"
        )


def limits_of(settings: StorageConfig, watched_folder: Path, file: Path | None) -> ProjectLimits:
    """Return what a project file may reach for: anything, unless it lies in the watched folder."""
    if file is None or file.absolute().parent.resolve() != watched_folder.absolute().resolve():
        return ProjectLimits()
    folders = (watched_folder, *(Path(path).expanduser() for path in settings.project_paths or ()))
    return ProjectLimits(
        variables=frozenset(settings.project_variables),
        media_folders=None if settings.project_paths is None else folders,
        text_folders=folders,
    )


def _not_allowed(name: str) -> str:
    return (
        f"a file of the watched folder may not read the environment variable {name}; name it in "
        "platform.storage.project_variables"
    )
