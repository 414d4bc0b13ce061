"""Resolve a project file's entries, which may contain `~` and wildcards, to files and folders.

Does not belong here: recognizing videos and pictures (local_files.py).
"""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_miner_dagster.domain.errors import SourceError


def located(entry: str, base_folder: Path) -> Path:
    """Return the path of an entry, expanding `~` and resolving relative paths against `base_folder`.

    An existing path in `base_folder` that begins with a literal `~` takes precedence over a home folder.

    Raises:
        SourceError: the entry begins with `~NAME`, but neither such a user nor such a file exists.
    """
    if not entry.startswith("~") or os.path.lexists(base_folder / entry):
        return base_folder / entry
    try:
        return Path(entry).expanduser()
    except RuntimeError:
        name = entry.partition("/")[0]
        raise SourceError(
            f"{entry}: there is neither a user {name[1:]!r} nor a file {name!r}; give a full path"
        ) from None


def is_glob(entry: str) -> bool:
    """Return whether an entry contains wildcard characters."""
    return glob.has_magic(entry)


def matches_of(entry: str, base_folder: Path) -> list[Path]:
    """Return the absolute paths that a glob matches, sorted. Hidden files match only explicit patterns.

    `**` descends into every folder, including symlinked ones, and visits each once. Wildcard characters in
    `base_folder` and in the expansion of `~` are literal.

    Raises:
        OSError: a folder below which `**` searches cannot be read.
        SourceError: the glob begins with `~NAME`, but neither such a user nor such a file exists.
    """
    start, _, rest = entry.partition("/") if entry.startswith("~") else ("", "", entry)
    root = located(start, base_folder) if start else base_folder
    if rest.startswith("/"):
        root = Path("/")
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    plain = parts[: parts.index("**")] if "**" in parts else parts
    found = [root]
    if plain:
        pattern = os.path.join(glob.escape(os.fspath(root)), *plain)  # noqa: PTH118  # a pattern, not a path
        found = [Path(match) for match in glob.glob(pattern)]  # noqa: PTH207  # takes absolute patterns
    if len(plain) == len(parts):
        return sorted(found)
    wanted = parts[len(plain) :]
    return sorted(
        {
            path
            for folder in found
            if folder.is_dir()
            for below, files in folders_below(folder)
            for path in (below, *files)
            if _is_match(path.relative_to(folder).parts, wanted)
        }
    )


def _is_match(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether the parts of a path match the parts of a glob. `**` matches any number of parts."""
    reached = {0}  # possible numbers of matched `wanted` parts; a set, since `**` may match more or fewer parts
    for part in ("", *parts):
        step = set(reached) if part == "" else set[int]()
        for position in reached if part else ():
            if position < len(wanted) and wanted[position] == "**":
                step.add(position)
            elif position < len(wanted) and _fits(part, wanted[position]):
                step.add(position + 1)
        pending = list(step)
        while pending:  # `**` may also match nothing
            position = pending.pop()
            if position < len(wanted) and wanted[position] == "**" and position + 1 not in step:
                step.add(position + 1)
                pending.append(position + 1)
        reached = step
    return len(wanted) in reached


def _fits(name: str, wanted: str) -> bool:
    return (not name.startswith(".") or wanted.startswith(".")) and fnmatch.fnmatchcase(name, wanted)


def folders_below(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield (folder, its non-folder entries sorted by name) for a folder and each visible folder below it, once each.

    Symlinked folders are searched last, so that a folder that is also reachable without a link is yielded with its
    own path.

    Raises:
        OSError: the folder itself cannot be read. Unreadable subfolders are left out.
    """
    seen: set[tuple[int, int]] = set()
    pending, linked = [folder], list[Path]()
    is_first = True
    while pending or linked:
        current = pending.pop() if pending else linked.pop(0)
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(current.iterdir())
        except OSError:
            if is_first:
                raise
            continue
        is_first = False
        files, folders = list[Path](), list[Path]()
        for path in entries:
            if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, False for what cannot be examined
                files.append(path)
            elif not path.name.startswith("."):
                (linked if path.is_symlink() else folders).append(path)
        pending.extend(reversed(folders))
        yield current, files
