"""Check the locks against constraints.txt and pyproject.toml, and docs/licences.md against locks and registry."""

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
LOCKS = REPOSITORY / "docker" / "locks"
_spec = spec_from_file_location("lock", LOCKS / "lock.py")
assert _spec is not None
assert _spec.loader is not None
lock = module_from_spec(_spec)
_spec.loader.exec_module(lock)

PINNED = lock.pins((REPOSITORY / "constraints.txt").read_text(encoding="utf-8"))
WRITTEN = [
    REPOSITORY / "requirements.lock",
    *(LOCKS / f"{name}.txt" for name in ("cuda", "cpu", "controller", "build")),
]


def required(*extras: str) -> set[str]:
    """Return the names of the packages that pyproject.toml requires directly, including those of these extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {str(canonicalize_name(Requirement(line).name)) for line in asked} - {project["name"]}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_lock__has_a_hash_for_everything_and_names_no_index(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert entries
    assert all(re.match(r"\S+==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "index" not in re.sub(r"(?m)^ *#.*$", "", text)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_lock__has_the_versions_of_constraints(path: Path) -> None:
    locked = lock.pins(path.read_text(encoding="utf-8"))
    assert {name: version for name, version in locked.items() if PINNED.get(name, version) != version} == {}


def test_locks__have_what_the_project_asks_for() -> None:
    of_tests, cuda, cpu = (lock.pins(path.read_text(encoding="utf-8")).keys() for path in WRITTEN[:3])
    assert required("dev") <= of_tests
    assert required("docker", "kubernetes") <= cuda
    assert cuda - cpu == {name for name in cuda if name in lock.CPU_WHEELS or lock.GPU_PACKAGES.fullmatch(name)}


def test_controller__has_neither_torch_nor_models() -> None:
    locked = lock.pins((LOCKS / "controller.txt").read_text(encoding="utf-8")).keys()
    assert not locked & {"torch", "torchvision", "transformers", "ultralytics", "onnxruntime", "openvino", "faiss-cpu"}
    assert not [name for name in locked if lock.GPU_PACKAGES.fullmatch(name)]
    assert {"dagster-webserver", "dagster-postgres", "dagster-docker", "dagster-k8s", "uvicorn"} <= locked
