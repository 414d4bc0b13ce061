"""`README.md`: the dataset card, whose header tells Hugging Face's `datasets` which images belong to which split.

Source: https://huggingface.co/docs/hub/datasets-manual-configuration.
"""

from pathlib import Path
from typing import Final

import yaml

from data_miner_dagster.export.records import ReleaseHeader, ReleaseTally
from data_miner_dagster.export.templating import render

CARD_FILE: Final = "README.md"
_HUB_NAMES: Final = {"val": "validation"}


def write_card(folder: Path, header: ReleaseHeader, tally: ReleaseTally) -> None:
    """Write the card; splits without images are left out, as `datasets` refuses them."""
    data_files = [
        {"split": _HUB_NAMES.get(split, split), "path": f"images/{split}/**"}
        for split in header.splits
        if tally.images_by_split[split]
    ]
    front_matter = {
        "pretty_name": header.title,
        "task_categories": ["object-detection"],
        "configs": [{"config_name": "default", "data_files": data_files, "drop_labels": True}],
    }
    text = render(
        "card.md.j2",
        header=header,
        tally=tally,
        front_matter=yaml.safe_dump(front_matter, sort_keys=False, allow_unicode=True),
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
