"""Detectors through Ultralytics: YOLO11, YOLO26, YOLO-World, YOLOE, and any `.onnx` file in its layout.

An entry's source is one of the user's own files, such as `ultralytics:/models/yolo26n.onnx`. A `.pt` file is a pickle,
which can run any code when it is opened. It is opened only if the entry pins its sha256 (`options: {sha256: ...}`), and
then with Ultralytics' restricted loader. Export to `.onnx` if you can. The `.pt` files of YOLO-World and YOLOE, except
prompt-free ones, accept any phrase and need a text encoder in the option `text_model` (yolo_phrases.py). A segmentation
network returns masks if the entry's options contain `output: masks` (yolo_masks.py).

Ultralytics' software and weights are licensed under AGPL-3.0 or a licence bought from Ultralytics.
"""

import ast
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.models.batching import run_in_halves
from data_miner_dagster.models.boxes import MAX_BOXES, detections_from_candidates
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.models.detectors.phrase_detector import phrases_of
from data_miner_dagster.models.detectors.yolo_masks import mask_predictor
from data_miner_dagster.models.detectors.yolo_phrases import (
    PhraseSetter,
    is_yoloe,
    load_phrase_setter,
    takes_phrases,
)
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.onnx_sessions import NO_TELEMETRY
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.trusted_files import check_pinned
from data_miner_dagster.models.vocabulary import match_vocabulary

logger = logging.getLogger(__name__)

NMS_IOU: Final = 0.7
"""The IoU above which Ultralytics removes the less confident of two boxes. This is Ultralytics' own default."""

_ENVIRONMENT: Final[Mapping[str, str]] = {
    "YOLO_AUTOINSTALL": "False",  # do not install packages automatically
    "YOLO_OFFLINE": "True",  # send no usage statistics, and fetch no weights without a checksum
    "YOLO_VERBOSE": "False",
    "ULTRALYTICS_SAFE_LOAD": "True",  # torch.load(weights_only=True)
    **NO_TELEMETRY,  # Ultralytics opens `.onnx` files with ONNX Runtime
}


