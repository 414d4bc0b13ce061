"""Families of models: the properties that all models of an architecture share.

Belongs here: the loader of each family, and properties that are known without loading. Does not belong here: individual
models (registry.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any, Final

from data_miner_dagster.domain.records import SimilarityCalibration

_MODELS: Final = "data_miner_dagster.models"


def resolve(place: str) -> Callable[..., Any]:
    """Import the module in `place`, which is "module:callable", and return the callable.

    Functions are named in this way so that only the modules of the models in use are imported.
    """
    module, _, function = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


class Capability(StrEnum):
    """A role that a model can fill."""

    IMAGE_TEXT_ENCODER = "image_text_encoder"
    IMAGE_ENCODER = "image_encoder"
    DETECTOR = "detector"
    VERIFIER = "verifier"
    VIDEO_TRACKER = "video_tracker"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family of models that load in the same way. A user's own registry entry names its family."""

    capability: Capability
    loader: str  # "module:callable", called with (entry, device)
    preprocessing_version: int = 1  # increment it when our own pre- or post-processing changes results
    calibration: SimilarityCalibration | None = None  # for encoders only
    class_names: str | None = None  # for detectors with fixed names: "module:callable", see ModelEntry
    exemplars: str | None = None  # for detectors that may accept exemplars: "module:callable", see ModelEntry
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The supported networks: names of transformers' classes, by the `model_type` in a checkpoint's `config.json`.
    If this is empty, a checkpoint's network is not checked."""
    takes_boxes: bool = False  # whether its detectors implement BoxPrompted
    video_tracker: str | None = None  # the architecture that uses the same checkpoints to follow objects through videos
    licence: str = "unknown"  # licence of the software that runs the model, for entries that state none
    terms: tuple[str, ...] = ()  # the names of the licences in `licence`, if that also contains other words


def _focal_detr(**networks: tuple[str, ...]) -> Architecture:
    """Return an architecture of the DETR family. `networks` maps model types to transformers' classes."""
    return Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.focal_detr:load",
        class_names=f"{_MODELS}.detectors.class_detector:class_names",
        networks=networks,
    )


_RT_DETR_V2: Final = ("RTDetrV2ForObjectDetection",)
_D_FINE: Final = ("DFineForObjectDetection",)

ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    # Thresholds of hub models are unmeasured starting points from papers and model cards. Only the thresholds of the
    # lite models were measured (docs/models.md).
    "siglip2": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_image_text",
        preprocessing_version=3,
        calibration=SimilarityCalibration(positive_threshold=0.10, duplicate_threshold=0.93),
    ),
    "siglip": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_image_text",
        preprocessing_version=2,
        calibration=SimilarityCalibration(positive_threshold=0.08, duplicate_threshold=0.93),
    ),
    "clip": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_image_text",
        preprocessing_version=2,
        calibration=SimilarityCalibration(positive_threshold=0.22, duplicate_threshold=0.93),
    ),
    "metaclip2": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_image_text",
        calibration=SimilarityCalibration(positive_threshold=0.22, duplicate_threshold=0.93),
    ),
    "tipsv2": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_image_text",
        calibration=SimilarityCalibration(positive_threshold=0.10, duplicate_threshold=0.93),
    ),
    "dinov2": Architecture(
        Capability.IMAGE_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_dino",
        preprocessing_version=2,
        calibration=SimilarityCalibration(positive_threshold=1.0, duplicate_threshold=0.90),
    ),
    "dinov3": Architecture(
        Capability.IMAGE_ENCODER,
        f"{_MODELS}.encoders.hub_encoders:load_dino",
        preprocessing_version=2,
        calibration=SimilarityCalibration(positive_threshold=1.0, duplicate_threshold=0.90),
    ),
    "lite-conse": Architecture(
        Capability.IMAGE_TEXT_ENCODER,
        f"{_MODELS}.lite.lite_encoders:load_conse",
        preprocessing_version=3,
        calibration=SimilarityCalibration(positive_threshold=0.34, duplicate_threshold=0.97),
    ),
    "lite-efficientnet": Architecture(
        Capability.IMAGE_ENCODER,
        f"{_MODELS}.lite.lite_encoders:load_efficientnet",
        preprocessing_version=3,
        calibration=SimilarityCalibration(positive_threshold=1.0, duplicate_threshold=0.70),
    ),
    "yolov3-tiny": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.lite.lite_detector:load",
        class_names=f"{_MODELS}.lite.lite_detector:class_names",
    ),
    "grounding-dino": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.grounding_dino:load",
        networks={"grounding-dino": ("GroundingDinoForObjectDetection",)},
    ),
    "mm-grounding-dino": Architecture(  # also LLMDet's checkpoints
        Capability.DETECTOR,
        f"{_MODELS}.detectors.grounding_dino:load_mm",
        networks={"mm-grounding-dino": ("MMGroundingDinoForObjectDetection",)},
    ),
    "owlv2": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.owlv2:load",
        exemplars=f"{_MODELS}.detectors.owlv2:why_no_exemplars",
        networks={"owlv2": ("Owlv2ForObjectDetection",)},
    ),
    "omdet-turbo": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.omdet_turbo:load",
        networks={"omdet-turbo": ("OmDetTurboForObjectDetection",)},
    ),
    "sam3": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.sam3:load",
        exemplars=f"{_MODELS}.detectors.sam3:why_no_exemplars",
        # The published checkpoint contains the whole video network, which includes the detector.
        networks={"sam3": ("Sam3Model",), "sam3_video": ("Sam3VideoModel",)},
        takes_boxes=True,
        video_tracker="sam3-video",
    ),
    "sam3-video": Architecture(  # replaces `sam3` in an entry that follows objects
        Capability.VIDEO_TRACKER,
        f"{_MODELS}.trackers.sam3_video:load",
        networks={"sam3_video": ("Sam3VideoModel",)},
        video_tracker="sam3-video",
    ),
    "rt-detr": _focal_detr(rt_detr=("RTDetrForObjectDetection",), rt_detr_v2=_RT_DETR_V2, d_fine=_D_FINE),
    "rt-detr-v2": _focal_detr(rt_detr_v2=_RT_DETR_V2),
    "d-fine": _focal_detr(d_fine=_D_FINE),
    "deimv2": _focal_detr(deimv2=("Deimv2ForObjectDetection",)),
    "rf-detr": _focal_detr(rf_detr=("RfDetrForObjectDetection", "RfDetrForInstanceSegmentation")),
    "qwen3-vl": Architecture(
        Capability.VERIFIER,
        f"{_MODELS}.verifiers.qwen3_vl:load",
        networks={"qwen3_vl": ("Qwen3VLForConditionalGeneration",)},
    ),
    "ultralytics": Architecture(
        Capability.DETECTOR,
        f"{_MODELS}.detectors.ultralytics_detector:load",
        class_names=f"{_MODELS}.detectors.ultralytics_detector:class_names",
        exemplars=f"{_MODELS}.detectors.yolo_phrases:why_no_exemplars",
        licence="AGPL-3.0, or bought from Ultralytics",
        terms=("AGPL-3.0",),
    ),
}
