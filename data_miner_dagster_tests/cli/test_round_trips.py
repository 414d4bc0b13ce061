"""`data-miner review export --for` and `review import --from`, as a person types them."""

import json
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


def test_review__out_to_a_tool_and_back(run_command: RunCommand, tmp_path: Path) -> None:
    root, export = build_project(tmp_path / "root").root, tmp_path / "export"
    out = run_command("review", "export", "cyclists", "--for", "cvat", "--to", export, "--root", root)
    assert out.stdout == (
        f"cyclists: 1 image, 2 boxes → {export}\n"
        "next: correct the boxes in cvat, then run `data-miner review import cyclists FILE --from cvat --sent "
        f"{export} --root {root}`\n"
    )
    xml = tmp_path / "annotations.xml"
    xml.write_text((export / "annotations.xml").read_text().replace('xbr="9.0"', 'xbr="15.00"'))
    back = ("review", "import", "cyclists", xml, "--from", "cvat", "--sent", export, "--root", root)
    assert run_command(*back).stdout == (
        "cyclists: 1 new verdict; the file contains: 1 shifted\n"
        "images: 0 reviewed, 1 other changed, 0 untouched, 0 not in the file\n"
        "for images that nobody marked as reviewed, only changes count; --all-reviewed marks all as reviewed\n"
        f"next: run `data-miner run --config FILE --root {root}` to apply the verdicts; a running `data-miner up` does "
        "this automatically\n"
    )
    found = json.loads(run_command(*back, "--all-reviewed", "--json").stdout)
    assert (found["reviewed"], found["new"]) == (1, 2)
    assert found["words"] == {"right": 1, "shifted": 1, "complete": 1}
    xml.write_text(xml.read_text().replace('label="person"', 'label="tram"'))
    left_out = run_command(*back)
    assert "left out: review/files-aaa_000001.jpg: it has the label 'tram', which is not a class" in left_out.stderr
    assert "the file contains: no answers" in left_out.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("export", "cyclists", "--to", "a.csv", "--queue", "unsure"), "give the tool with --for"),
        (
            ("export", "cyclists", "--to", "a", "--for", "paint"),
            "`--for paint` is not a supported tool; use one of label-studio, cvat",
        ),
        (("import", "cyclists", "a.csv", "--all-reviewed"), "give the tool with --from"),
        (("import", "cyclists", "a.xml", "--from", "cvat"), "is not in the folder of its export; give --sent FOLDER"),
        (("import", "cyclists", "a.xml", "--from", "cvat", "--version", "v009"), "has no release"),
    ],
)
def test_review__misuse_is_one_line(
    run_command: RunCommand, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    root = build_project(tmp_path / "root").root
    with pytest.raises(ConfigError, match=why):
        run_command("review", *arguments, "--root", root)
