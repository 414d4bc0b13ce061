import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.export.codec import Codec
from data_miner_dagster.export.formats import (
    EXPORT_FORMATS,
    FORMATS,
    WHOLE,
    Format,
    asset_kinds,
    export_help,
    formats_table,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "releases.md"


@pytest.mark.parametrize("format", FORMATS, ids=[format.name for format in FORMATS])
def test_formats__each_can_be_written_and_read_back(format: Format) -> None:
    assert isinstance(format.codec, Codec)
    assert format.codec.verifiers
    assert format.in_releases or format.in_exports
    # if a verifier cannot read a file, its name is part of the message
    verifiers = (*format.codec.verifiers, *format.codec.export_verifiers)
    assert all(verify.__name__.endswith("_problems") for verify in verifiers)


def test_formats__no_name_twice() -> None:
    names = [WHOLE, *(format.name for format in FORMATS)]
    assert len({*names}) == len(names)


def test_check_installed__an_extra_of_the_name_of_the_format() -> None:
    project = tomllib.loads((DOCUMENT.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needing = [format.name for format in FORMATS if format.needs is not None]
    assert needing == ["webdataset", "lance"]
    assert set(needing) <= set(project["optional-dependencies"])
    for format in FORMATS:
        format.check_installed()
    missing = replace(EXPORT_FORMATS["lance"], needs="a_package_that_nobody_has")
    with pytest.raises(ConfigError) as raised:
        missing.check_installed()
    assert str(raised.value) == (
        "format 'lance' needs a package that is not installed; run `pip install 'data-miner-dagster[lance]'` "
        "to install it"
    )


def test_asset_kinds() -> None:
    assert asset_kinds() == {"coco", "yolo", "parquet"}


def test_export_help__names_what_can_be_exported_alone() -> None:
    assert export_help().startswith("all: the release as it is; coco: COCO JSON")
    assert "crops: " in export_help()
    assert "imagefolder: " not in export_help()


def test_formats_table__is_that_of_the_docs() -> None:
    assert formats_table() in DOCUMENT.read_text(encoding="utf-8"), (
        f"put this table into {DOCUMENT}:\n{formats_table()}"
    )
