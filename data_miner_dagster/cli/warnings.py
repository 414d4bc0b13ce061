"""Warnings of `status` and `doctor` about conditions outside the root. `doctor` cannot repair such conditions."""

from datetime import UTC, datetime

from data_miner_dagster.sites.versions import yt_dlp_version
from data_miner_dagster.stages.downloading.site_health import age_warning


def platform_warnings() -> list[str]:
    """Return the warnings about the platform, one line each."""
    old = age_warning(yt_dlp_version(), datetime.now(UTC).date())
    return [] if old is None else [old]
