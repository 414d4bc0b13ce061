"""Tests that tell drawn slides and a printed page from photographs."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from data_miner_dagster.media.quality import measure, reduced
from data_miner_dagster.media.slides import measure_slide

LINES = ("The first point of three", "another one, a little longer than it", "and what follows from both")
PHOTOS = {"astronaut": data.astronaut(), "cat": data.chelsea(), "coffee": data.coffee(), "rocket": data.rocket()}


def slide(background: int, ink: int, *, photo: np.ndarray | None = None) -> np.ndarray:
    image = Image.new("L", (1280, 720), background)
    draw = ImageDraw.Draw(image)
    draw.text((80, 50), "Results of the trial", fill=ink, font=ImageFont.load_default(64))
    for number, line in enumerate(LINES):
        draw.text((100, 190 + 66 * number), line, fill=ink, font=ImageFont.load_default(44))
    if photo is not None:
        image.paste(Image.fromarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)).resize((400, 300)), (800, 400))
    _, coded = cv2.imencode(".jpg", np.asarray(image), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))


def test_measure_slide__nothing_on_it() -> None:
    measures = measure_slide(np.full((360, 640), 90, np.uint8))
    assert (measures.text_share, measures.plain_share) == (0.0, 1.0)


@pytest.mark.parametrize(("background", "ink"), [(255, 20), (20, 240), (70, 230)])
def test_measure_slide__slides(background: int, ink: int) -> None:
    measures = measure_slide(reduced(slide(background, ink)))
    # Drawn text covers about a twelfth of the slide: four lines whose letter boxes are 44 to 64 pixels high.
    assert 0.05 < measures.text_share < 0.2
    assert measures.plain_share > 0.85


def test_measure_slide__slide_with_a_photo() -> None:
    measures = measure_slide(reduced(slide(255, 20, photo=PHOTOS["cat"])))
    assert measures.text_share > 0.05
    assert measures.plain_share > 0.6


def test_measure_slide__upside_down_is_the_same() -> None:
    luma = reduced(slide(255, 20))
    assert measure_slide(luma[::-1].copy()).text_share == pytest.approx(measure_slide(luma).text_share, rel=0.05)


def test_measure_slide__a_printed_page_is_text_and_not_plain() -> None:
    measures = measure_slide(data.page())
    assert measures.text_share > 0.2
    assert measures.plain_share < 0.5


@pytest.mark.parametrize("name", PHOTOS)
def test_measure_slide__photographs_have_no_text(name: str) -> None:
    assert measure_slide(reduced(cv2.cvtColor(PHOTOS[name], cv2.COLOR_RGB2GRAY))).text_share < 0.02


def test_measure__text_is_measured_on_demand() -> None:
    luma = slide(255, 20)
    assert measure(luma).slide is None
    assert measure(luma, looks_for_text=True).slide == measure_slide(reduced(luma))
