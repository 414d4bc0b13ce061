"""Test masks as the page for boxes requests them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project
from data_miner_dagster_tests.web.review.serving import ReviewSite, served

RING = np.zeros((48, 64), bool)
RING[12:24, 16:32] = True
RING[15:18, 20:24] = False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewSite]:
    """Serve two projects with two boxes each on one frame. Only the first box of `cyclists` has a mask."""
    root = tmp_path_factory.mktemp("root")
    boxes = [("bicycle", 0.9, (16.0, 12.0, 32.0, 24.0)), ("person", 0.8, (1.0, 1.0, 9.0, 9.0))]
    for name in ("plain", "cyclists"):
        platform = build_project(root, name=name, videos=[SampleVideo("files-aaa", 2, boxes={0: boxes})])
    table = platform.layout.detections_table("cyclists")
    change_rows(table, lambda rows: rows[0].update(mask=Mask.of(RING).as_coco()))
    with served(platform) as site:
        yield site


def masks_of(site: ReviewSite, project: str, frame_index: int) -> Any:
    return site.ask(f"/api/projects/{project}/masks/files-aaa/{frame_index}", cookie=site.cookie()).json["masks"]


def test_masks__the_box_and_the_outline_with_its_hole(site: ReviewSite) -> None:
    (mask,) = masks_of(site, "cyclists", 0)
    assert (mask["class_name"], mask["box"]) == ("bicycle", [0.25, 0.25, 0.5, 0.5])
    rings = [{tuple(map(int, point.split())) for point in ring.split("L")} for ring in mask["path"][1:-1].split("ZM")]
    outer, hole = {(16, 12), (32, 12), (32, 24), (16, 24)}, {(20, 15), (24, 15), (24, 18), (20, 18)}
    assert sorted(rings, key=len) == [outer, hole] or sorted(rings, key=len) == [hole, outer]


def test_masks__none(site: ReviewSite) -> None:
    assert masks_of(site, "cyclists", 1) == []
    assert masks_of(site, "plain", 0) == []


def test_masks__only_to_people_who_have_logged_in(site: ReviewSite) -> None:
    assert site.ask("/api/projects/cyclists/masks/files-aaa/0").status == 401
    assert site.ask("/api/projects/nobody/masks/files-aaa/0", cookie=site.cookie()).status == 400


def test_queue__only_a_page_of_a_project_with_masks_asks_for_them(site: ReviewSite) -> None:
    pages = {name: site.ask(f"/projects/{name}/queues/random", cookie=site.cookie()) for name in ("plain", "cyclists")}
    assert {name: "data-masks" in page.text for name, page in pages.items()} == {"plain": False, "cyclists": True}
