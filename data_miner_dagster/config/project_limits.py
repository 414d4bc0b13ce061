"""Restrict the variables, files and buckets that a project file in the watched folder may read.

People who can write to the watched folder are not necessarily those who started the platform. However it is loaded, a
file in that folder may read only the variables, folders and buckets that the platform's settings allow. Other files may
read anything.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from data_miner_dagster.config.interpolation import PLAIN_REFERENCE, REFERENCE, texts_of
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.object_urls import HUB_REMEDY, ObjectUrl, is_hub_address, is_object_address

_PLACEHOLDER: Final = re.compile(r"\{env:([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class ProjectLimits:
    """The variables, folders and buckets that one project file may read. A field that is None sets no limit."""

    variables: frozenset[str] | None = None
    media_folders: tuple[Path, ...] | None = None  # with videos and pictures
    text_folders: tuple[Path, ...] | None = None  # with lists, whose content appears in messages
    object_prefixes: tuple[str, ...] | None = None  # in buckets, which are read with the platform's credentials

    def check_references(self, content: object) -> None:
        """Refuse references to variables that the file may not read, and resolvers other than `oc.env`.

        Call this before resolving references. Nothing is refused if `variables` is None.

        Raises:
            ConfigError: a reference is not allowed. The message does not name the file.
        """
        if self.variables is None:
            return
        for text in texts_of(content):
            for name in REFERENCE.findall(text):
                if name not in self.variables:
                    raise ConfigError(_not_allowed(name))
            if "${" in PLAIN_REFERENCE.sub("", REFERENCE.sub("", text)):
                raise ConfigError(
                    f"{text[:60]!r} contains a forbidden reference; a file in the watched folder may use only "
                    "${section.key} and ${oc.env:NAME}"
                )

    def problem_of_address(self, address: str) -> str | None:
        """Return a message if an address names a variable or bucket that the file may not read, and None otherwise.

        An invalid bucket address is also refused, since no allowed prefix contains it.
        """
        if self.object_prefixes is not None and is_hub_address(address):
            return f"{address} {HUB_REMEDY}"
        if self.object_prefixes is not None and is_object_address(address) and not self._may_ask(address):
            return (
                f"a file in the watched folder may not read {address}; add it, or a prefix of it, to "
                "platform.objects.allowed_prefixes (only sources with `type: objects` read buckets)"
            )
        if self.variables is None:
            return None
        names = [name for name in _PLACEHOLDER.findall(address) if name not in self.variables]
        return _not_allowed(names[0]) if names else None

    def _may_ask(self, address: str) -> bool:
        try:
            url = ObjectUrl.parse(address)
        except ValueError:
            return False
        return any(url.is_within(ObjectUrl.parse(prefix)) for prefix in self.object_prefixes or ())

    def problem_of_source(self, source: BaseModel) -> str | None:
        """Return a message with the key of a source's first forbidden address, or None if all are allowed."""
        for key, value in source.model_dump(mode="json").items():
            for text in value if isinstance(value, list) else [value]:
                if problem := self.problem_of_address(str(text)):
                    return f"{key}: {problem}"
        return None

    def problem_of_path(self, path: Path, *, is_text: bool = False) -> str | None:
        """Return a message if the real path of a file is outside the allowed folders, and None otherwise.

        `is_text` states that the file is a list (for example, of addresses) rather than a video or picture.
        """
        folders = self.text_folders if is_text else self.media_folders
        if folders is None:
            return None
        real = path.resolve()
        if any(real.is_relative_to(folder.resolve()) for folder in folders):
            return None
        remedy = "add its folder to platform.storage.project_paths"
        if is_text:
            remedy = f"move it into the watched folder, or {remedy}"
        if self.media_folders is None:
            remedy += ", which must then also list every folder of videos and pictures"
        return f"{path} is outside the folders that a file in the watched folder may read; {remedy}"


def limits_of(platform: PlatformConfig, watched_folder: Path, file: Path | None) -> ProjectLimits:
    """Return the limits for a project file. Nothing is limited unless `file` is directly in the watched folder."""
    if file is None or file.absolute().parent.resolve() != watched_folder.absolute().resolve():
        return ProjectLimits()
    settings = platform.storage
    folders = (watched_folder, *(Path(path).expanduser() for path in settings.project_paths or ()))
    return ProjectLimits(
        variables=frozenset(settings.project_variables),
        media_folders=None if settings.project_paths is None else folders,
        text_folders=folders,
        object_prefixes=platform.objects.allowed_prefixes,
    )


def _not_allowed(name: str) -> str:
    return (
        f"a file in the watched folder may not read the environment variable {name}; add it to "
        "platform.storage.project_variables"
    )
