"""Models on the Hugging Face hub: their repositories and commits, and the public sources that name these commits.

Belongs here: facts about a publication. Does not belong here: loading a family (architectures.py), packages from a
package index (pins.py).

A commit is pinned only if a public source names it for that repository, so that anyone can verify that it is the
published one. A model without such a source follows `main`, is reported as unpinned, and is never a profile's default.
The similarity thresholds of these models (architectures.py) have not been measured by this project.
"""

from dataclasses import dataclass
from typing import Final

_MTEB: Final = "embeddings-benchmark/mteb, mteb/models/model_implementations/"
_VIDEOPYTHON: Final = "BartWojtowicz/videopython, src/videopython/ai/_revisions.py"
_DODU: Final = "the-dodu-team/AI_Engineer, scripts/evaluate_extended_candidates.py"
_PIPELINE: Final = "Ohh-we-are-Screwed/Annotation_pipeline, scripts/run_pilot.py"


@dataclass(frozen=True, slots=True)
class HubModel:
    """One model that is published on the hub."""

    name: str  # the name of the registry entry
    architecture: str
    repository: str
    revision: str | None  # a commit, or None if no public source names one; `main` is then followed
    named_by: str | None  # the public source that names the commit (repository, file), or None without a commit
    licence: str
    is_gated: bool = False  # the hub requires an accepted licence and a token


HUB_MODELS: Final[tuple[HubModel, ...]] = (
    HubModel(
        "siglip2-so400m",
        "siglip2",
        "google/siglip2-so400m-patch14-384",
        "e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
        _MTEB + "siglip_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "siglip2-base",
        "siglip2",
        "google/siglip2-base-patch16-224",
        "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        _MTEB + "siglip_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "siglip-so400m",
        "siglip",
        "google/siglip-so400m-patch14-384",
        "9fdffc58afc957d1a03a25b10dba0329ab15c2a3",
        _MTEB + "siglip_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "clip-vit-large",
        "clip",
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        _MTEB + "clip_models.py",
        "MIT",
    ),
    HubModel(
        "metaclip2-b32",
        "metaclip2",
        "facebook/metaclip-2-mt5-worldwide-b32",
        "fbbce525749bfc4a54b932bafe85313ee889d98f",
        _MTEB + "metaclip_models.py",
        "CC-BY-NC-4.0",
    ),
    HubModel(
        "metaclip2-huge",
        "metaclip2",
        "facebook/metaclip-2-worldwide-huge-quickgelu",
        None,
        None,
        "CC-BY-NC-4.0",
    ),
    # The commits predate transformers' support for the class. Its release notes say that these files load, but we have
    # not verified it, so they are not defaults.
    HubModel(
        "tipsv2-base",
        "tipsv2",
        "google/tipsv2-b14",
        "23cfc936f39a74b5ae272149f703e3941b190529",
        _MTEB + "tipsv2_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "tipsv2-so400m",
        "tipsv2",
        "google/tipsv2-so400m14",
        "582b2c6814afea7eb6a64ccc2ce3a4b5af1036a0",
        _MTEB + "tipsv2_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "dinov3",
        "dinov3",
        "facebook/dinov3-vitb16-pretrain-lvd1689m",
        "5931719e67bbdb9737e363e781fb0c67687896bc",
        _MTEB + "dino_models.py",
        "DINOv3 licence",
        is_gated=True,
    ),
    HubModel(
        "dinov2-base",
        "dinov2",
        "facebook/dinov2-base",
        "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
        _MTEB + "dino_models.py",
        "Apache-2.0",
    ),
    HubModel(
        "llmdet-tiny",
        "mm-grounding-dino",
        "iSEE-Laboratory/llmdet_tiny",
        "d05199165a19320a9236396e20fca0a5e065189c",
        "rsasaki0109/ml_model_collection, object_detection/llmdet_tiny/export.py",
        "Apache-2.0",
    ),
    HubModel("llmdet-base", "mm-grounding-dino", "iSEE-Laboratory/llmdet_base", None, None, "Apache-2.0"),
    HubModel(
        "llmdet-large",
        "mm-grounding-dino",
        "iSEE-Laboratory/llmdet_large",
        "bec37f296f05b22f6c6b39bc05a6c611239f4e31",
        _PIPELINE,
        "Apache-2.0",
    ),
    HubModel(
        "grounding-dino-base",
        "grounding-dino",
        "IDEA-Research/grounding-dino-base",
        "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
        "WATonomous, model_registry.py of perception_2d, among others",
        "Apache-2.0",
    ),
    HubModel(
        "sam3",
        "sam3",
        "facebook/sam3",
        "3c879f39826c281e95690f02c7821c4de09afae7",
        _PIPELINE,
        "SAM licence",
        is_gated=True,
    ),
    HubModel(
        "rf-detr-medium",
        "rf-detr",
        "Roboflow/rf-detr-medium",
        "1b5b672408f86dd38e05dd3cf3f2e0834e545a59",
        _DODU,
        "Apache-2.0",
    ),
    HubModel(
        "rf-detr-large",
        "rf-detr",
        "Roboflow/rf-detr-large",
        "f62f7dd5252b61097cbace33886045816dadbde9",
        _DODU,
        "Apache-2.0",
    ),
    HubModel(
        "d-fine-medium",
        "d-fine",
        "ustc-community/dfine-medium-coco",
        "4ab9f5e466432f4fcf9a9a023da6aa5ecc9c9829",
        _VIDEOPYTHON,
        "Apache-2.0",
    ),
    HubModel(
        "d-fine-large",
        "d-fine",
        "ustc-community/dfine-large-coco",
        "aa8f8211545e4cff5adf52ea512f9ac74a9824ec",
        _VIDEOPYTHON,
        "Apache-2.0",
    ),
    HubModel(
        "rt-detr-v2-r50",
        "rt-detr-v2",
        "PekingU/rtdetr_v2_r50vd",
        "282494075698cab9faa1096ae26856890030c817",
        _DODU,
        "Apache-2.0",
    ),
    # A third party's conversion for transformers. The authors' own repository has another format.
    HubModel("deimv2-s", "deimv2", "harshaljanjani/DEIMv2_DINOv3_S_COCO_Transformers", None, None, "Apache-2.0"),
)
