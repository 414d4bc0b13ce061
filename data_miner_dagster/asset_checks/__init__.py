"""Asset checks: promises verified on every materialization of a project's assets.

Belongs here: one thin check a promise, which asks an operation and reports figures. Does not belong here: the proof.
Checks of the per-video assets would say nothing in a range run (one evaluation, no partition): their promises are
kept by the operations themselves, and their figures are in the metadata.
"""

from typing import Final

import dagster as dg

ALL_CHECKS: Final = tuple(dg.load_asset_checks_from_package_name(__name__))
