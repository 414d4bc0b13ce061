"""Whether something has changed between two pictures of one fixed view."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage

from data_miner_dagster.models.provider import THUMBNAILS
from data_miner_dagster.stages.deduplication.views import Views

Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def yard() -> Picture:
    """Return a real picture of 640 x 360 pixels."""
    picture = cv2.imread(str(Path(skimage.__file__).parent / "data" / "motorcycle_left.png"))
    assert picture is not None
    return np.asarray(cv2.resize(picture, (640, 360), interpolation=cv2.INTER_AREA), np.uint8)


def boxed(picture: Picture, left: int, top: int, side: int, level: int = 250) -> Picture:
    """Return the picture with a plain square drawn on it."""
    changed = picture.copy()
    changed[top : top + side, left : left + side] = level
    return changed


def moved(picture: Picture, columns: int) -> Picture:
    """Return the view after the camera has turned by this many columns."""
    return np.concatenate([picture[:, columns:], picture[:, -columns:][:, ::-1]], axis=1)


def zoomed(picture: Picture) -> Picture:
    """Return the view after the camera has zoomed in by 6 %."""
    return np.asarray(cv2.resize(picture[11:-11, 19:-19], (640, 360), interpolation=cv2.INTER_AREA), np.uint8)


def darker(picture: Picture) -> Picture:
    """Return the picture with a third less light and the shadow of a cloud from the left."""
    cloud = np.linspace(0.75, 1.0, picture.shape[1])[None, :, None]
    return np.asarray(picture * 0.67 * cloud + 8, np.uint8)


def noisy(picture: Picture) -> Picture:
    """Return the picture with sensor noise, after compression to a low-quality JPEG."""
    noise = np.random.default_rng(0).normal(0, 4, picture.shape)
    content = cv2.imencode(".jpg", np.clip(picture + noise, 0, 255), [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def is_changed(one: Picture, other: Picture, *, across_videos: bool = False) -> bool:
    """Return whether two pictures count as changed, and ensure that their order does not matter."""
    maker = THUMBNAILS.load()
    views = Views(np.stack([maker.preprocess(one), maker.preprocess(other)]), np.array([0, int(across_videos)]))
    forth, back = views.are_changed(np.array([0]), np.array([1])), views.are_changed(np.array([1]), np.array([0]))
    assert forth.tolist() == back.tolist()
    return bool(forth[0])


@pytest.mark.parametrize("change", [darker, noisy, lambda picture: picture, lambda picture: darker(noisy(picture))])
def test_are_changed__light_and_codecs_change_nothing(yard: Picture, change: Callable[[Picture], Picture]) -> None:
    assert not is_changed(yard, change(yard))


@pytest.mark.parametrize("side", [32, 64, 160])
@pytest.mark.parametrize("left", [40, 300, 470])
def test_are_changed__an_object_came(yard: Picture, side: int, left: int) -> None:
    assert is_changed(yard, noisy(darker(boxed(yard, left, 120, side))))


def test_are_changed__an_object_of_another_colour_alone(yard: Picture) -> None:
    # Red instead of green, with equal luma. The channels are blue, green, red.
    green, red = yard.copy(), yard.copy()
    green[100:180, 300:380] = (60, 130, 60)
    red[100:180, 300:380] = (60, 72, 174)
    assert is_changed(green, red)


@pytest.mark.parametrize("change", [lambda picture: moved(picture, 25), zoomed, lambda picture: picture[:, ::-1]])
def test_are_changed__a_camera_that_moved_is_not_compared(yard: Picture, change: Callable[[Picture], Picture]) -> None:
    assert not is_changed(yard, change(boxed(yard, 300, 120, 64)))


def test_are_changed__nothing_to_align_by() -> None:
    wall = np.full((360, 640, 3), 120, np.uint8)
    assert not is_changed(wall, boxed(wall, 300, 120, 64))


def test_are_changed__logos_of_another_video_do_not_count(yard: Picture) -> None:
    badge, caption, middle = boxed(yard, 540, 15, 80), yard.copy(), boxed(yard, 300, 150, 64)
    caption[325:] = (90, 30, 20)
    assert [is_changed(yard, each) for each in (badge, caption, middle)] == [True, True, True]
    assert [is_changed(yard, each, across_videos=True) for each in (badge, caption, middle)] == [False, False, True]


def test_are_changed__any_company_gives_the_same(yard: Picture) -> None:
    maker = THUMBNAILS.load()
    pictures = [yard, darker(yard), boxed(yard, 300, 120, 32), boxed(yard, 40, 200, 25, 140), moved(yard, 5)]
    views = Views(np.stack([maker.preprocess(each) for each in pictures * 60]), np.arange(300) // 150)
    rows, others = np.triu_indices(300, 1)
    chosen = np.random.default_rng(0).permutation(len(rows))[:700]
    together = views.are_changed(rows[chosen], others[chosen])
    alone = [
        bool(views.are_changed(rows[[pair]], others[[pair]])[0])
        for pair in chosen[::20]  # a sample, because each pair is a separate call
    ]
    assert together[::20].tolist() == alone


def test_are_changed__empty() -> None:
    views = Views(np.zeros((0, 3456), np.uint8), np.zeros(0, np.int64))
    assert views.are_changed(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []
