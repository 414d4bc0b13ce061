"""Test which file systems may contain an SQLite catalog."""

from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage import file_systems
from data_miner_dagster.storage.file_systems import Mount, check_place_of_sqlite, mount_of

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
23 22 0:5 / /dev rw - devtmpfs devtmpfs rw
40 22 0:40 / /mnt/data rw,relatime shared:20 - nfs4 filer:/export/data rw,vers=4.2
41 40 0:41 / /mnt/data/fast rw,relatime - tmpfs tmpfs rw
42 22 0:42 / /mnt/with\\040space rw,relatime - cifs //server/share rw,vers=3.0
43 22 0:43 / /home/me/far rw,nosuid - fuse.sshfs me@host:/srv rw,user_id=0
44 22 0:44 / /guest rw,relatime - virtiofs shared rw
45 22 0:45 / /container rw,relatime - overlay overlay rw,lowerdir=/a,upperdir=/b
46 22 0:46 / /windows rw,relatime - 9p drvfs rw
47 22 0:47 / /twice rw,relatime - nfs filer:/export/a rw
48 22 254:1 / /twice rw,relatime - xfs /dev/vdb rw
49 22 0:49 / /old rw,relatime - smb3 //server/old rw
a line of another kind
"""


def test_mount_of__no_mounts() -> None:
    assert mount_of(Path("/x"), "") is None


def test_mount_of__the_innermost_and_latest() -> None:
    assert mount_of(Path("/mnt/data/fast/root"), MOUNTS) == Mount(Path("/mnt/data/fast"), "tmpfs", "tmpfs")
    assert mount_of(Path("/mnt/database"), MOUNTS) == Mount(Path("/"), "ext4", "/dev/vda")
    assert mount_of(Path("/twice/root"), MOUNTS) == Mount(Path("/twice"), "xfs", "/dev/vdb")


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("/mnt/data/root/catalog.sqlite", r"nfs4 \(filer:/export/data at /mnt/data\)"),
        ("/mnt/with space/catalog.sqlite", r"cifs \(//server/share at /mnt/with space\)"),
        ("/home/me/far/root/catalog.sqlite", r"fuse.sshfs \(me@host:/srv at /home/me/far\)"),
        ("/old/catalog.sqlite", r"smb3 \(//server/old"),
    ],
)
def test_check_place_of_sqlite__shared_by_hosts_is_refused_by_name_with_the_remedy(file: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"is on {named}.*PostgreSQL") as raised:
        check_place_of_sqlite(Path(file), MOUNTS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "folder", ["/root", "/mnt/data/fast", "/guest", "/container", "/windows", "/twice", "/dev/shm"]
)
def test_check_place_of_sqlite__of_one_machine_is_taken(folder: str) -> None:
    check_place_of_sqlite(Path(folder, "catalog.sqlite"), MOUNTS)


def test_check_place_of_sqlite__real_file_systems(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("/dev/shm"), Path("/")):
        check_place_of_sqlite(folder / "catalog.sqlite")


def test_platform__a_root_on_nfs_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n40 22 0:40 / {tmp_path} rw - nfs filer:/export rw\n")
    monkeypatch.setattr(file_systems, "_MOUNTS", mounts)
    platform = Platform(PlatformConfig(), tmp_path / "root")
    with pytest.raises(ConfigError, match=r"catalog\.sqlite is on nfs \(filer:/export"):
        _ = platform.database
    assert not platform.root.exists()
    (tmp_path / "link").symlink_to("/dev/shm")
    check_place_of_sqlite(tmp_path / "link" / "catalog.sqlite")
