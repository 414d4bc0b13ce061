"""Settings for the classes to detect and the methods of detection."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.exemplars import MAX_EXEMPLARS, ImagePath, check_named_once
from data_miner_dagster.config.tracking import TrackerChoice, TrackingConfig
from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.config.words import checked_names, visible_text
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.records import ClassPrompts

Phrase = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(visible_text)
]


def _box_with_an_area(box: BoxXyxy) -> BoxXyxy:
    left, top, right, bottom = box
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(
            f"{list(box)} is not a valid box; write [left, top, right, bottom] in pixels, with 0 <= left < right and "
            "0 <= top < bottom"
        )
    return box


_Pixels = Annotated[float, Field(allow_inf_nan=False)]
_Box = Annotated[tuple[_Pixels, _Pixels, _Pixels, _Pixels], AfterValidator(_box_with_an_area)]


class ClassImageConfig(ConfigModel):
    """One picture of a class. A bare path in `images` names a picture that shows the whole object and little else."""

    path: ImagePath
    """The path of the picture, relative to the project file."""
    boxes: tuple[_Box, ...] = Field(default=(), max_length=64)
    """The boxes of objects of the class: `[left, top, right, bottom]` in pixels of the upright picture. Default: the
    whole picture."""


def _image_of_path(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class ClassConfig(ConfigModel):
    """The description of one class. A bare list is a list of its phrases."""

    text: tuple[Phrase, ...] = ()
    """The phrases that describe the class. If there are neither phrases nor images, the class name is the phrase."""
    images: tuple[Annotated[ClassImageConfig, BeforeValidator(_image_of_path)], ...] = Field(
        default=(), max_length=MAX_EXEMPLARS
    )
    """Exemplars: pictures of the object, for OWLv2 and YOLOE. If there is also `text`, they act as one more phrase.
    Without `text`, they alone describe the class. See docs/detection.md."""

    @model_serializer(mode="wrap")
    def _as_before_there_were_images(self, serialize: SerializerFunctionWrapHandler) -> Any:
        return serialize(self) if self.images else self.text


def _class_of_phrases(value: Any) -> Any:
    return value if isinstance(value, Mapping | ClassConfig) else {"text": value}


def _checked_classes(value: Any) -> Any:
    """Return a mapping of classes with whitespace stripped from its keys, and any other value unchanged.

    Raises:
        ValueError: the value is one name or a list of names, or a name is invalid. The message gives the correct form.
    """
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        written = ", ".join(f"{name}: []" for name in names)
        raise ValueError(
            f"each class must have a list of phrases, which is [] if its name is the only phrase; write {{{written}}}"
        )
    return checked_names(value)


class TilingConfig(ConfigModel):
    """The `detection.tiling` section: detection on full-resolution tiles of a frame, for objects a few pixels wide."""

    side: int = Field(default=640, ge=64)
    """The side of the square tiles, in pixels of the stored frame. Smaller frames are not divided."""
    overlap: float = Field(default=0.2, ge=0, le=0.9)
    """The share of a tile's side that overlaps with its neighbour. Any object that is smaller than the overlap is whole
    in at least one tile."""
    include_whole_frame: bool = True
    """Also detect on the whole frame, for objects larger than a tile."""
    merge_iou: float = Field(default=0.5, gt=0, le=1)
    """Boxes of a class from different tiles are one object if they share more than this part of the smaller box's area.
    """


class DetectionConfig(ConfigModel):
    """The `detection` section of a project."""

    classes: Annotated[
        Mapping[Phrase, Annotated[ClassConfig, BeforeValidator(_class_of_phrases)]], BeforeValidator(_checked_classes)
    ] = Field(min_length=1)
    """The classes by name, each with the phrases that describe it, or with `text` and `images`. If the list of phrases
    is empty, the name is the phrase. The order determines the class ids."""
    detectors: tuple[str, ...] = Field(default=(), max_length=3)
    """Names of detectors in the model registry. Default: the platform's detector. Two or three form an ensemble: their
    boxes are fused, and each box records how many of them agree on it."""
    confidence_floor: float = Field(default=0.05, ge=0, le=1)
    """Boxes below this confidence are not stored. Keep it low, since `releasing` sets the thresholds of a dataset."""
    class_wise_iou: float | None = Field(default=None, gt=0, le=1)
    """If the IoU of two boxes of the same class is higher than this, remove the less confident one. Default: the
    detector's own rule."""
    cross_class_iou: float | None = Field(default=None, gt=0, le=1)
    """If the IoU of two boxes of different classes is higher than this, remove the less confident one. Use this for
    mutually exclusive classes, such as bus and train. Default: off."""
    fusion_iou: float = Field(default=0.55, gt=0, le=1)
    """For an ensemble: boxes of the same class are one object if their IoU is higher than this."""
    tiling: TilingConfig | None = None
    """Detection on tiles of a frame. Default: detect once, on the whole frame."""
    agreement_seconds: float | None = Field(default=None, gt=0)
    """Halve the confidence of a box that has no similar box (same class, IoU of at least `agreement_iou`) on any other
    frame of its video within this time. If no other frame is that near, the confidence stays. Default: off."""
    agreement_iou: float = Field(default=0.3, gt=0, le=1)
    """For `agreement_seconds`: the lowest IoU at which boxes on different frames count as the same object."""
    batch_size: int = Field(default=8, ge=1, le=512)
    """The number of images per forward pass. It is halved automatically if memory runs out."""
    decode_threads: int = Field(default=2, ge=1, le=64)
    """The number of threads that decode JPEGs while the model runs."""
    tracking: TrackingConfig | None = None
    """Follow objects through their videos. Replaces `agreement_seconds`. Default: off."""
    verifier: VerifierConfig | None = None
    """A second model that examines each box. Default: none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        phrases: dict[str, str] = {}
        for wanted in self.class_prompts:
            for prompt in wanted.prompts:
                holder = phrases.setdefault(prompt.casefold(), wanted.class_name)
                if holder != wanted.class_name:
                    raise ValueError(
                        f"classes: the phrase {prompt!r} is used for both {holder!r} and {wanted.class_name!r}; "
                        "remove it from one of them"
                    )
        for name, paths in self.exemplar_paths.items():
            check_named_once(paths, name)
        if len(set(self.detectors)) != len(self.detectors):
            raise ValueError(f"detectors ({', '.join(self.detectors)}) contains a name twice; name each detector once")
        if self.tracking is not None and self.agreement_seconds is not None:
            raise ValueError("agreement_seconds is set, but tracking replaces it; remove one of the two")
        wordless = [wanted.class_name for wanted in self.class_prompts if not wanted.prompts]
        if self.tracker_model is not None and wordless:
            raise ValueError(
                "tracking.tracker: sam3 finds objects by words, but these classes have only images: "
                f"{', '.join(map(repr, wordless))}; give them `text`, or choose the tracker byte_track"
            )
        return self

    @property
    def class_prompts(self) -> tuple[ClassPrompts, ...]:
        """The classes and their phrases, in order. A class without images has at least one phrase."""
        return tuple(
            ClassPrompts(name, wanted.text or (() if wanted.images else (name,)))
            for name, wanted in self.classes.items()
        )

    @property
    def tracker_model(self) -> str | None:
        """The registry name of the network that follows objects.

        It is None if objects are not followed, or if boxes are linked without a network.
        """
        if self.tracking is None or self.tracking.tracker is not TrackerChoice.SAM3:
            return None
        return self.tracking.tracker_model

    @property
    def compares_colours(self) -> bool:
        """Whether objects are followed by linking the detectors' boxes according to positions and colours."""
        return self.tracking is not None and self.tracker_model is None

    @property
    def verifier_name(self) -> str | None:
        """The name of the endpoint or registered model that verifies boxes, or None if boxes are not verified."""
        return None if self.verifier is None else self.verifier.model

    @property
    def exemplar_paths(self) -> dict[str, tuple[str, ...]]:
        """The paths of each class's images, as written in the project file. Classes without images are omitted."""
        return {
            name: tuple(image.path for image in wanted.images) for name, wanted in self.classes.items() if wanted.images
        }
