"""Check the parts of this machine that the platform needs: one line each, with a remedy if something is wrong.

Nothing is changed, except that a probe file is created under an existing root and removed again. Does not belong here:
comparing the catalog with the files (inspection.py).
"""

import os
import resource
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.failures import quick_check
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.operations.item_faults import fault_of
from data_miner_dagster.operations.machine import GpuValues, gpu_values
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.guarded_ydl import javascript_runtime
from data_miner_dagster.storage.file_systems import check_place_of_sqlite, kind_of_file_system

_FEW_FILES: Final = 1024
_CLOCK_WARNING_SECONDS: Final = 2.0
_CLOCK_PROBLEM_SECONDS: Final = 30.0
"""A third of the time for which a lease is valid without renewal."""
_ANSWER_SECONDS: Final = 20.0
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})


class State(StrEnum):
    """The state of one part of the environment."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the environment: its name, its state, its value, and the remedy ("" if nothing is wrong)."""

    what: str
    state: State
    value: str
    remedy: str = ""


def inspect_environment(platform: Platform) -> list[Part]:
    """Return the parts of the environment, in a fixed order. A part that cannot be examined counts as a problem."""
    looks: dict[str, Callable[[], Iterator[Part]]] = {
        "root": partial(_root, platform),
        "disk": partial(_disk, platform),
        "temporary files": partial(_temporary, platform),
        "database": partial(_database, platform),
        "model cache": partial(_models, platform),
        "GPU": partial(_gpu, platform),
        "JavaScript": _javascript,
        "open files": _open_files,
    }
    found: list[Part] = []
    for what, look in looks.items():
        try:
            found += look()
        except DataMinerError as error:
            why, _, remedy = with_references(str(error)).partition("; ")
            found.append(Part(what, State.PROBLEM, why, remedy))
        except Exception as error:  # noqa: BLE001 - any error concerns this part only
            line = with_references(fault_of(error).line)
            found.append(Part(what, State.PROBLEM, line, "fix the cause, or report this line"))
    return found


