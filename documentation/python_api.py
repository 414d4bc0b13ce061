"""Write the reference of the rooms that work without Dagster. Only the site has these pages; mkdocstrings fills them.

Belongs here: the rooms and modules, and their order. Does not belong here: descriptions, which their docstrings have.
"""

from collections.abc import Mapping
from typing import Final

PACKAGE: Final = "data_miner_dagster"
ROOMS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "stages": (
        "The decisions of each stage, as pure functions over records, tables and arrays.",
        (
            "extraction",
            "filtering.decisions",
            "filtering.calibration",
            "filtering.exemplars",
            "deduplication.leaders",
            "deduplication.reach",
            "deduplication.guarantees",
            "deduplication.reuploads",
            "detection.boxes",
            "detection.tiling",
            "evaluation.matching",
            "evaluation.curves",
            "evaluation.confusion",
            "splitting.drawing",
            "selecting",
            "nearest",
        ),
    ),
    "models": (
        "Encoders, detectors and verifiers: the available models, and functions that load them.",
        ("registry", "provider", "architectures", "vocabulary"),
    ),
    "protocols": (
        "The interfaces between a stage and a model or an index. Implement one to use your own.",
        ("encoders", "detectors", "verifiers", "indexes", "pictures"),
    ),
    "export": (
        "The formats of a release: the records that they are written from, their writers, and their verifiers.",
        ("formats", "records", "codec", "coco", "yolo", "parquet", "huggingface", "voc"),
    ),
}
"""A description of each room, and those of its modules that outside code may want to call."""


def page_of(room: str) -> str:
    """Return the path of a room's page in the site."""
    return f"python/{room}.md"


def room_page(room: str) -> str:
    """Return the page of a room as markdown for mkdocstrings."""
    text, modules = ROOMS[room]
    lines = [f"# `{PACKAGE}.{room}`", "", text, ""]
    for module in modules:
        lines += [f"## `{module}`", "", f"::: {PACKAGE}.{room}.{module}", "    options:"]
        lines += ["      show_root_heading: false", ""]
    return "\n".join(lines)


def rooms_section() -> str:
    """Return the list of the rooms' pages for the end of docs/python.md."""
    rows = [f"| [`{PACKAGE}.{room}`]({page_of(room)}) | {text} |" for room, (text, _) in ROOMS.items()]
    return "\n".join(["## Reference", "", "| room | contents |", "|---|---|", *rows, ""])
