"""Hostile files in the watched folder: each is refused quickly with one line, and the process survives."""

import os
from pathlib import Path

import pytest

from data_miner_dagster.config.loading import load_project_file, parse_file
from data_miner_dagster.config.text_files import MAX_YAML_BYTES, read_text_file
from data_miner_dagster.domain.errors import ConfigError

GOOD = """\
name: bikes
sourcing: {sources: [{type: files, paths: [clips]}]}
filtering: {positive: [a bicycle]}
detection: {classes: {bicycle: []}}
"""


def _doubling(first: str, step: str, levels: int) -> str:
    return f"a0: {first}\n" + "".join(f"a{n}: {step.replace('N', str(n - 1))}\n" for n in range(1, levels))


HOSTILE = {
    "list without end": (GOOD + "d: " + "[" * 100_000, "nested more than"),
    "block list without end": (GOOD + "d:\n" + "- " * 100_000, "nested more than"),
    "map without end": (GOOD + "d: " + "{a: " * 50_000, "nested more than"),
    "a number": ("12", "must be a mapping"),
    "words": ("hello", "must be a mapping"),
    "nothing": ("~", "must be a mapping"),
    "a long number": (GOOD + "n: " + "9" * 5000, "a number has 5,000 characters, more than the 100 that"),
    "aliases": (
        "".join(f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}" if n else "1"] * 9) + "]\n" for n in range(9)) + GOOD,
        "aliases stand for more than",
    ),
    "an alias in itself": (GOOD + "z: &z [*z]", "refers to a value that contains it"),
    "an alias of nothing": (GOOD + "z: *y", "is not defined"),
    "text doubled": (GOOD + _doubling("x", "${aN}${aN}", 60), "exceed the limits of a file"),
    "maps doubled": (GOOD + _doubling("{x: 1}", "{l: '${aN}', r: '${aN}'}", 60), "exceed the limits of a file"),
    "lists doubled": (GOOD + _doubling("[1]", "['${aN}', '${aN}']", 60), "exceed the limits of a file"),
    "elements doubled": (
        GOOD + "l: [" + "x, " + ", ".join(f"'${{l[{n}]}}${{l.{n}}}'" for n in range(50)) + "]",
        "exceed the limits of a file",
    ),
    "references in references": (GOOD + "r: " + "${a" * 600 + "}" * 600, "20 references"),
    "much text often": (
        GOOD + f"t: {'x' * 100_000}\nr: [" + ", ".join(["'${t}'"] * 100) + "]",
        "exceed the limits of a file",
    ),
    "many values": (GOOD + "m: [" + "1, " * 200_000 + "]", "contains more than"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_load_project_file__hostile_text_is_one_line_at_once(tmp_path: Path, case: str) -> None:
    text, expected = HOSTILE[case]
    path = tmp_path / "project.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_project_file(path)  # aliases that double sixty times would never be read to the end
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_parse_file__thousands_of_addresses_are_taken(tmp_path: Path) -> None:
    urls = [f"https://example.org/{number}.mp4" for number in range(10_500)]
    path = tmp_path / "project.yaml"
    path.write_text(GOOD.replace("{type: files, paths: [clips]}", "{type: urls, urls: " + str(urls) + "}"), "utf-8")
    sourcing = parse_file(path)["sourcing"]
    assert isinstance(sourcing, dict)
    assert sourcing["sources"] == [{"type": "urls", "urls": urls}]


def test_load_project_file__some_references_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text(GOOD + "description: '${name} by ${oc.env:USER,nobody}, ${sourcing.sources[0].type}'\n", "utf-8")
    assert load_project_file(path).description.startswith("bikes by ")


def test_read_text_file__regular_files_only(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.yaml"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="is not a regular file"):
            read_text_file(path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a" * (MAX_YAML_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        read_text_file(large)
    link = tmp_path / "link.yaml"
    link.symlink_to(fifo)
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_text_file(link)