@dataclass(frozen=True, slots=True)
class FixedInput:
    """The batch size and the image size that an exported file requires. Each is None if the file accepts any."""

    num_images: int | None = None
    size_hw: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The phrases and the fixed input sizes of a network, and whether it returns masks.

    `phrases` is None if the network has fixed class names.
    """

    phrases: PhraseSetter | None = None
    fixed: FixedInput = FixedInput()
    gives_masks: bool = False


class UltralyticsDetector:
    """Implements ObjectDetector. Each image is letterboxed to the model's input size, independently of its batch."""

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        fingerprint: str,
        device: str,
        usage: Usage,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self._model = model
        self._phrases = usage.phrases
        self._fixed = usage.fixed
        self._gives_masks = usage.gives_masks

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Raises:
            ConfigError: a class matches none of the detector's names, two classes match the same name, or the detector
                cannot use a phrase or exemplar.
            ModelError: there is too little memory for a single image, or the text encoder does not fit the detector.
        """
        wanted = self._prepare(classes)

        def run(part: Sequence[RgbImage]) -> list[ImageDetections]:
            return self._detect_together(part, wanted, confidence_floor)

        step = self._fixed.num_images or max(1, len(images))
        found: list[ImageDetections] = []
        for start in range(0, len(images), step):
            found += run_in_halves(run, images[start : start + step], model=self.name)
        return found

    def _prepare(self, classes: Sequence[ClassPrompts]) -> Mapping[int, tuple[int, str]]:
        """Set the phrases if the network accepts any, and return {index of an output: (class index, phrase)}."""
        if self._phrases is None:
            return match_vocabulary(self._known_names(), classes, detector=self.name)
        phrases = phrases_of(classes)
        self._phrases.set_phrases(phrases)
        return {output: (phrase.class_index, phrase.prompt) for output, phrase in enumerate(phrases)}

    def _known_names(self) -> list[str]:
        names = self._model.names
        return [str(names[index]) for index in sorted(names)] if isinstance(names, dict) else [str(n) for n in names]

    def _detect_together(
        self, images: Sequence[RgbImage], wanted: Mapping[int, tuple[int, str]], confidence_floor: float
    ) -> list[ImageDetections]:
        results = self._predict(
            [np.ascontiguousarray(image[..., ::-1]) for image in images],  # Ultralytics expects arrays in BGR
            conf=max(confidence_floor, 1e-6),  # Ultralytics treats 0 as "not given"
            iou=NMS_IOU,
            max_det=MAX_BOXES,
            classes=sorted(wanted),
            rect=False,
            **({"imgsz": list(self._fixed.size_hw)} if self._fixed.size_hw else {}),
            **({"half": True} if self.device.startswith("cuda") else {}),
            device=self.device,
            verbose=False,
            save=False,
        )
        found = []
        for image, result in zip(images, results, strict=True):
            outputs = result.boxes.cls.cpu().numpy().astype(int).tolist()
            confidences = result.boxes.conf.cpu().numpy().astype(np.float32)
            rows = [row for row, output in enumerate(outputs) if output in wanted]
            rows = [row for row in rows if confidences[row] >= confidence_floor]
            found.append(
                detections_from_candidates(
                    result.boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4)[rows],
                    confidences[rows],
                    np.array([wanted[outputs[row]][0] for row in rows], np.int32),
                    [wanted[outputs[row]][1] for row in rows],
                    image_wh=(image.shape[1], image.shape[0]),
                    nms_iou=None,
                    masks=[result.object_masks[row] for row in rows].__getitem__ if self._gives_masks else None,
                )
            )
        return found

    def _predict(self, images: Sequence[RgbImage], **settings: Any) -> Any:
        if not self._gives_masks:
            return self._model.predict(images, **settings)
        from ultralytics.engine.model import Model

        # YOLOE's own `predict` accepts no predictor. Like that method, this suppresses boxes across classes.
        return Model.predict(
            self._model, images, predictor=mask_predictor(), agnostic_nms=is_yoloe(self._model.model), **settings
        )


def load(entry: ModelEntry, device: str) -> UltralyticsDetector:
    """Load an entry of architecture `ultralytics` from its file.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the file is missing, has an unsupported type or is not a checkpoint; a pickle is not pinned, does
            not match its pin or is refused by the restricted loader; the text encoder cannot be used; or the option
            `output` is invalid or requests masks from a network without masks.
    """
    path = entry.folder
    if not path.is_file():
        raise ModelError(f"model {entry.name}: there is no file {path}; correct its `source: ultralytics:<file>`")
    if path.suffix not in (".onnx", ".pt"):
        raise ModelError(f"model {entry.name}: {path.name} is neither an .onnx nor a .pt file; export it to .onnx")
    logger.warning(
        "model %s uses Ultralytics' software, which is licensed under AGPL-3.0: to offer a service with it, publish "
        "the service's source code or buy a licence (docs/deploy/supply-chain.md)",
        entry.name,
    )
    gives_masks = _gives_masks(entry)
    yolo = import_yolo()
    if path.suffix == ".onnx":
        model = yolo(str(path), task="segment" if _metadata_of(entry).get("task") == "segment" else "detect")
        usage = Usage(fixed=read_fixed_input(path), gives_masks=gives_masks)
    else:
        check_pinned(entry, path, "sha256")
        model = open_pickle(entry, path, yolo)
        usage = Usage(
            load_phrase_setter(entry, model, device) if takes_phrases(model) else None, gives_masks=gives_masks
        )
    if gives_masks and model.task != "segment":
        raise ModelError(
            f"model {entry.name}: {path.name} is a network for the task {model.task!r}, which has no masks; remove "
            "`output: masks`, or choose a segmentation network (-seg)"
        )
    return UltralyticsDetector(
        model, name=entry.name, fingerprint=entry.fingerprint, device=resolve_device(device), usage=usage
    )


def _gives_masks(entry: ModelEntry) -> bool:
    output = entry.options.get("output", "boxes")
    if output not in ("boxes", "masks"):
        raise ModelError(
            f"model {entry.name}: `options: {{output: {output}}}` is not supported; use one of `boxes`, `masks`"
        )
    return output == "masks"


def import_yolo() -> Any:
    """Import and return `ultralytics.YOLO`, and undo the import's changes to the whole process.

    Before the import, environment variables are set that keep Ultralytics offline and its files in the model cache.
    The import replaces `PIL.Image.open` (with a version that tries to install packages if a file is not an image) and
    `torch.save`, sets OpenCV to one thread, and changes numpy's print options and the warning filters.
    """
    import cv2
    import PIL.Image
    import torch

    os.environ.update(_ENVIRONMENT)
    for variable in ("YOLO_CONFIG_DIR", "MPLCONFIGDIR"):  # Ultralytics imports matplotlib, which would write to HOME
        os.environ.setdefault(variable, str(model_cache_folder() / "ultralytics"))
    open_image, save, num_cv_threads = PIL.Image.open, torch.save, cv2.getNumThreads()
    with warnings.catch_warnings(), np.printoptions():
        from ultralytics import YOLO
    PIL.Image.open, torch.save = open_image, save
    cv2.setNumThreads(num_cv_threads)
    return YOLO


def class_names(entry: ModelEntry) -> tuple[str, ...] | None:
    """Return the class names stored in an entry's file, or None if it is missing, is not `.onnx` or has no names.

    Raises:
        ModelError: the file is not an ONNX model.
    """
    if entry.folder.suffix != ".onnx" or not entry.folder.is_file():
        return None
    metadata = _metadata_of(entry)
    if "names" not in metadata:
        return None
    names: Mapping[int, str] = ast.literal_eval(metadata["names"])
    return tuple(names[index] for index in sorted(names))


def _metadata_of(entry: ModelEntry) -> Mapping[str, str]:
    """Return the metadata that Ultralytics stored in an exported `.onnx` file.

    Raises:
        ModelError: the file is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(entry.folder, load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"model {entry.name}: {entry.folder} is not an ONNX model ({error}); export it again, or correct its "
            "`source: ultralytics:<file>`"
        ) from error
    return {prop.key: prop.value for prop in model.metadata_props}


def read_fixed_input(path: Path) -> FixedInput:
    """Return the batch size and image size for which an `.onnx` file was exported, each None if it is variable."""
    import onnx

    shape = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape
    num_images, _, height, width = (dimension.dim_value or None for dimension in shape.dim)
    return FixedInput(num_images, (height, width) if height and width else None)


def open_pickle(entry: ModelEntry, path: Path, yolo: Any) -> Any:
    """Return the model in a `.pt` file. Only known network classes are instantiated.

    Raises:
        ModelError: Ultralytics' restricted loader is disabled, or refuses the file.
    """
    from ultralytics.utils import SAFE_LOAD

    if not SAFE_LOAD:
        raise ModelError(
            f"model {entry.name}: Ultralytics was already imported without its restricted loader; set "
            "ULTRALYTICS_SAFE_LOAD=True in the environment of this process, or export the file to .onnx"
        )
    try:
        return yolo(str(path))
    except (TypeError, ImportError, AttributeError, RuntimeError) as error:  # the loader raises these on foreign files
        reason = " ".join(str(error).split())
        raise ModelError(
            f"model {entry.name}: {path.name} cannot be opened as an Ultralytics checkpoint ({reason}); export it to "
            ".onnx, or correct the entry's `source`"
        ) from error
