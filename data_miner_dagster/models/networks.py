"""Find, by name, the networks that Ultralytics can train from random weights to detect objects.

The names are read from the files of the installed package, which is not imported, so that a wrong name is refused
before a process loads torch.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.domain.errors import ConfigError

_SUFFIXES: Final = (".yaml", ".yml")
_HEADS: Final = ("Detect", "v10Detect")
"""The last layers of networks that detect objects without a prompt. Networks with another last layer are ignored."""
_FAMILY: Final = re.compile(r"yolov?\d+")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is installed


def network_of(name: str) -> str:
    """Return the name or absolute path of the YAML file from which Ultralytics builds a network with random weights.

    Raises:
        ConfigError: the name is unknown, or the YAML file does not exist.
    """
    if (file := network_file(name)) is not None:
        if not file.is_file():
            raise ConfigError(f"the network's YAML file {name} does not exist; correct its path")
        return str(file)
    sizes = network_sizes()
    if any(name in names_of_network(stem, of_stem) for stem, of_stem in sizes.items()):
        return f"{name}.yaml"
    known = ", ".join(f"{stem} ({'/'.join(found)})" if found else stem for stem, found in sorted(sizes.items()))
    raise ConfigError(
        f"network {name!r} does not exist in Ultralytics or does not detect objects; use a YAML file, or one of "
        f"{known}, with the size after the number, as in yolo11n"
    )


def network_file(name: str) -> Path | None:
    """Return the absolute path of a network's YAML file, or None if `name` is not the path of a YAML file.

    A leading `~` is expanded, and the file need not exist.
    """
    return Path(name).expanduser().absolute() if name.endswith(_SUFFIXES) else None


@cache
def network_sizes() -> Mapping[str, str]:
    """Return the sizes of each network, such as `nsmlx` for `yolo11`. The keys are names without a size.

    The sizes are an empty string if there is no choice of size, or if each size has its own file (such as `yolov10n`).
    """
    spec = find_spec("ultralytics")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in (Path(folder) / "cfg" / "models").rglob("*.yaml")):
        described: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - both safe
        if described["head"][-1][2] in _HEADS:
            has_size_in_name = re.fullmatch(rf"{_FAMILY.pattern}[a-z]", path.stem) is not None
            found[path.stem] = "" if has_size_in_name else "".join(described.get("scales", ()))
    return found


def names_of_network(stem: str, sizes: str) -> list[str]:
    """Return a network's name without a size and with each size. The size follows the number, as in `yolo26n-p2`."""
    return [stem, *(_FAMILY.sub(rf"\g<0>{size}", stem, count=1) for size in sizes)]
