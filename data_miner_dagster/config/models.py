"""Which models to use."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.verification import EndpointConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import check_project_name
from data_miner_dagster.domain.object_urls import BUCKET_PROTOCOLS, ObjectUrl


def _safe_as_folder(name: str) -> str:
    try:
        return check_project_name(name)
    except ConfigError as error:
        raise ValueError(f"model name {name!r} is not safe as a folder name: letters, digits, '_', '-', '.'") from error


_WEIGHT_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|json|txt|model)")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _weight_file(name: str) -> str:
    if ".." in name or not _WEIGHT_FILE.fullmatch(name):
        raise ValueError(f"file name {name!r} is not one of .safetensors, .json, .txt or .model, without a folder")
    return name


CpuBackend = Literal["torch", "onnxruntime", "openvino", "openvino-bfloat16"]


class ModelEntryConfig(ConfigModel):
    """A user's own model, under `platform.models.registry`."""

    architecture: str
    """The family of the model: siglip2, siglip, clip, metaclip2, tipsv2, dinov2, dinov3, grounding-dino, ..."""
    source: str = Field(pattern=r"^(hf|pypi|ultralytics|file|s3|gs|az):\S.*$")
    """`hf:<owner>/<name>`, `file:<folder>` in `save_pretrained` format, `ultralytics:<file>`, `pypi:<package>`, or
    `s3://bucket/folder` (`gs://`, `az://`) in `save_pretrained` format, fetched by `data-miner models fetch --own`."""
    files: Mapping[Annotated[str, AfterValidator(_weight_file)], _Sha256] = Field(default_factory=dict)
    """For buckets: every file of the folder that is needed, with its sha256. Files ending with `.safetensors`, `.json`,
    `.txt` or `.model` only: a pickle can run code."""
    revision: str | None = None
    """For `hf:`: a commit. Default: `main`, which is not pinned."""
    licence: str = "unknown"
    """For the datasheet, and for `allowed_licences`."""
    positive_threshold: float | None = Field(default=None, ge=-1, le=1)
    """Image-text similarity at or above which a frame is kept. Default: the family's."""
    duplicate_threshold: float | None = Field(default=None, ge=-1, le=1)
    """Cosine at or above which two images are near-duplicates. Default: the family's."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Options of the family: `pooling: pooler | cls | mean` for dinov2 and dinov3; `sha256`, `text_model:
    file:<folder>`, `text_sha256` and `output: boxes | masks` (segmentation networks) for ultralytics."""

    @model_validator(mode="after")
    def _check_bucket(self) -> Self:
        is_in_bucket = self.source.partition(":")[0] in BUCKET_PROTOCOLS
        if is_in_bucket:
            ObjectUrl.parse(self.source)
        if is_in_bucket != bool(self.files):
            raise ValueError("`files`, with the sha256 of each, is for a source in a bucket, and needed there")
        return self


ProfileName = Literal["lite", "standard"]
PROFILE_NAMES: Final[tuple[str, ...]] = get_args(ProfileName)


def checked_profile(name: str) -> str:
    """Return a profile's name.

    Raises:
        ConfigError: there is no such profile.
    """
    if name in PROFILE_NAMES:
        return name
    near = difflib.get_close_matches(name, PROFILE_NAMES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"profile {name!r} is not one of {', '.join(PROFILE_NAMES)}{hint}")


class ModelsConfig(ConfigModel):
    """The `platform.models` section. Names are entries of the model registry (`data-miner models list`)."""

    profile: ProfileName = "standard"
    """`standard`: Hugging Face hub, GPU if there is one. `lite`: small real weights from package registries, CPU."""
    filter_encoder: str | None = None
    """Default: the profile's."""
    dedup_encoder: str | None = None
    """Default: the profile's."""
    detector: str | None = None
    """Default: the profile's."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """`auto`: CUDA, then MPS, then CPU."""
    devices: tuple[Annotated[str, Field(pattern=r"^(cpu|mps|cuda:\d+)$")], ...] = ()
    """Several devices of each machine, such as `[cuda:0, cuda:1]`, instead of `device`: each run takes the one that the
    fewest runs use. Numbers count the devices that the run's process can see, after Ray, Kubernetes or
    `CUDA_VISIBLE_DEVICES` have assigned them."""
    cpu_backend: CpuBackend = "torch"
    """The runtime of hub encoders for images on the CPU. Changing it does not make stored embeddings stale."""
    allowed_licences: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = ()
    """Licences that models may have, by the names that `data-miner models list` shows, such as `[Apache-2.0, MIT]`.
    A model with another is refused before any work. Default: any."""
    registry: Mapping[Annotated[str, AfterValidator(_safe_as_folder)], ModelEntryConfig] = Field(default_factory=dict)
    """Your own models, by name. They override built-in models of the same name."""
    endpoints: Mapping[Annotated[str, AfterValidator(_safe_as_folder)], EndpointConfig] = Field(default_factory=dict)
    """Servers that verify boxes, by name (`detection.verifier.model`). Project files hold neither address nor key."""

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.devices and self.device != "auto":
            raise ValueError(f"device is {self.device!r} and devices names others: give one of the two")
        if repeated := [name for name in self.devices if self.devices.count(name) > 1]:
            raise ValueError(f"devices names {repeated[0]!r} more than once: runs share it once there are more runs")
        return self
