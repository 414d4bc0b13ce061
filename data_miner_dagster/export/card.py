"""Write the dataset card, `README.md`. Its header tells Hugging Face's `datasets` which images belong to each split.

Source: https://huggingface.co/docs/hub/datasets-manual-configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.domain.splits import hub_name
from data_miner_dagster.export.codec import Destination
from data_miner_dagster.export.effort import effort_rows
from data_miner_dagster.export.licences import LicenceUse, forbidding, licences_of
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.parquet import read_videos
from data_miner_dagster.export.records import ReleaseHeader, ReleaseTally
from data_miner_dagster.export.templating import render

CARD_FILE: Final = "README.md"


@dataclass(frozen=True, slots=True)
class CardNotes:
    """The known limits, licences and cost of a release, which reviewers ask about first.

    Attributes:
        limits: one sentence for each limit, without a full stop.
        licences: the licences of the videos, by source.
        effort: (name, text) rows about the cost.
    """

    limits: Sequence[str] = ()
    licences: Sequence[LicenceUse] = ()
    effort: Sequence[tuple[str, str]] = ()


def write_card(
    folder: Path,
    header: ReleaseHeader,
    tally: ReleaseTally,
    notes: CardNotes,
    *,
    path_of: str = "images/{split}/**",
    features: Sequence[dict[str, Any]] = (),
) -> None:
    """Write the dataset card. Splits without images are omitted, since `datasets` refuses them.

    Args:
        folder: the folder of the release or export.
        header: the header of the release.
        tally: the counts of the folder's contents.
        notes: limits, licences and cost of the release.
        path_of: the pattern of a split's files (images or shards), with `{split}` in place of the split's name.
        features: the columns in the form that `datasets` writes, if the files do not state the column types.
    """
    is_image_folder = path_of.startswith("images/")
    data_files = [
        {"split": hub_name(split), "path": path_of.format(split=split)}
        for split in header.splits
        if tally.images_by_split[split]
    ]
    front_matter = {
        "pretty_name": header.title,
        "task_categories": ["object-detection"],
        "configs": [
            {"config_name": "default", "data_files": data_files} | ({"drop_labels": True} if is_image_folder else {})
        ],
        **({"dataset_info": {"features": list(features)}} if features else {}),
    }
    text = render(
        "card.md.j2",
        header=header,
        tally=tally,
        is_image_folder=is_image_folder,
        notes=notes,
        forbidding=forbidding(notes.licences),
        front_matter=yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True),
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def add_card(to: Destination, tally: ReleaseTally, *, path_of: str, features: Sequence[dict[str, Any]] = ()) -> None:
    """Write the card of an export whose images are in shards.

    Raises:
        DataMinerError: the release's manifest or table of videos is damaged.
    """
    release = read_manifest(to.release) or {}
    notes = CardNotes(release.get("limits", ()), licences_of(read_videos(to.release)), effort_rows(release))
    write_card(to.folder, to.header, tally, notes, path_of=path_of, features=features)
