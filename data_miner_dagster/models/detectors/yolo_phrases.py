"""Phrases for YOLO-World and YOLOE, whose weights do not include the text encoder they were trained with.

Belongs here: reading a text encoder from a folder on disk, and passing its embeddings to the network. Ultralytics' own
mechanism is not used: it fetches weights automatically, and needs a package that is only available from a Git
repository.

The folder contains CLIP's tokenizer and, for YOLO-World, CLIP ViT-B/32 in the hub's format. For YOLOE, it contains a
TorchScript file instead of CLIP ViT-B/32. This file is a program, so it is opened only if the entry pins its sha256.

Source: Cheng et al. 2024, "YOLO-World"; Wang et al. 2025, "YOLOE"; Radford et al. 2021 (CLIP); Vasu et al. 2024
(MobileCLIP).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import ExemplarImage
from data_miner_dagster.models.detectors.phrase_detector import Phrase
from data_miner_dagster.models.detectors.yolo_exemplars import VisualHalf
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.trusted_files import check_pinned

if TYPE_CHECKING:
    import torch

CONTEXT_LENGTH: Final = 77
"""The number of token ids per phrase, including the start and end tokens, padded with zeros."""
EMBEDDING_DIM: Final = 512
"""The embedding size of YOLO-World and YOLOE."""
_SCRIPTS: Final[Mapping[str, str]] = {"mobileclip:blt": "mobileclip_blt.ts", "mobileclip2:b": "mobileclip2_b.ts"}
"""The script file of each text encoder with which a YOLOE may have been trained. With another encoder, its results
would be meaningless."""


@dataclass(frozen=True, slots=True)
class TextHalf:
    """A tokenizer, and a network that maps (P, 77) token ids to (P, 512) vectors of any length, on the CPU."""

    model_name: str
    tokenizer: Any
    encode: "Callable[[torch.Tensor], torch.Tensor]"

    def embed(self, phrases: Sequence[str]) -> "torch.Tensor":
        """Return the unit vectors (1, P, 512) of the phrases.

        Raises:
            ConfigError: a phrase exceeds the text limit.
            ModelError: the network returns vectors of another dimension.
        """
        import torch

        with torch.no_grad():
            vectors = self.encode(self.token_ids(phrases)).float()
        if vectors.shape != (len(phrases), EMBEDDING_DIM):
            raise ModelError(
                f"model {self.model_name}: its text_model returns vectors of dimension {vectors.shape[-1]} instead of "
                f"{EMBEDDING_DIM}; use the text encoder that the detector was trained with"
            )
        return torch.nn.functional.normalize(vectors, dim=-1)[None]

    def token_ids(self, phrases: Sequence[str]) -> "torch.Tensor":
        """Return the token ids of the phrases, (P, 77) int64. Each row is padded with zeros, as for MobileCLIP's trace.

        Raises:
            ConfigError: a phrase exceeds the text limit.
        """
        import torch

        ids = torch.zeros(len(phrases), CONTEXT_LENGTH, dtype=torch.int64)
        for row, phrase in enumerate(phrases):
            tokens = self.tokenizer(phrase.lower())["input_ids"]
            if len(tokens) > CONTEXT_LENGTH:
                raise ConfigError(
                    f"detection.classes: the phrase {phrase!r} has {counted(len(tokens), 'token')}, but detector "
                    f"{self.model_name} reads at most {CONTEXT_LENGTH}; shorten the phrase"
                )
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return ids


class PhraseSetter:
    """Sets the phrases that a YOLO-World or YOLOE model detects, and the exemplars that a YOLOE model detects."""

    def __init__(self, model: Any, text: TextHalf, exemplars: VisualHalf | None = None) -> None:
        self._model = model
        self._text = text
        self._exemplars = exemplars
        self._looked_for: list[tuple[str, tuple[ExemplarImage, ...]]] = []

    def set_phrases(self, phrases: Sequence[Phrase]) -> None:
        """Make output i of the model correspond to phrase i, unless these phrases are already set.

        Raises:
            ConfigError: a phrase exceeds the text limit, an exemplar cannot be read, or the model accepts no exemplars.
            ModelError: the text encoder returns vectors of another dimension.
        """
        looked_for = [(phrase.prompt, phrase.exemplars) for phrase in phrases]
        if self._looked_for == looked_for:
            return
        names, network = [phrase.prompt for phrase in phrases], self._model.model
        if is_yoloe(network):
            self._model.set_classes(names, self._yoloe_vectors(phrases))
        elif (pictured := next((phrase for phrase in phrases if phrase.exemplars), None)) is not None:
            raise ConfigError(
                f"detection.classes: class {pictured.class_name!r} has `images`, but "
                f"{_takes_none(self._text.model_name)}; remove them and describe the class in words, or choose OWLv2"
            )
        else:  # these assignments replace the network's own `set_classes`, which would compute the vectors itself
            network.txt_feats = self._text.embed(names)
            network.model[-1].nc = len(names)
            network.names = names
        self._model.predictor = None  # it holds a copy of the network with the previous phrases
        self._looked_for = looked_for

    def _yoloe_vectors(self, phrases: Sequence[Phrase]) -> "torch.Tensor":
        """Return the phrases' vectors (1, P, 512), from the text head for words and the visual head for exemplars."""
        import torch

        words = [phrase.prompt for phrase in phrases if not phrase.exemplars]
        vectors = torch.zeros(1, len(phrases), EMBEDDING_DIM)
        is_words = [not phrase.exemplars for phrase in phrases]
        if words:
            with torch.no_grad():
                vectors[:, is_words] = self._model.model.model[-1].get_tpe(self._text.embed(words)).float().cpu()
        for position, phrase in enumerate(phrases):
            if phrase.exemplars and self._exemplars is not None:
                vectors[0, position] = self._exemplars.embed(phrase.exemplars)
        return vectors


