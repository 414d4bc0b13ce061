"""Ensure that each asset check has a test file of the same name in which it fails."""

from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster import asset_checks
from data_miner_dagster.asset_checks import ALL_CHECKS


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: str(check.check_key.name))
def test_all_checks__each_fails_in_a_test(check: dg.AssetChecksDefinition) -> None:
    name = check.check_key.name
    (stem,) = [
        path.stem
        for path in Path(str(asset_checks.__file__)).parent.glob("*.py")
        if f"def {name}(" in path.read_text(encoding="utf-8")
    ]
    tests = Path(__file__).with_name(f"test_{stem}.py").read_text(encoding="utf-8")
    assert f"def test_{name}__fails" in tests
    assert f"run_check({name}," in tests
