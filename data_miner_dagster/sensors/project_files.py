"""Register the project files in the watched folder.

A registered file is read again only if its size, modification time or inode, or its project's entry in the catalog, has
changed.
"""

import json
import os
from collections.abc import Collection, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from data_miner_dagster import __version__
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE, SESSION_VARIABLE
from data_miner_dagster.config.loading import resolve_project_files
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.operations.foreign.project_file_workers import ProjectFileWorkers
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone, attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.dagster_home import registered_files

_SUFFIXES: Final = (".yaml", ".yml")

_Stat = tuple[int, int, int]  # size, time of modification, inode


class WatchedFolder:
    """The project files in the watched folder of one root, and the files that this process has registered."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stats: dict[Path, _Stat] = {}
        self._known: frozenset[tuple[str, str | None]] = frozenset()  # projects in the catalog, with their file
        self._name_by_path: dict[Path, tuple[str, _Stat]] = {}  # project and stat of each file when it was registered
        self.refused: list[str] = []
        """One line per refused file."""

    def register(self) -> bool:
        """Register new and changed files, and return whether any file or project has changed since the last call.

        The first call returns False if another process of this `data-miner up` has already registered the same files.
        A refused file is checked again whenever another file changes, because the other file may have been the reason.
        """
        found = self._find()
        known = frozenset((row.name, row.config_file) for row in find_projects(self._platform.database))
        if (found, known) == (self._stats, self._known):
            return False
        if not self._stats and self._is_remembered(found, known):
            self._stats, self._known = found, known
            return False
        with ProjectFileWorkers() as workers:
            self._register(found, workers)
        self._stats = found
        self._known = frozenset((row.name, row.config_file) for row in find_projects(self._platform.database))
        attempt_extra("project_files", "refused files", self._note_refused)
        if not self.refused:
            self._remember()
        return True

    def _note_refused(self) -> None:
        """Store the list of refused files in the root, because the commands do not read the project files themselves.

        The list is deleted if no file is refused.
        """
        note = self._platform.layout.refused_files
        if self.refused:
            write_json(note, {"refused": self.refused})
        else:
            note.unlink(missing_ok=True)

    def _is_remembered(self, found: Mapping[Path, _Stat], known: Collection[tuple[str, str | None]]) -> bool:
        """Return whether another process of this `data-miner up` has already registered exactly these files."""
        place, state = self._memory(found, known)
        try:
            return place is not None and json.loads(place.read_text(encoding="utf-8")) == state
        except (OSError, ValueError):
            return False

    def _remember(self) -> None:
        place, state = self._memory(self._stats, self._known)
        if place is not None:
            attempt_extra("project_files", place.name, partial(write_json, place, state))

    def _memory(
        self, found: Mapping[Path, _Stat], known: Collection[tuple[str, str | None]]
    ) -> tuple[Path | None, dict[str, object]]:
        """Return the path and content of the file that records the registered files.

        The path is None if this process does not belong to a `data-miner up`.
        """
        session, home = os.environ.get(SESSION_VARIABLE), os.environ.get(DAGSTER_HOME_VARIABLE)
        content = {
            "session": session,
            "version": __version__,
            "settings": self._platform.config.model_dump(mode="json"),
            "files": {os.fsencode(path).hex(): stat for path, stat in found.items()},
            "projects": sorted(map(str, known)),
        }
        place = registered_files(Path(home)) if session and home else None
        return place, {"registered": fingerprint_of(content)}

    def _find(self) -> dict[Path, _Stat]:
        folder = resolve_project_files(self._platform.config, self._platform.layout.project_files)
        found = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
                        continue
                    try:
                        stat = entry.stat()
                    except OSError:  # it has just disappeared, or is a broken link
                        found[path] = (-1, -1, -1)
                    else:
                        found[path] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return found

    def _register(self, found: dict[Path, _Stat], workers: ProjectFileWorkers) -> None:
        owners = {row.config_file: row.name for row in find_projects(self._platform.database)}
        registered: dict[str, Path] = {}
        self.refused = []
        # If two files name the same project, the file that is already registered keeps it.
        for path in sorted(found, key=lambda path: (str(path) not in owners, path.name)):
            name, stat = self._name_by_path.pop(path, (None, None))
            if name is not None and stat == found[path] and owners.get(str(path)) == name and name not in registered:
                self._name_by_path[path] = name, found[path]
                registered[name] = path
                continue
            name = self._registered(path, registered, workers)
            if name is not None:
                registered[name] = path
                self._name_by_path[path] = name, found[path]

    def _registered(self, path: Path, registered: dict[str, Path], workers: ProjectFileWorkers) -> str | None:
        """Register one file and return its project's name.

        If the file is refused, add the reason to `refused` and return None.
        """
        shown = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        try:
            if shown != path.name:
                raise ConfigError("the file's name is not UTF-8; rename the file")
            register = partial(register_project_file, self._platform, path, taken=registered, parse=workers.parse)
            outcome = attempt_alone("project_files", shown, register)
        except DataMinerError as error:
            self.refused.append(f"{shown}: {error}")
            return None
        if isinstance(outcome, ItemFault):
            self.refused.append(f"{shown}: {outcome.line}")
            return None
        return outcome.name


def register_project_files(platform: Platform) -> list[str]:
    """Register the new and changed project files in the watched folder, and return one line per refused file."""
    folder = WatchedFolder(platform)
    folder.register()
    return folder.refused


def refused_files(platform: Platform) -> list[str]:
    """Return one line for each existing project file that was refused when the watched folder was last read.

    The stored lines are returned; the files are not read.
    """
    folder = resolve_project_files(platform.config, platform.layout.project_files)
    try:
        lines = json.loads(platform.layout.refused_files.read_text(encoding="utf-8"))["refused"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(line) for line in lines if (folder / str(line).partition(": ")[0]).exists()]


@lru_cache(maxsize=4)
def watched_folder(platform: Platform) -> WatchedFolder:
    """Return the `WatchedFolder` of a platform, which is cached so that callers in a process share it."""
    return WatchedFolder(platform)
