"""Forward passes that recover when the device runs out of memory."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from data_miner_dagster.domain.errors import ModelError

_T = TypeVar("_T")
_R = TypeVar("_R")


def run_in_halves(run: Callable[[Sequence[_T]], list[_R]], batch: Sequence[_T], *, model: str) -> list[_R]:
    """Return `run(batch)`. If memory runs out, halve the batch and run both halves, recursively down to one image.

    Args:
        run: a function that takes a batch and returns one result per item, in order.
        batch: one item per image, such as the image or its index. It may be empty.
        model: the model's registry name, for the error message.

    Raises:
        ModelError: there is too little memory for a single image.
    """
    import torch

    try:
        return run(batch)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) <= 1:
            raise ModelError(
                f"model {model}: the device does not have enough memory for one image; "
                "close other programs that use it, choose a smaller model, or, if the device is a GPU, set "
                "platform.models.device to cpu"
            ) from error
    # Not inside the except block, where the traceback would keep the tensors of the failed pass alive.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch) // 2
    return [*run_in_halves(run, batch[:middle], model=model), *run_in_halves(run, batch[middle:], model=model)]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error from torch means that the device or the host has run out of memory."""
    import torch

    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory: you tried to allocate" in str(error)
