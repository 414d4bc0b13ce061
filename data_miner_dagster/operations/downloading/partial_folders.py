"""Manage the folders for the bytes of running downloads. Each folder belongs to one claim.

A folder is inside its video's folder and has the claim's token in its name. It survives a kill, so the next attempt can
continue from its bytes. Two attempts never write into the same folder.
"""

import logging
import shutil
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.claims import Claim
from data_miner_dagster.storage.atomic import PARTIAL_MARK, partial_name, sweep_partials

_NAME: Final = "download"
_COPY: Final = "copied"

logger = logging.getLogger(__name__)


def is_partial_download(path: Path) -> bool:
    """Return whether a path is named like the folder of an interrupted download."""
    return path.match(f"{PARTIAL_MARK}*{_NAME}")


def partial_folders(folder: Path) -> list[Path]:
    """Return the folders of a video's download attempts, latest last."""
    found = folder.glob(f"{PARTIAL_MARK}*{_NAME}")
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _copy(earlier: Path, own: Path) -> None:
    copied = own.with_name(partial_name(_COPY, None))
    sweep_partials(own.parent, _COPY)
    try:
        shutil.copytree(earlier, copied)
        copied.rename(own)
    except OSError as error:  # deleted in the meantime, or the disk is full
        logger.info("%s cannot be reused (%s), so the download starts over", earlier, error)
        shutil.rmtree(copied, ignore_errors=True)
        own.mkdir()


def begin_partial_folder(folder: Path, claim: Claim) -> Path:
    """Return the folder for this attempt at a video. A new folder starts with the latest attempt's bytes, if any.

    If the process that wrote those bytes may still be running, they are copied, so that two processes never write to
    the same file. If copying fails, the folder starts empty. The folders of all other attempts at the video are
    removed.
    """
    own = folder / partial_name(_NAME, claim.token)
    if not own.exists():
        folder.mkdir(parents=True, exist_ok=True)
        earlier = partial_folders(folder)
        if not earlier:
            own.mkdir()
        elif claim.may_have_rival:
            _copy(earlier[-1], own)
        else:
            earlier[-1].rename(own)
    for other in partial_folders(folder):
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    return own