def why_no_exemplars(entry: ModelEntry) -> str | None:
    """Return why an entry accepts no exemplars, or None if it accepts them.

    A YOLOE is recognized without opening its file, since only a YOLOE's entry pins the script of a text encoder.
    """
    return None if entry.folder.suffix == ".pt" and "text_sha256" in entry.options else _takes_none(entry.name)


def _takes_none(name: str) -> str:
    return f"detector {name!r} does not accept exemplars, since it is not a YOLOE `.pt` file with a `text_model`"


def takes_phrases(model: Any) -> bool:
    """Return whether a loaded Ultralytics model accepts any phrase. Prompt-free YOLOE models have fixed names."""
    return hasattr(model, "set_classes") and not hasattr(model.model.model[-1], "lrpc")


def is_yoloe(network: Any) -> bool:
    """Return whether the network is a YOLOE rather than a YOLO-World."""
    return hasattr(network, "get_cls_pe")


def load_phrase_setter(entry: ModelEntry, model: Any, device: str) -> PhraseSetter:
    """Return a phrase setter with the text encoder in the option `text_model`. Exemplars are embedded on `device`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the text encoder is missing or damaged, the detector was trained with an unsupported one, or the
            script of the text encoder is not pinned or does not match its pin.
    """
    import torch
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    script_name = None
    if is_yoloe(model.model):
        trained_with = getattr(model.model, "text_model", "mobileclip:blt")
        if trained_with not in _SCRIPTS:
            raise ModelError(
                f"model {entry.name}: {entry.folder.name} was trained with the text encoder {trained_with!r}, which is "
                f"not supported; use a network trained with {' or '.join(_SCRIPTS)}"
            )
        script_name = _SCRIPTS[trained_with]
    wanted = f"CLIP's tokenizer and {script_name}" if script_name else "CLIP ViT-B/32 and its tokenizer"
    folder = entry.option_files.get("text_model")
    if folder is None:
        raise ModelError(
            f"model {entry.name}: {entry.folder.name} needs a text encoder for phrases; put {wanted} into a folder "
            "and set `options: {text_model: file:<folder>}`"
        )
    script = folder / script_name if script_name else folder / "config.json"
    if not script.is_file():
        raise ModelError(f"model {entry.name}: there is no file {script}; put {wanted} into the `text_model` folder")
    with hub_errors(entry):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if script_name is None:
            network = CLIPTextModelWithProjection.from_pretrained(folder, local_files_only=True).eval()
            return PhraseSetter(model, TextHalf(entry.name, tokenizer, lambda ids: network(ids).text_embeds))
    check_pinned(entry, script, "text_sha256")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch has deprecated the format of the published file
        try:
            script_module = torch.jit.load(script, map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"model {entry.name}: {script} is not a TorchScript file ({reason}); replace it with the published "
                "file, and pin that with `text_sha256`"
            ) from error
    return PhraseSetter(
        model, TextHalf(entry.name, tokenizer, script_module.eval()), VisualHalf(model, resolve_device(device))
    )
