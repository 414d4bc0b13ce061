"""Paths under the root for the published results of projects: releases, reports, and networks trained on releases.

This module is a part of storage/layout.py. Use that module to look up paths.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.keys import check_project_name

REPORT_PAGE_NAME: Final = "index.html"
REPORTS_NAME: Final = "reports"


@dataclass(frozen=True, slots=True)
class PublishedLayout:
    """Paths of published files. Looking up a path creates nothing.

    An invalid project name or version raises ConfigError, so no path leaves the root.
    """

    root: Path

    @property
    def releases(self) -> Path:
        """The folder of releases: one folder per project, containing one per version."""
        return self.root / "releases"

    @property
    def students(self) -> Path:
        """The folder of trained networks: one folder per project, containing one per version of a release."""
        return self.root / "students"

    def releases_folder(self, project: str) -> Path:
        """Return the path of the folder of a project's releases, with one folder per version."""
        return self.releases / check_project_name(project)

    def release_folder(self, project: str, version: str) -> Path:
        """Return the path of the folder of one immutable release."""
        return self.releases_folder(project) / check_project_name(version)

    def students_folder(self, project: str) -> Path:
        """Return the path of the folder of networks trained on a project's releases, with one folder per version."""
        return self.students / check_project_name(project)

    def student_folder(self, project: str, version: str) -> Path:
        """Return the path of the folder of the network that was trained on one release."""
        return self.students_folder(project) / check_project_name(version)

    def report_folder(self, project: str) -> Path:
        """Return the path of the folder of the project's latest report."""
        return self.root / REPORTS_NAME / check_project_name(project)

    def report_page(self, project: str) -> Path:
        """Return the path of the main page of the project's latest report."""
        return self.report_folder(project) / REPORT_PAGE_NAME
