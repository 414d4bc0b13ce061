"""Read columns of `detections.parquet` as arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.storage.tables import read_batches


def confidences_by_class(path: Path, class_names: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the confidences of all stored boxes of the given classes as ascending float64 arrays, by class name.

    The array of a class without boxes is empty.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the table cannot be read.
    """
    parts: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in class_names}
    for batch in read_batches(path, ["class_name", "confidence"]):
        positions = pc.index_in(batch["class_name"], value_set=pa.array(class_names, pa.string()))
        positions = positions.fill_null(-1).to_numpy(zero_copy_only=False)
        confidences = batch["confidence"].to_numpy()
        for index, name in enumerate(class_names):
            parts[name].append(confidences[positions == index])
    nothing = np.zeros(0, np.float32)
    return {name: np.sort(np.concatenate([nothing, *found])).astype(np.float64) for name, found in parts.items()}
