"""Forward passes that survive a device with too little memory."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from data_miner_dagster.domain.errors import ModelError

_T = TypeVar("_T")
_R = TypeVar("_R")


def run_in_halves(run: Callable[[Sequence[_T]], list[_R]], batch: Sequence[_T], *, model: str) -> list[_R]:
    """Return `run(batch)`; where memory does not suffice, of both halves one after the other, and so on down to one.

    Args:
        run: takes a batch and returns one result each, in order.
        batch: may be empty.
        model: its registry name, for the message.

    Raises:
        ModelError: memory does not suffice for a single image.
    """
    import torch

    try:
        return run(batch)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if len(batch) <= 1:
            raise ModelError(
                f"model {model}: the device has not enough memory for a single image; "
                "use a smaller model, or `platform.models.device: cpu`"
            ) from error
    # Outside the except block: the traceback held the tensors of the failed pass.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    return [*run_in_halves(run, batch[:middle], model=model), *run_in_halves(run, batch[middle:], model=model)]


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory: you tried to allocate" in str(error)
