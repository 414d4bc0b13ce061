"""Verify boxes with a model from the registry, in this process and in batches."""

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from itertools import islice

from data_miner_dagster.domain.meters import model_call
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.models.provider import VerifierRole
from data_miner_dagster.operations.item_faults import ItemFault, concerns_all_items, item_guard
from data_miner_dagster.operations.verification.replies import Crop, Keep, Reply
from data_miner_dagster.protocols.verifiers import CropVerifier
from data_miner_dagster.stages.embedding import is_out_of_memory
from data_miner_dagster.stages.verification.answers import answer_of


class LocalVerifier:
    """A verifier that runs a local model. The model is loaded when the first crop arrives."""

    def __init__(self, role: VerifierRole, *, batch_size: int) -> None:
        self.name = role.name
        self.fingerprint = role.fingerprint
        self.why_away: str | None = None  # a local model is always available
        self._role = role
        self._batch_size = batch_size

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield a reply to each crop, in order. The crops of a batch that fails are retried one by one.

        A batch is not retried if the error concerns all crops or memory has run out. A crop that causes an internal
        error gets a reply without an answer.

        Raises:
            ModelError: the model is missing or cannot be loaded.
            SystematicFaultError: all crops (three or more), or ten in a row, cause the same internal error.
            Exception: the model's error concerns all crops, or memory has run out.
        """
        waiting = iter(crops)
        with item_guard("verification") as guard:
            while batch := list(islice(waiting, self._batch_size)):
                model = self._role.load()
                try:
                    replies = _answers(model, batch)
                except Exception as error:
                    if concerns_all_items(error) or is_out_of_memory(error):
                        raise
                    replies = []
                    for crop in batch:
                        found = guard.attempt(crop.video_key, partial(_answers, model, [crop]), _note)
                        replies += found or [Reply(crop, line="an internal error")]
                else:
                    guard.succeed()
                keep([reply for reply in replies if reply.answer is not None])
                yield from replies


def _note(_fault: ItemFault) -> None:
    """Do nothing about a fault: the guard logs it, and the box gets no answer."""


def _answers(model: CropVerifier, batch: Sequence[Crop]) -> list[Reply]:
    with model_call(model):
        texts = model.answer([crop.rgb for crop in batch], [crop.prompt for crop in batch])
    if len(texts) != len(batch):
        raise ValueError(f"the model returned {counted(len(texts), 'answer')} to {counted(len(batch), 'question')}")
    return [Reply(crop, answer_of(text)) for crop, text in zip(batch, texts, strict=True)]
