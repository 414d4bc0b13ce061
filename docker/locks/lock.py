"""Write the locks of the environment and of the images, with the hash of every file: `make lock`.

The requirements come from pyproject.toml and the `.in` files here, at the versions of constraints.txt, for CPython 3.11
on Linux x86-64 (glibc 2.28 and later). No lock names an index, so any mirror of PyPI works.

`lock.py cpu-torch` locks the two wheels of PyTorch's CPU index, and needs access to it.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = Path("docker/locks")
CONSTRAINTS: Final = "constraints.txt"
EXTRAS: Final = ("docker", "kubernetes", "ray", "monitoring", "alerts", "objects", "openvino", "tracks", "webdataset")
"""The extras in the images of code servers and runs, if the package has them."""
CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
CPU_WHEELS: Final = ("torch", "torchvision")
GPU_PACKAGES: Final = re.compile(r"(nvidia|cuda)-.*|triton")
"""Packages that only the CUDA build of torch requires."""
_PIN: Final = re.compile(r"(?m)^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)")


def pins(text: str) -> dict[str, str]:
    """Return the versions that a lock or a list of constraints pins, by normalized name."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(text)}


def compile_lock(target: Path, sources: list[str], *options: str) -> None:
    """Write one lock."""
    subprocess.run(
        [
            *("uv", "pip", "compile", *sources, "--constraint", CONSTRAINTS, "--generate-hashes", "--no-header"),
            *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--quiet", "--upgrade"),
            *("--output-file", str(target), *options),
        ],
        cwd=REPOSITORY,
        check=True,
    )


def main() -> None:
    """Write all locks, or only the one for PyTorch's CPU index."""
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    extras = [f"--extra={name}" for name in EXTRAS if re.search(rf"(?m)^{name} = ", project)]
    pinned = pins((REPOSITORY / CONSTRAINTS).read_text(encoding="utf-8"))
    if sys.argv[1:] == ["cpu-torch"]:
        source = REPOSITORY / LOCKS / "cpu-torch.in"
        source.write_text("".join(f"{name}=={pinned[name]}+cpu\n" for name in CPU_WHEELS), encoding="utf-8")
        subprocess.run(
            [
                *("uv", "pip", "compile", str(source), "--generate-hashes", "--no-header", "--no-deps", "--quiet"),
                *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--upgrade"),
                *("--default-index", CPU_INDEX, "--output-file", str(LOCKS / "cpu-torch.txt")),
            ],
            cwd=REPOSITORY,
            check=True,
        )
        source.unlink()
        return
    compile_lock(Path("requirements.lock"), ["pyproject.toml"], "--extra=dev")
    compile_lock(LOCKS / "cuda.txt", ["pyproject.toml"], *extras)
    left_out = [name for name in pinned if name in CPU_WHEELS or GPU_PACKAGES.fullmatch(name)]
    compile_lock(LOCKS / "cpu.txt", ["pyproject.toml"], *extras, *(f"--no-emit-package={name}" for name in left_out))
    for name in ("controller", "build"):
        compile_lock(LOCKS / f"{name}.txt", [str(LOCKS / f"{name}.in")])


if __name__ == "__main__":
    main()
