"""The example of docs/python.md runs as it stands, on the real lite models."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.models
def test_python_page__example_goes_from_pictures_to_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures").mkdir()
    coffee = data.coffee()
    pictures = {"again": np.clip(coffee.astype(np.int16) + 3, 0, 255), "coffee": coffee}
    pictures["wall"] = np.stack([data.brick()] * 3, axis=-1)
    for name, picture in pictures.items():
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "pictures" / f"{name}.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 4

    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks), str(PAGE), "exec"), names)

    assert [names["paths"][row].stem for row in names["kept"]] == ["again", "coffee"]
    assert [names["paths"][row].stem for row in names["unique"]] == ["again"]
    coco = names["read_coco"](tmp_path / "dataset" / "annotations" / "instances_train.json")
    (image,) = coco.dataset["images"]
    assert (image["file_name"], image["width"], image["height"]) == ("train/again.jpg", 600, 400)
    assert [coco.cats[entry["category_id"]]["name"] for entry in coco.dataset["annotations"]] == ["cup"]
