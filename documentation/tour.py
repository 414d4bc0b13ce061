"""Take the screenshots of docs/tour.md: `python -m documentation.tour LOGIN_LINK [WEB [NAME ...]]`.

LOGIN_LINK is the link that `data-miner up` prints for the review pages, on the root of `data-miner demo`. Needs
Chromium. Belongs here: the pages to capture, and the size of the files. Does not belong here: their description
(docs/tour.md).
"""

import io
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
VIEWPORT: Final = (1280, 800)
NUM_COLOURS: Final = 128
"""The number of colours in a screenshot: enough for text with small photographs, at a third of the bytes."""
SETTLING_MILLISECONDS: Final = 4000
"""The time that Dagster's pages take to finish drawing and animating after they have loaded, in milliseconds."""
WEB: Final[dict[str, tuple[str, str]]] = {
    "asset-graph": ("/assets/detections?view=lineage&lineageScope=neighbors&lineageDepth=1", "text=Latest event"),
    "filtered-frames": ("/assets/filtered_frames?view=partitions&partition=demo", "text=/historical events .[1-9]/"),
    "release": ("/assets/dataset?view=partitions&partition=demo", "text=/historical events .[1-9]/"),
    "checks": ("/assets/dataset?view=checks", "text=release_is_whole"),
    "automation": ("/automation", "text=wanted_work"),
}
"""Dagster's pages by the name of their screenshot: the address, and a locator of an element that is drawn last."""
REVIEW: Final[dict[str, tuple[str, str]]] = {
    "review-project": ("/projects/demo", "text=Where answers help most"),
    "review-boxes": ("/projects/demo/queues/unsure", "canvas, svg"),
    "review-groups": ("/projects/demo/queues/duplicates", "img"),
    "review-calibration": ("/projects/demo/queues/calibration", "img"),
    "review-gallery": ("/projects/demo/gallery?class=person", "img"),
    "report": ("/report/demo/", "text=From videos to boxes"),
}
"""The review pages and the report, in the form of `WEB`."""


def take_all(web: str, login_link: str, folder: Path, names: Collection[str] = ()) -> None:
    """Take all screenshots, or only the named ones.

    Args:
        web: the address of Dagster's web server.
        login_link: the link that logs this browser in to the review pages. It works once.
        folder: the folder for the files.
        names: the names of the files to write, without their extension. If it is empty, all are written.
    """
    review = "{0.scheme}://{0.netloc}".format(urlsplit(login_link))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        width, height = VIEWPORT
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.goto(login_link)
        page.wait_for_url(f"{review}/projects/**")
        for base, pages in ((review, REVIEW), (web, WEB)):
            for name, (address, sign) in pages.items():
                if names and name not in names:
                    continue
                (folder / f"{name}.png").write_bytes(_taken(page, base + address, sign))
        browser.close()


def _taken(page: Page, address: str, sign: str) -> bytes:
    """Return the screenshot of one page as PNG with few colours."""
    page.goto(address)
    page.locator(sign).first.wait_for(timeout=120_000)
    page.wait_for_timeout(SETTLING_MILLISECONDS)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").quantize(NUM_COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    link, address, *chosen = [*sys.argv[1:], "http://127.0.0.1:3000"][: max(2, len(sys.argv) - 1)]
    take_all(address, link, IMAGES, chosen)
