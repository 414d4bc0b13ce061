"""Follow `How to add an asset check` to add `every_class_is_found` to `detections`."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

CHANGES: Final = {
    "operations/detection/check.py": {
        "def check_boxes(": '''@dataclass(frozen=True, slots=True)
class MissingClasses:
    """Classes of a project that no box has."""

    names: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if every class has a box."""
        return not self.names

    @property
    def description(self) -> str:
        """One line for the user."""
        return f"no box is of class {', '.join(self.names)}"


def find_missing_classes(platform: Platform, project: str) -> MissingClasses:
    """Return the classes that no box has."""
    require_table(platform, project, ProjectStage.DETECTION)
    found = set(read_table(platform.layout.detections_table(project), ["class_name"])["class_name"].to_pylist())
    classes = platform.project_config(project).detection.classes
    return MissingClasses(tuple(name for name in classes if name not in found))


def check_boxes(''',
    },
    "asset_checks/detection.py": {
        "@dg.asset_check(": '''@dg.asset_check(asset=detections, partitions_def=PROJECTS, blocking=True)
def every_class_is_found(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every class has a box."""
    from data_miner_dagster.operations.detection.check import find_missing_classes

    opened = platform.open()
    with opened.mending():
        found = find_missing_classes(opened, context.partition_key)
    return dg.AssetCheckResult(
        passed=found.holds,
        description=None if found.holds else found.description,
        metadata={"classes without a box": len(found.names)},
    )


@dg.asset_check(''',
    },
}

USED: Final = """
import pytest

from data_miner_dagster.asset_checks import ALL_CHECKS
from data_miner_dagster.asset_checks.detection import every_class_is_found
from data_miner_dagster.definitions import defs
from data_miner_dagster_tests.asset_checks.test_all_checks import test_all_checks__each_fails_in_a_test
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.sample_project import build_project

root = tmp_path / "root"
platform = build_project(root)
assert "detections_every_class_is_found" in defs.resolve_job_def("detect_objects").graph.node_names()
with pytest.MonkeyPatch.context() as patch:
    found = run_check(every_class_is_found, root, "cyclists", patch)
    assert (found.passed, figures_of(found)) == (True, {"classes without a box": 0})
    table = platform.layout.detections_table("cyclists")
    change_rows(table, lambda rows: [row.update(class_name="person") for row in rows])
    found = run_check(every_class_is_found, root, "cyclists", patch)
assert (found.passed, figures_of(found)) == (False, {"classes without a box": 1})
assert found.description == "no box is of class bicycle"
with pytest.raises(AssertionError):  # a check that no test has seen to fail
    test_all_checks__each_fails_in_a_test(every_class_is_found)
assert every_class_is_found.check_key in [check.check_key for check in ALL_CHECKS]
"""


@pytest.mark.slow
def test_recipe_of_a_check__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, {}, CHANGES, USED)


def test_recipe_of_a_check__names_every_file() -> None:
    text = unnamed_files("How to add an asset check", ["operations/<stage>/check.py", "asset_checks/<stage>.py"])
    assert text == []
