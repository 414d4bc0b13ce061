"""Turn images into the uint8 input of a hub model's forward pass, following the checkpoint's own settings.

Belongs here: resizing and cropping on the CPU, one image at a time, in worker threads. Does not belong here: scaling
and normalizing, which are cheaper for whole batches on the device.

Source: `preprocessor_config.json` of the checkpoints. The results equal the output of transformers' Pillow image
processors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import RgbImage

if TYPE_CHECKING:
    import torch


class _ImageProcessor(Protocol):
    """The settings of a transformers image processor."""

    size: Any
    do_resize: bool
    do_rescale: bool
    do_normalize: bool
    resample: Any
    image_mean: Any
    image_std: Any
    rescale_factor: float


_SETTINGS: Final = ("do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


@dataclass(frozen=True, slots=True)
class PixelPreparation:
    """Converts an image into the network's input.

    If `resize_wh` is set, the image is resized to it without keeping the aspect ratio. Otherwise, if `shortest_edge` is
    set, the shorter side is resized to this number of pixels, and the aspect ratio is kept. If `crop_wh` is set, the
    image is then cropped to it at the centre. Error messages name `model`, the model's registry name.
    """

    model: str
    resize_wh: tuple[int, int] | None
    shortest_edge: int | None
    crop_wh: tuple[int, int] | None
    resample: Image.Resampling
    mean: tuple[float, float, float]  # on the scale 0..255, like `std`
    std: tuple[float, float, float]

    @classmethod
    def of_processor(cls, processor: _ImageProcessor, *, model: str) -> "PixelPreparation":
        """Read the settings of a checkpoint's image processor. `model` is the model's registry name.

        Raises:
            ModelError: the processor does not resize, or does not rescale.
        """
        return cls.of_settings(
            {
                "size": dict(processor.size),
                "crop_size": getattr(processor, "crop_size", None),
                "do_center_crop": getattr(processor, "do_center_crop", False),
                **{name: getattr(processor, name) for name in _SETTINGS},
            },
            is_stretched=False,
            model=model,
        )

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any], *, is_stretched: bool, model: str) -> "PixelPreparation":
        """Read the settings of an image processor, which have the same names as in `preprocessor_config.json`.

        Args:
            settings: all settings of the processor.
            is_stretched: whether a size given as one number means a square rather than the shorter side.
            model: the model's registry name, for error messages.

        Raises:
            ModelError: the settings disable resizing or rescaling.
        """
        if not settings["do_resize"] or not settings["do_rescale"]:
            raise ModelError(
                f"model {model}: the checkpoint's image processor must resize and rescale images, but it has "
                f"do_resize={settings['do_resize']} and do_rescale={settings['do_rescale']}; use another checkpoint"
            )
        size = _size(settings["size"], "height" if is_stretched else "shortest_edge")
        crop = _size(settings["crop_size"] or {}, "height") if settings["do_center_crop"] else {}
        scale = 1 / settings["rescale_factor"]
        mean = settings["image_mean"] if settings["do_normalize"] else (0.0, 0.0, 0.0)
        std = settings["image_std"] if settings["do_normalize"] else (1.0, 1.0, 1.0)
        return cls(
            model=model,
            resize_wh=_width_height(size),
            shortest_edge=_side(size, "shortest_edge"),
            crop_wh=_width_height(crop),
            resample=Image.Resampling(int(settings["resample"])),
            mean=(mean[0] * scale, mean[1] * scale, mean[2] * scale),
            std=(std[0] * scale, std[1] * scale, std[2] * scale),
        )

    @property
    def output_wh(self) -> tuple[int, int]:
        """The width and height of every prepared image.

        Raises:
            ModelError: the prepared images have no common size.
        """
        output = self.crop_wh or self.resize_wh
        if output is None:
            raise ModelError(
                f"model {self.model}: the checkpoint's image processor returns images of different sizes, which is not "
                "supported; use another checkpoint"
            )
        return output

    def __call__(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return the image as (H, W, 3) uint8 in the size `output_wh`. Thread-safe.

        Raises:
            ModelError: the prepared images have no common size.
        """
        picture = Image.fromarray(image)
        if self.resize_wh is not None:
            picture = picture.resize(self.resize_wh, self.resample)
        elif self.shortest_edge is not None:
            ratio = self.shortest_edge / min(picture.size)
            width, height = (max(self.shortest_edge, int(side * ratio)) for side in picture.size)
            picture = picture.resize((width, height), self.resample)
        width, height = self.output_wh
        if picture.size != (width, height):
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))  # pads a smaller image with black
        return np.asarray(picture)

    def normalized(self, batch: "torch.Tensor", dtype: "torch.dtype") -> "torch.Tensor":
        """Return an (N, H, W, 3) uint8 batch as a normalized (N, 3, H, W) tensor of `dtype`, on the same device."""
        import torch

        pixels = batch.permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean, device=batch.device).reshape(1, 3, 1, 1)
        std = torch.tensor(self.std, device=batch.device).reshape(1, 3, 1, 1)
        return pixels.sub_(mean).div_(std).to(dtype)


def on_device(batch: npt.NDArray[np.uint8], device: str) -> "torch.Tensor":
    """Return the batch as a uint8 tensor on the device."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(batch))
    if device.startswith("cuda"):
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device)


def _size(size: Mapping[str, int | None] | int, of_a_number: str) -> Mapping[str, int | None]:
    """Return a size as a mapping.

    If `size` is a number, it is the length of the side that `of_a_number` names, or of both sides if that is `height`.
    """
    if not isinstance(size, int):
        return dict(size)
    return {"height": size, "width": size} if of_a_number == "height" else {of_a_number: size}


def _side(size: Mapping[str, int | None], name: str) -> int | None:
    side = size.get(name)
    return None if side is None else int(side)


def _width_height(size: Mapping[str, int | None]) -> tuple[int, int] | None:
    width, height = _side(size, "width"), _side(size, "height")
    return None if width is None or height is None else (width, height)
