"""Commands that copy a whole root and manage the copies: `backup`, `restore`, `backups`."""

import os
from shlex import quote
from typing import Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    RootOption,
    YesOption,
    confirm,
    opened,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.unwritable import writing_to_root

_PLACE_HELP = "A folder, or a bucket: s3://bucket/folder, gs://..., az://..."


def backup(
    to: Annotated[str, typer.Option("--to", help=_PLACE_HELP)],
    dry_run: DryRunOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Back up the catalog and all files to another place while work continues.

    Only files that the other place lacks are sent.
    """
    from data_miner_dagster.cli.progress import progress_lines
    from data_miner_dagster.operations.copies.backup import make_backup
    from data_miner_dagster.operations.object_stores import open_place

    platform = opened_existing(root, config)
    store = open_place(platform.config.objects, to)
    with progress_lines(platform.config.logging):
        outcome = make_backup(platform, store, dry_run=dry_run)
    snapshot = outcome.snapshot
    new = f"{outcome.num_new_files:,} of them new, {size_text(outcome.num_new_bytes)}"
    what = f"{counted(snapshot.num_files, 'file')}, {size_text(snapshot.num_bytes)} ({new})"
    echo(
        f"a backup in {store.shown} would contain {what}"
        if dry_run
        else f"backup {snapshot.id} in {store.shown}: {what}"
    )
    if snapshot.num_gone:
        gone = counted(snapshot.num_gone, "file or folder was", "files or folders were")
        them = "it" if snapshot.num_gone == 1 else "them"
        echo(
            f"{gone} removed or replaced while being read, so the backup lacks {them}; the next backup will include "
            "any replacement"
        )


def restore(
    source: Annotated[str, typer.Option("--from", help=_PLACE_HELP)],
    snapshot: Annotated[
        str | None, typer.Option("--snapshot", help="The id of the backup to restore. Default: the latest.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Restore a backup into an empty root. If the command is interrupted, run it again."""
    from data_miner_dagster.cli.progress import progress_lines
    from data_miner_dagster.cli.up import locked_root
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.operations.copies.restore import restore_root
    from data_miner_dagster.operations.object_stores import open_place

    platform = opened(root, config)
    if platform.config.storage.catalog_url is not None:
        raise ConfigError(
            "a catalog URL is set, but the catalog of a backup is restored into the root; remove "
            "platform.storage.catalog_url and unset DATA_MINER_CATALOG_URL, restore again, and then run `data-miner "
            "migrate-to URL` to move the catalog to the server"
        )
    store = open_place(platform.config.objects, source)
    with writing_to_root(platform.root):
        platform.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = locked_root(platform.layout)
    try:
        with progress_lines(platform.config.logging):
            outcome = restore_root(
                store,
                platform.layout,
                snapshot_id=snapshot,
                num_at_once=platform.config.objects.concurrent_transfers,
            )
    finally:
        if lock is not None:
            os.close(lock)
    there = f"; {outcome.num_there:,} had been restored before" if outcome.num_there else ""
    files, were = counted(outcome.num_files, "file"), "was" if outcome.num_files == 1 else "were"
    echo(f"{files} from backup {outcome.snapshot.id} {were} restored to {platform.root}{there}")
    again = f"--root {quote(str(platform.root))}"
    echo(f"next: run `data-miner up {again}`, or `data-miner run --config FILE {again}`")


def backups(
    at: Annotated[str, typer.Option("--at", help=_PLACE_HELP)],
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Keep this many of the latest backups, and remove the others.")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """List the backups in a place, or remove old ones along with the files that only they use."""
    from data_miner_dagster.domain.json_records import as_json as plain
    from data_miner_dagster.operations.copies.retention import keep_latest
    from data_miner_dagster.operations.copies.snapshots import read_snapshots
    from data_miner_dagster.operations.object_stores import open_place

    platform = opened(root, config)
    store = open_place(platform.config.objects, at)
    if keep is not None:
        platform = opened_existing(root, config)
        would = keep_latest(platform, store, keep, dry_run=True)
        echo(
            f"{counted(len(would.snapshots), 'backup')} and {counted(would.num_files, 'file')} "
            f"({size_text(would.num_bytes)}) can be removed"
        )
        if dry_run or not (would.snapshots or would.num_files):
            return
        confirm(f"Remove these backups and files from {store.shown}?", yes=yes)
        done = keep_latest(platform, store, keep)
        echo(f"{counted(len(done.snapshots), 'backup')} and {counted(done.num_files, 'file')} were removed")
        return
    unread: list[str] = []
    found = read_snapshots(store, unread)
    if as_json:
        print_json([plain(snapshot) for snapshot in found])
    else:
        columns = ["backup", "created", "files", "size", "root"]
        rows = [(one.id, one.made_at, f"{one.num_files:,}", size_text(one.num_bytes), one.root) for one in found]
        print_table(columns, rows, numbers=["files", "size"])
    for line in unread:
        echo(line, err=True)
    if unread:
        raise typer.Exit(1)
