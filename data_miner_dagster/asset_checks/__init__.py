"""Asset checks: guarantees verified on every materialization of a project's assets, and once a day for all videos.

Belongs here: one thin check per guarantee, which calls an operation and reports its figures. Does not belong here: the
verification itself. Guarantees about a single video are enforced by operations, which report figures as metadata.
"""

from typing import Final

import dagster as dg

ALL_CHECKS: Final = tuple(dg.load_asset_checks_from_package_name(__name__))
