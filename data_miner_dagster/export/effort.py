"""The cost of a release in units that are the same on every machine: videos, frames, examined images, sizes.

Belongs here: the key in the manifest, and the rows of the card and the datasheet. Does not belong here: counting
(operations/releasing/effort.py), and time and money, which depend on the machine (stages/costs.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from data_miner_dagster.domain.sizes import size_text

EFFORT_KEY: Final = "effort"
"""The key in the manifest. Releases of earlier versions do not have it, and neither do their rebuilt copies."""
_HOUR: Final = 3600


def effort_rows(release: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the cost in a release's manifest as rows of text. A release of an earlier version has none."""
    effort = release.get(EFFORT_KEY)
    if effort is None:
        return []
    rows = [
        ("videos fetched or copied", f"{effort['num_videos']:,}"),
        ("size of these videos", size_text(effort["videos_size_bytes"])),
        ("length of these videos", f"{effort['videos_seconds'] / _HOUR:,.2f} h"),
        ("frames sampled", f"{effort['num_frames']:,}"),
    ]
    for model in effort["models"]:
        rows.append((f"images examined by {model['name']} ({model['role']})", f"{model['num_images']:,}"))
    if (around := effort.get("num_pictures_around")) is not None:
        rows.append(("pictures around them, examined by each detector to follow objects", f"at most {around:,}"))
    if (verifier := effort.get("verifier")) is not None:
        rows.append((f"boxes judged by {verifier['name']} (verifier)", f"{verifier['num_boxes']:,}{_price(verifier)}"))
    return [
        *rows,
        ("size of the images", size_text(release["images_size_bytes"])),
        ("size of labels and tables", size_text(effort["labels_size_bytes"])),
    ]


def _price(verifier: Mapping[str, Any]) -> str:
    if (price := verifier.get("price_per_box")) is not None:
        return f", at {price:g} each: {price * verifier['num_boxes']:,.4g}"
    if (prices := verifier.get("price_per_million_tokens")) is not None:
        return f", at {prices[0]:g} per million input tokens and {prices[1]:g} per million output tokens"
    return ""