def _root(platform: Platform) -> Iterator[Part]:
    root = platform.root
    kind = kind_of_file_system(root) or "unknown file system"
    if not root.exists():
        yield Part("root", State.OK, f"{root} does not exist yet, and will be created on first use ({kind})")
        return
    probe = root / f".probe-{uuid.uuid4().hex[:8]}"
    other = probe.with_name(f"{probe.name}-2")
    try:
        with probe.open("wb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
        os.link(probe, other)
        other.replace(probe)
    except OSError as error:
        yield Part(
            "root",
            State.PROBLEM,
            f"a file in {root} ({kind}) could not be written, linked or renamed ({error.strerror})",
            "fix the permissions, free some space, or use --root to choose a file system that supports hard links",
        )
        return
    finally:
        probe.unlink(missing_ok=True)
        other.unlink(missing_ok=True)
    if kind in _VOLATILE:
        remedy = "choose a root on a disk, since files in memory are lost at a restart"
        yield Part("root", State.WARNING, f"{root} is in memory ({kind})", remedy)
    else:
        yield Part("root", State.OK, f"{root} ({kind}, supports hard links)")


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _disk(platform: Platform) -> Iterator[Part]:
    usage = shutil.disk_usage(_existing(platform.root))
    least = platform.config.downloading.min_free_bytes
    value = f"{size_text(usage.free)} of {size_text(usage.total)} are free"
    if usage.free < least:
        remedy = "free some space with `data-miner clean`, or lower the limit; until then, no download starts"
        value = f"{value}, less than platform.downloading.min_free_bytes ({size_text(least)})"
        yield Part("disk", State.PROBLEM, value, remedy)
    elif usage.free < 5 * least:
        yield Part(
            "disk", State.WARNING, value, "set platform.room.quota, or free some space before videos fill the disk"
        )
    else:
        yield Part("disk", State.OK, value)


def _temporary(_: Platform) -> Iterator[Part]:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    state = State.OK if free >= 100_000_000 else State.WARNING
    remedy = "" if state is State.OK else "free some space, or set another folder with TMPDIR"
    yield Part("temporary files", state, f"{folder}: {size_text(free)} are free", remedy)


def _database(platform: Platform) -> Iterator[Part]:
    file = platform.layout.catalog_file
    url = platform.catalog_url
    if url is None:
        check_place_of_sqlite(file)
        if not file.exists():
            yield Part("database", State.OK, f"{file} does not exist yet, and will be created on first use")
            return
        if why := quick_check(file):
            yield Part("database", State.PROBLEM, f"{file} is damaged ({why})", "restore the file from a backup")
            return
    database = Database(url or sqlite_url(file))
    with database.reading() as session:
        before = datetime.now(UTC)
        theirs = database.now(session)
        after = datetime.now(UTC)
    database.dispose()
    shown = database.engine.url.render_as_string(hide_password=True)
    took = (after - before).total_seconds()
    yield Part("database", State.OK, f"{shown} answers" + (f" in {took * 1000:.0f} ms" if url is not None else ""))
    yield _clock(database, (theirs - (before + (after - before) / 2)).total_seconds(), took)


def _clock(database: Database, ahead: float, took: float) -> Part:
    if not database.is_postgresql:
        return Part("clock", State.OK, "only this machine's clock matters")
    off = max(0.0, abs(ahead) - took)
    value = f"the database's clock is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    if off < _CLOCK_WARNING_SECONDS:
        return Part("clock", State.OK, "agrees with the database's clock")
    state = State.PROBLEM if off >= _CLOCK_PROBLEM_SECONDS else State.WARNING
    return Part("clock", state, value, "synchronize both machines with a time server (chrony, systemd-timesyncd)")


def _models(platform: Platform) -> Iterator[Part]:
    folder = model_cache_folder()
    if not os.access(_existing(folder), os.W_OK):
        remedy = "set a writable folder with DATA_MINER_MODEL_CACHE"
        yield Part("model cache", State.PROBLEM, f"{folder} cannot be written to", remedy)
        return
    profile = platform.config.models.profile
    try:
        platform.models.check_available(())
    except DataMinerError as error:
        why, _, remedy = str(error).partition("; ")
        yield Part("model cache", State.WARNING, f"{folder}: {why}", remedy)
    else:
        yield Part("model cache", State.OK, f"{folder}: the models of profile {profile} are present, or can be fetched")


def _gpu(platform: Platform) -> Iterator[Part]:
    wanted = platform.config.models.device
    names = [_gpu_text(gpu) for gpu in gpu_values()]
    if not names:
        if wanted.startswith("cuda"):
            remedy = "install the NVIDIA driver, give the container its GPUs, or set platform.models.device: auto"
            yield Part("GPU", State.PROBLEM, f"not found, but platform.models.device is {wanted}", remedy)
        else:
            yield Part("GPU", State.OK, "not found: models run on the CPU")
        return
    torch = metadata.version("torch")
    value = f"{', '.join(names)}; torch {torch}"
    if wanted == "cpu":
        remedy = "set platform.models.device: auto to use the GPU"
        yield Part("GPU", State.WARNING, f"{value}; platform.models.device is cpu", remedy)
    elif torch.endswith("+cpu"):
        yield Part("GPU", State.PROBLEM, f"{value} has no CUDA", "install a build of torch with CUDA (pytorch.org)")
    else:
        yield Part("GPU", State.OK, value)


def _gpu_text(gpu: GpuValues) -> str:
    size = None if gpu.memory_size_bytes is None else size_text(gpu.memory_size_bytes)
    known = ", ".join(filter(None, (size, gpu.driver and f"driver {gpu.driver}")))
    name = gpu.model or f"GPU {gpu.name}"
    return f"{name} ({known})" if known else name


def _javascript() -> Iterator[Part]:
    remedy = "run `pip install 'yt-dlp[default,deno]'` to install Deno, a JavaScript runtime"
    runtime = javascript_runtime()
    if runtime is None:
        value = "no runtime was found; without one, YouTube offers few formats or none"
        yield Part("JavaScript", State.WARNING, value, remedy)
        return
    done = subprocess.run(  # noqa: S603 - the program that yt-dlp uses
        [runtime, "--version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
    )
    if done.returncode:
        yield Part("JavaScript", State.WARNING, f"{runtime} exits with status {done.returncode}", remedy)
    else:
        version = done.stdout.splitlines()[0].split(" (")[0] if done.stdout else "unknown version"
        yield Part("JavaScript", State.OK, f"{runtime}: {version}")


def _open_files() -> Iterator[Part]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FEW_FILES:
        yield Part("open files", State.OK, f"a process may open {soft if soft >= 0 else 'any number of'} files")
    else:
        remedy = "run `ulimit -n 4096` before `data-miner up`, or set LimitNOFILE= in its systemd unit"
        yield Part("open files", State.WARNING, f"a process may open only {counted(soft, 'file')}", remedy)
