"""Asset checks: guarantees verified on every materialization of a project's assets.

Belongs here: one thin check per guarantee, which calls an operation and reports its figures. Does not belong here: the
verification itself. The per-video assets have no checks, since a range run evaluates a check once and without a
partition. Their operations enforce the guarantees and report figures in the metadata.
"""

from typing import Final

import dagster as dg

ALL_CHECKS: Final = tuple(dg.load_asset_checks_from_package_name(__name__))
