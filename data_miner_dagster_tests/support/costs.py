"""`python -m pytest -p data_miner_dagster_tests.support.costs ...` shows at the end what each test file costs."""

import os
from collections import defaultdict
from collections.abc import Generator
from typing import Final

import pytest

NAME: Final = "cpu_seconds"
NUM_SHOWN: Final = 40

_cpu_seconds_before = 0.0
_cpu_seconds_by_file: Final[dict[str, float]] = defaultdict(float)
_seconds_by_file: Final[dict[str, float]] = defaultdict(float)


def _cpu_seconds_so_far() -> float:
    """Return the CPU seconds of this process and of the child processes whose end it has waited for."""
    return sum(os.times()[:4])


def pytest_collection_finish() -> None:
    """Start counting after the collection, because its imports do not belong to a single file."""
    global _cpu_seconds_before
    _cpu_seconds_before = _cpu_seconds_so_far()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the CPU seconds since the previous report to a report, which carries them to the process that shows them."""
    global _cpu_seconds_before
    report = yield
    now = _cpu_seconds_so_far()
    report.user_properties.append((NAME, now - _cpu_seconds_before))
    _cpu_seconds_before = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add the seconds of one phase of a test to those of its file."""
    file = report.nodeid.partition("::")[0]
    _seconds_by_file[file] += report.duration
    for name, value in report.user_properties:  # empty if the worker died
        if name == NAME and isinstance(value, float):
            _cpu_seconds_by_file[file] += value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the files that cost most, and the total of all files."""
    terminalreporter.section("CPU seconds, seconds")
    costliest = sorted(_cpu_seconds_by_file, key=_cpu_seconds_by_file.__getitem__, reverse=True)
    rows = [(_cpu_seconds_by_file[file], _seconds_by_file[file], file) for file in costliest[:NUM_SHOWN]]
    total = sum(_cpu_seconds_by_file.values()), sum(_seconds_by_file.values()), "all files"
    for cpu_seconds, seconds, file in (total, *rows):
        terminalreporter.line(f"{cpu_seconds:8.1f} {seconds:8.1f}  {file}")
