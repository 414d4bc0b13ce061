"""Commands that rerun one stage of a project."""

from pathlib import Path

from data_miner_dagster.domain.phrases import phrase_of
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


def test_force_dedup__counts_in_the_words_of_the_documentation(run_command: RunCommand, tmp_path: Path) -> None:
    build_project(tmp_path, through="deduplication", deduplication={"encoder": "filter"})
    told = run_command("force-dedup", "cyclists", "--profile", "lite", "--root", tmp_path).stdout.splitlines()
    named = [line.rstrip("0123456789").rstrip() for line in told[1:-1]]
    assert named == ["frames", "representatives", *(phrase_of(tier.value) for tier in DuplicateTier)]
    assert not any("_" in name for name in named)
