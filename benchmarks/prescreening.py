"""Measure accepted frames per download, with and without pre-screening, on the same candidates.

    python -m benchmarks.prescreening                  # about 35 candidates
    python -m benchmarks.prescreening --quick          # a third of them, to check that it works
    python -m benchmarks.prescreening --json

Real models (profile `lite`) through the real operations: sourcing, downloading, extraction, embedding, filtering. The
candidates are pieces of the sample clips and pans over still pictures that installed packages ship, two seconds each.
A playlist lists them with thumbnails, and they are served over loopback; their pages name a storyboard of nine frames.
The project asks for street scenes, which about one candidate in four shows. A thumbnail is a frame of the video, while
real ones are chosen to attract viewers. `by_slack` shows the result that other values of `slack` would have had with
the same similarities of thumbnails.

The comparison is made twice. In `one_scene`, each candidate is one piece, which its thumbnail represents throughout. In
`three_scenes`, each candidate is three pieces in sequence, and its thumbnail shows only the first.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from benchmarks.lite_quality import labelled_images
from benchmarks.same_video import ORIGINAL, encode, pictures_of
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import PrescreeningRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.records import OutcomeStatus, RgbImage
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites.extractors import install_everywhere, offer_list, offer_page
from data_miner_dagster_tests.sites.hostile_server import HostileServer, hostile_server, whole_file

PROJECT: Final = "street"
PROMPTS: Final = ("a street with traffic", "a car", "a bicycle")
SECONDS: Final = 2
PAN_RATE: Final = 10
THUMBNAIL_WIDTH: Final = 320
SIZE_WH: Final = (480, 270)
BOARD_SIDE: Final = 3
TILE_WH: Final = (160, 90)  # the size of tiles in YouTube's largest storyboards
HURRY: Final = {"min_sleep_seconds": 0, "max_sleep_seconds": 0, "hourly_budget": None, "daily_budget": None}
WAYS: Final[Mapping[str, Mapping[str, object]]] = {
    "without": {},
    "with": {"enabled": True},
    "with_storyboards": {"enabled": True, "storyboards": True},
}
SLACKS: Final = (0.0, 0.02, 0.05, 0.1, 0.15)


Piece = tuple[str, Sequence[RgbImage], int]
"""The name, the frames and the frame rate of a scene."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A video as its site offers it: the file, and its pictures as JPEG."""

    name: str
    video: bytes
    thumbnail: bytes
    storyboard: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one project."""

    num_downloads: int
    num_frames: int
    accepted_by_video: Mapping[str, int]
    similarity_by_video: Mapping[str, float]
    threshold: float

    @property
    def num_accepted(self) -> int:
        """The number of frames that passed the filter."""
        return sum(self.accepted_by_video.values())


def _pan(image: RgbImage) -> list[RgbImage]:
    """Return two seconds of video of a window that moves over a picture."""
    scale = 640 / image.shape[1]
    resized = np.asarray(cv2.resize(image, (640, round(image.shape[0] * scale))), np.uint8)
    height, width = (side * 9 // 10 // 2 * 2 for side in resized.shape[:2])
    steps = SECONDS * PAN_RATE
    frames = []
    for number in range(steps):
        top = (resized.shape[0] - height) * number // steps
        left = (resized.shape[1] - width) * number // steps
        frames.append(resized[top : top + height, left : left + width])
    return frames


def pieces() -> list[Piece]:
    """Return a piece for each scene."""
    clips: list[Piece] = []
    for name, path in sorted(fetch_samples().items()):
        if "distorted" in name:
            continue
        frames, rate = pictures_of(path)
        size = SECONDS * rate
        clips += [
            (f"{path.stem}_{start // size}", frames[start : start + size], rate)
            for start in range(0, len(frames) - size + 1, size)
        ]
    stills = {name: image for name, image in labelled_images().items() if "@" not in name}
    return clips + [(Path(name).stem, _pan(image), PAN_RATE) for name, image in stills.items()]


def in_threes(clips: Sequence[Piece]) -> list[Piece]:
    """Return an equal number of videos with three scenes each. Every scene comes first, second and third once."""
    order = np.random.default_rng(0).permutation(len(clips))
    mixed: list[Piece] = []
    for number in range(len(order)):
        chosen = [clips[order[(number + step) % len(order)]] for step in range(3)]
        frames = [
            np.asarray(cv2.resize(picture, SIZE_WH, interpolation=cv2.INTER_AREA), np.uint8)
            for _, pictures, rate in chosen
            for picture in pictures[:: max(1, round(rate / PAN_RATE))][: SECONDS * PAN_RATE]
        ]
        mixed.append((f"{chosen[0][0]}_and_more", frames, PAN_RATE))
    return mixed


def candidates(folder: Path, clips: Sequence[Piece]) -> list[Candidate]:
    """Return a candidate for each clip. Its thumbnail is the frame one second after the start."""
    made = []
    for name, pictures, rate in clips:
        video = encode(folder / "candidate.mp4", pictures, rate, ORIGINAL).read_bytes()
        spread = [pictures[len(pictures) * number // BOARD_SIDE**2] for number in range(BOARD_SIDE**2)]
        tiles = [cv2.resize(picture, TILE_WH, interpolation=cv2.INTER_AREA) for picture in spread]
        rows = [np.hstack(tiles[start : start + BOARD_SIDE]) for start in range(0, BOARD_SIDE**2, BOARD_SIDE)]
        thumbnail = Image.fromarray(pictures[min(rate, len(pictures) - 1)])
        thumbnail.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
        made.append(Candidate(name, video, _jpeg(thumbnail), _jpeg(Image.fromarray(np.vstack(rows)))))
    return made


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def serve(server: HostileServer, made: Sequence[Candidate]) -> str:
    """Serve the candidates and return the address of the playlist that lists them."""
    shown = {}
    for number, candidate in enumerate(made):
        video = server.add(f"/{number}.mp4", whole_file(candidate.video))
        thumbnail = server.add(f"/{number}.jpg", whole_file(candidate.thumbnail, "image/jpeg"))
        board = server.add(f"/{number}_board.jpg", whole_file(candidate.storyboard, "image/jpeg"))
        storyboard = {
            "format_id": "sb0",
            "format_note": "storyboard",
            "ext": "mhtml",
            "protocol": "mhtml",
            "vcodec": "none",
            "acodec": "none",
            "rows": BOARD_SIDE,
            "columns": BOARD_SIDE,
            "url": board,
            "fragments": [{"url": board}],
        }
        described = {"title": candidate.name, "thumbnail": thumbnail}
        offer_page(
            server, f"v{number}", **described, formats=[{"format_id": "v", "url": video, "ext": "mp4"}, storyboard]
        )
        shown[f"v{number}"] = described
    return offer_list(server, "candidates", shown)


def mine(root: Path, playlist: str, prescreening: Mapping[str, object]) -> Outcome:
    """Take a project from its sources to its filtered frames."""
    config = PlatformConfig.model_validate(
        {
            "downloading": {"allowed_private_hosts": ["127.0.0.1", "localhost"], "politeness": HURRY},
            "models": {"profile": "lite"},
        }
    )
    platform = Platform(config, root)
    project = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {
                "sources": [{"type": "playlists", "urls": [playlist]}],
                "prescreening": dict(prescreening),
            },
            "filtering": {"positive": list(PROMPTS)},
            "detection": {"classes": {"car": []}},
        }
    )
    save_snapshot(platform.database, PROJECT, project.model_dump(mode="json"), "hash", None)
    list_sources(platform, PROJECT)
    keys = sorted(
        member.video_key
        for member in find_members(platform.database, PROJECT)
        if member.status is not ProjectVideoStatus.REJECTED
    )
    downloads = download_videos(platform, keys)
    extract_frames(platform, keys)
    embed_frames(platform, keys)
    filter_project(platform, PROJECT)
    videos = find_videos(platform.database, keys)
    accepted = {m.video_key: m.num_passed_frames or 0 for m in find_members(platform.database, PROJECT)}
    with platform.database.reading() as session:
        scores = {row.video_key: row.similarity for row in session.scalars(select(PrescreeningRow))}
    threshold = platform.models.filter_encoder.calibration.positive_threshold
    platform.database.dispose()
    num_downloads = sum(outcome.status is OutcomeStatus.DONE for outcome in downloads)
    return Outcome(num_downloads, sum(video.num_frames or 0 for video in videos), accepted, scores, threshold)


def _figures(num_downloads: int, num_accepted: int, of_all: int) -> dict[str, float]:
    return {
        "downloads": num_downloads,
        "accepted_frames": num_accepted,
        "accepted_frames_per_download": round(num_accepted / max(1, num_downloads), 2),
        "share_of_accepted_frames_kept": round(num_accepted / max(1, of_all), 3),
    }


def compare(clips: Sequence[Piece]) -> dict[str, Any]:
    """Return the figures with and without pre-screening on the same candidates, and for other values of `slack`."""
    with (
        tempfile.TemporaryDirectory(prefix="data_miner_benchmark_") as work,
        hostile_server() as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        install_everywhere(patch)
        made = candidates(Path(work), clips)
        playlist = serve(server, made)
        found = {way: mine(Path(work) / way, playlist, prescreening) for way, prescreening in WAYS.items()}
    plain, screened = found["without"], found["with"]
    by_slack = {}
    for slack in SLACKS:
        passing = {key for key, score in screened.similarity_by_video.items() if score >= screened.threshold - slack}
        kept = sum(plain.accepted_by_video[key] for key in passing)
        by_slack[str(slack)] = _figures(len(passing), kept, plain.num_accepted)
    return {
        "candidates": len(plain.accepted_by_video),
        "candidates_with_accepted_frames": sum(count > 0 for count in plain.accepted_by_video.values()),
        **{way: _figures(made.num_downloads, made.num_accepted, plain.num_accepted) for way, made in found.items()},
        "by_slack": by_slack,
    }


def measure(*, is_quick: bool) -> dict[str, Any]:
    """Return the comparison for candidates of one scene and of three."""
    fetch_profile("lite")
    clips = pieces()[:: 3 if is_quick else 1]
    found = {"one_scene": compare(clips), "three_scenes": compare(in_threes(clips))}
    flat = {
        f"{kind}_{way}_{name}": value
        for kind, figures in found.items()
        for way in WAYS
        for name, value in figures[way].items()
    }
    return {"benchmark": "prescreening", **flat, **found}


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(is_quick=arguments.quick)
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(f"{k:45} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
