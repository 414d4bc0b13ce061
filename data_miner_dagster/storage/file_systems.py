"""Determine the file system of a path, and whether it is suitable for an SQLite database."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError

_OF_SEVERAL_HOSTS: Final = frozenset({"cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})
"""File systems served by another host, where several hosts may open the same file. SQLite's write-ahead log needs
memory that all users of the file share, which exists only within one host, and locks over sshfs have no effect. The set
does not include virtiofs, 9p and overlay, since a machine uses them to share its own files with guests and containers.

Source: https://sqlite.org/wal.html, "WAL does not work over a network filesystem"; https://sqlite.org/useovernet.html
"""
_MOUNTS: Final = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    mount_point: Path
    kind: str  # such as "ext4" or "nfs4"
    source: str  # such as a device or "host:/path"


def _mounts(mountinfo: str) -> Iterator[Mount]:
    """Yield the mounts that the content of /proc/self/mountinfo lists, in the order in which they were mounted.

    Source: proc(5): mount point in field 5 with octal escapes; kind and source follow a lone hyphen.
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, described = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(described) > 1:
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            yield Mount(Path(point), described[0], described[1])


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """Return the mount that contains an absolute path without symbolic links, or None if no mount does.

    This is the innermost mount, and the latest one if several have the same mount point.
    """
    around = [mount for mount in _mounts(mountinfo) if path.is_relative_to(mount.mount_point)]
    return max(enumerate(around), key=lambda one: (len(one[1].mount_point.parts), one[0]))[1] if around else None


def kind_of_file_system(path: Path) -> str | None:
    """Return the kind of file system that a path is or will be on, such as `ext4`, or None if it is unknown."""
    if not _MOUNTS.exists():
        return None
    mount = mount_of(path.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="replace"))
    return None if mount is None else mount.kind


def check_place_of_sqlite(file: Path, mountinfo: str | None = None) -> None:
    """Check that a file is on a file system that is suitable for an SQLite catalog.

    Args:
        file: the file, which need not exist yet.
        mountinfo: the content of /proc/self/mountinfo, or None to read that file. A system without that file passes the
            check.

    Raises:
        ConfigError: the file is on a file system that several hosts may share.
    """
    if mountinfo is None:
        if not _MOUNTS.exists():
            return
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="replace")
    mount = mount_of(file.resolve(), mountinfo)
    if mount is not None and mount.kind in _OF_SEVERAL_HOSTS:
        raise ConfigError(
            f"{file} is on {mount.kind} ({mount.source} at {mount.mount_point}), where an SQLite catalog can be "
            "damaged; set DATA_MINER_CATALOG_URL to a PostgreSQL database (docs/deploy/postgresql.md), or use a "
            "--root on a local disk"
        )
