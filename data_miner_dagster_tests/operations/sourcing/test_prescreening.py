"""Test pre-screening with an encoder that sees colours: red pictures resemble the prompt "red"."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select

from data_miner_dagster.catalog.schema import PrescreeningRow, utc_now
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration, VideoCandidate
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.prescreening import prescreen, threshold_of
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.models import PlantedModels


class ColourEncoder:
    """An encoder that embeds an image as its mean colour. The prompts are the names of three colours."""

    name = "colours"
    fingerprint = "colours-1"
    embedding_dim = 3
    input_side = 8
    calibration = SimilarityCalibration(positive_threshold=0.9, duplicate_threshold=0.9)

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return np.asarray(image.reshape(-1, 3).mean(axis=0), np.float32)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        return np.asarray(batch / np.linalg.norm(batch, axis=1, keepdims=True), np.float32)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        return np.stack([np.eye(3, dtype=np.float32)[["red", "green", "blue"].index(prompt)] for prompt in prompts])


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return make_platform(tmp_path / "root", models=PlantedModels(ColourEncoder()))


def picture(rgb: tuple[int, int, int]) -> bytes:
    image = np.full((16, 16, 3), rgb[::-1], np.uint8)  # OpenCV expects BGR
    return bytes(cv2.imencode(".png", image)[1])


def candidate(name: str, thumbnail_url: str | None) -> VideoCandidate:
    url = f"http://127.0.0.1/{name}.mp4"
    return VideoCandidate(f"generic-{name}", url, "urls", "q", 0, utc_now(), thumbnail_url=thumbnail_url)


def test_prescreen__none(platform: Platform) -> None:
    add_project(platform, [{"type": "urls", "urls": ["http://127.0.0.1/x.mp4"]}], filtering={"positive": ["red"]})
    with SiteWorkers(platform.config.downloading) as client:
        assert prescreen(platform, client, "p", platform.project_config("p"), []) == {}


def test_prescreen__rejects_what_resembles_no_prompt_and_stores_every_score(
    platform: Platform, server: HostileServer
) -> None:
    add_project(
        platform,
        [{"type": "urls", "urls": ["http://127.0.0.1/x.mp4"]}],
        filtering={"positive": ["red", "green"]},
        prescreening={"enabled": True},
    )
    config = platform.project_config("p")
    assert threshold_of(platform, config) == pytest.approx(0.85)  # the encoder's threshold minus the slack
    candidates = [
        candidate("red", server.add("/red.png", hostile.whole_file(picture((200, 0, 0)), "image/png"))),
        candidate("blue", server.add("/blue.png", hostile.whole_file(picture((0, 60, 80)), "image/png"))),
        candidate("gone", server.url("/gone.png")),
        candidate("broken", server.add("/broken.png", hostile.page("<html></html>"))),
        candidate("bare", None),
    ]
    with SiteWorkers(platform.config.downloading) as client:
        rejections = prescreen(platform, client, "p", config, candidates)
        assert rejections.keys() == {"generic-blue"}  # a candidate without a readable picture is not rejected
        message = "the candidate's best picture has a similarity of 0.600 to 'green', below 0.850"
        assert rejections["generic-blue"].message == message
        with platform.database.reading() as session:
            rows = {row.video_key: row for row in session.scalars(select(PrescreeningRow))}
        assert {key: (row.prompt, round(row.similarity, 3)) for key, row in rows.items()} == {
            "generic-red": ("red", 1.0),
            "generic-blue": ("green", 0.6),
        }
        asked = server.count("/red.png")
        assert prescreen(platform, client, "p", config, candidates).keys() == {"generic-blue"}
        assert server.count("/red.png") == asked  # it is scored only once


def test_prescreen__storyboards_show_what_a_thumbnail_does_not(
    platform: Platform, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of ten storyboards has two by two pictures, and what the prompt describes appears late in the video."""
    blue = server.add("/blue.png", hostile.whole_file(picture((0, 0, 200)), "image/png"))
    colours = [*[(0, 0, 200)] * 7, *[(200, 0, 0)] * 3]
    fragments = [
        {"url": server.add(f"/board{number}.png", hostile.whole_file(picture(colour), "image/png"))}
        for number, colour in enumerate(colours)
    ]
    small = [{"url": server.url("/small.png")}]

    shared: dict[str, Any] = {
        "ext": "mhtml",
        "vcodec": "none",
        "acodec": "none",
        "protocol": "mhtml",
        "rows": 2,
        "columns": 2,
        "format_note": "storyboard",
    }
    formats = [
        {**shared, "format_id": "sb1", "url": small[0]["url"], "width": 8, "fragments": small},
        {**shared, "format_id": "sb0", "url": fragments[0]["url"], "width": 16, "fragments": fragments},
    ]
    said = {"title": "a", "thumbnail": blue, "formats": formats}
    page = server.add("/watch/a", hostile.page(json.dumps(said), "application/json"))
    install_everywhere(monkeypatch)
    video = VideoCandidate("board-a", page, "urls", "q", 0, utc_now(), thumbnail_url=blue)
    for storyboards, is_rejected in ((False, True), (True, False)):
        name = add_project(
            platform,
            [{"type": "urls", "urls": ["http://127.0.0.1/x.mp4"]}],
            name=f"p{storyboards}".lower(),
            filtering={"positive": ["red"]},
            prescreening={"enabled": True, "storyboards": storyboards},
        )
        asked: list[str] = []
        with SiteWorkers(platform.config.downloading, before_listing=asked.append) as client:
            rejections = prescreen(platform, client, name, platform.project_config(name), [video])
        assert bool(rejections) is is_rejected
        assert asked == ["board"] * storyboards  # reading a page waits as a listing does
    with platform.database.reading() as session:
        counts = {row.project_name: row.num_pictures for row in session.scalars(select(PrescreeningRow))}
    assert counts == {"pfalse": 1, "ptrue": 4}  # only the thumbnail, or also one picture from each of three storyboards
    assert [server.count(f"/board{number}.png") for number in range(10)] == [0, 0, 1, 0, 1, 0, 0, 1, 0, 0]
    assert server.count("/small.png") == 0


def test_threshold_of__one_per_encoder(platform: Platform) -> None:
    for name, thresholds in (("named", {"colours": 0.7, "other": 0.2}), ("of_another", {"other": 0.2})):
        add_project(
            platform,
            [{"type": "urls", "urls": ["http://127.0.0.1/a.mp4"]}],
            name=name,
            filtering={"positive": ["red"], "positive_threshold": thresholds},
            prescreening={"enabled": True},
        )
    assert threshold_of(platform, platform.project_config("named")) == pytest.approx(0.65)
    # the encoder's threshold minus the slack
    assert threshold_of(platform, platform.project_config("of_another")) == pytest.approx(0.85)
