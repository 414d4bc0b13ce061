"""A verifier removes most of the boxes with a wrong class and hardly any with the right one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.records import PictureFile, RgbImage
from data_miner_dagster.domain.verdicts import FramePlace
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.labelling import Labelling, VerdictsByFrame
from data_miner_dagster.operations.verification.verify_boxes import BoxVerification, FrameBoxes
from data_miner_dagster_tests.support.chat_server import KEY, answer_text, chat_server

CLASSES = ("dog", "cat")
# 30 % of the boxes have a wrong class, and 2 % of the answers are wrong
NUM_BOXES, NUM_PLANTED, NUM_WRONG_ANSWERS = 50, 15, 1
SIDE, COLUMNS = 32, 10
FRAME_WH = (COLUMNS * SIDE, NUM_BOXES // COLUMNS * SIDE)


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the unique colour of an object. Dogs have even numbers and little red, cats have much red."""
    step = number // 2
    return (40, 230)[number % 2], 48 * (step % 5), 48 * (step // 5)


@dataclass
class Eyes:
    """An answerer that recognises objects by colour and gives the wrong answer about those in `wrong`."""

    wrong: frozenset[int] = frozenset()

    def __call__(self, rgb: RgbImage, prompt: str) -> str:
        colours = np.array([colour_of(number) for number in range(NUM_BOXES)])
        seen = rgb.reshape(-1, 3).mean(axis=0)
        number = int(np.abs(colours - seen).sum(axis=1).argmin())
        is_right = f"picture: {CLASSES[number % 2]}?" in prompt
        return answer_text("confirmed" if is_right != (number in self.wrong) else "rejected")


def picture(folder: Path) -> tuple[PictureFile, str]:
    image = np.zeros((FRAME_WH[1], FRAME_WH[0], 3), np.uint8)
    for number in range(NUM_BOXES):
        left, top = number % COLUMNS * SIDE, number // COLUMNS * SIDE
        image[top : top + SIDE, left : left + SIDE] = colour_of(number)
    content = bytes(simplejpeg.encode_jpeg(image, 95, "RGB", "444"))
    (folder / "frame.jpg").write_bytes(content)
    return PictureFile(folder / "frame.jpg", is_foreign=False), sha256(content).hexdigest()


def rows_with(wrong: frozenset[int]) -> list[dict[str, Any]]:
    rows = []
    for number in range(NUM_BOXES):
        left, top = float(number % COLUMNS * SIDE), float(number // COLUMNS * SIDE)
        name = CLASSES[(number + (number in wrong)) % 2]
        corners = {"x_min": left, "y_min": top, "x_max": left + SIDE, "y_max": top + SIDE}
        told = {"confidence": 0.8, "prompt": name, "detector": "planted", "num_agreeing_detectors": 1}
        rows.append({"class_name": name, **corners, **told})
    return rows


def right_and_all(config: ProjectConfig, rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Return the number of released boxes with the right class, and the number of all released boxes."""
    released = Labelling(config, VerdictsByFrame([])).label(FramePlace("files-a", 0.0), FRAME_WH, rows).boxes
    numbers = [int(box.box_xyxy[1]) // SIDE * COLUMNS + int(box.box_xyxy[0]) // SIDE for box in released]
    pairs = zip(numbers, released, strict=True)
    return sum(CLASSES[number % 2] == box.class_name for number, box in pairs), len(released)


def test_verification__precision_rises_and_recall_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYES_KEY", KEY)
    file, digest = picture(tmp_path)
    figures = []
    with chat_server(eyes := Eyes()) as chat:
        for seed in range(20):
            draw = random.Random(seed)
            planted = frozenset(draw.sample(range(NUM_BOXES), NUM_PLANTED))
            eyes.wrong = frozenset(draw.sample(range(NUM_BOXES), NUM_WRONG_ANSWERS))
            endpoint = {"url": chat.url, "model": f"eyes-{seed}", "api_key": "env:EYES_KEY"}
            settings = {
                "downloading": {"allowed_private_hosts": ["127.0.0.1"]},
                "models": {"profile": "lite", "endpoints": {"eyes": endpoint}},
            }
            config = ProjectConfig.model_validate(
                {
                    "name": "pets",
                    "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
                    "filtering": {"positive": ["a pet"]},
                    "detection": {
                        "classes": {name: [] for name in CLASSES},
                        "verifier": {"model": "eyes", "margin": 0},
                    },
                }
            )
            rows = rows_with(planted)
            num_right, num_boxes = right_and_all(config, rows)
            assert (num_right / num_boxes, num_boxes) == (0.7, NUM_BOXES)
            verification = BoxVerification(
                Platform(PlatformConfig.model_validate(settings), tmp_path), "pets", config.detection
            )
            frames = [FrameBoxes("files-a/000000", "files-a", file, digest, FRAME_WH, rows)]
            verification.ask([frames])
            verification.complete(frames)
            num_kept, num_released = right_and_all(config, rows)
            figures.append((num_kept / num_released, (num_right - num_kept) / num_right))
        assert len(chat.bodies) == 20 * NUM_BOXES
    assert min(precision for precision, _ in figures) >= 0.95
    assert max(recall_loss for _, recall_loss in figures) <= 0.03
    assert {loss for _, loss in figures} == {0.0, 1 / 35}, "some wrong answers are about right boxes, some are not"
