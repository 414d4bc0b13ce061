"""Describe the cost of a release in units that are the same on every machine, such as videos, frames and bytes.

Belongs here: the key in the manifest, and the rows of the card and the datasheet. Does not belong here: counting
(operations/releasing/effort.py), and costs that depend on the machine (stages/costs.py).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from data_miner_dagster.domain.sizes import size_text

EFFORT_KEY: Final = "effort"
"""The key in the manifest. Releases built by earlier versions lack it, and so do their rebuilt copies."""
_MINUTE: Final = 60
_HOUR: Final = 3600
_MILLION: Final = 1_000_000


def effort_rows(release: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the cost in a release's manifest as (name, text) rows, or an empty list if the manifest has no cost."""
    effort = release.get(EFFORT_KEY)
    if effort is None:
        return []
    rows = [
        ("videos fetched or copied", f"{effort['num_videos']:,}"),
        ("size of these videos", size_text(effort["videos_size_bytes"])),
        ("length of these videos", _length(effort["videos_seconds"])),
        ("frames sampled", f"{effort['num_frames']:,}"),
    ]
    for model in effort["models"]:
        rows.append((f"images examined by {model['name']} ({model['role']})", f"{model['num_images']:,}"))
    if (around := effort.get("num_pictures_around")) is not None:
        rows.append(("pictures around them, examined by each detector to follow objects", f"at most {around:,}"))
    if (verifier := effort.get("verifier")) is not None:
        rows += _verifier_rows(verifier)
    return [
        *rows,
        ("size of the images", size_text(release["images_size_bytes"])),
        ("size of labels and tables", size_text(effort["labels_size_bytes"])),
    ]


def _length(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.1f} min" if seconds < _HOUR else f"{seconds / _HOUR:,.2f} h"


def _verifier_rows(verifier: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name, num_boxes, num_tokens = verifier["name"], verifier["num_boxes"], verifier.get("num_tokens")
    yield f"boxes judged by {name} (verifier)", f"{num_boxes:,}"
    if num_tokens is not None:
        yield f"tokens of {name}", f"{num_tokens[0]:,} input and {num_tokens[1]:,} output"
    if (price := verifier.get("price_per_box")) is not None:
        yield f"price of {name}, in the currency of its prices", f"{price * num_boxes:,.4g} ({price:g} per box)"
    elif (prices := verifier.get("price_per_million_tokens")) is not None:
        each = f"{prices[0]:g} per million input tokens and {prices[1]:g} per million output tokens"
        total = sum(price * number / _MILLION for price, number in zip(prices, num_tokens or (), strict=False))
        text = (
            f"unknown, since it does not state its tokens ({each})" if num_tokens is None else f"{total:,.4g} ({each})"
        )
        yield f"price of {name}, in the currency of its prices", text
