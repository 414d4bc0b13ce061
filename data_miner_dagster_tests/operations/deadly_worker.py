"""Embed batches until none is left, in a process that a video with red frames kills: `... ROOT`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy.typing as npt

from data_miner_dagster.catalog.batches import end_batch, take_batch
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster_tests.support.coloured_frames import ColourEncoder, ColourPlatform


class _DeadlyEncoder(ColourEncoder):
    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        if (batch[:, 0] > batch[:, 1]).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_batch(batch)


if __name__ == "__main__":
    platform = ColourPlatform(Path(sys.argv[1]))
    platform.planted.filter_encoder.load().__class__ = _DeadlyEncoder
    while (batch := take_batch(platform.database, WorkStage.EMBEDDING)) is not None:
        os.write(1, f"{len(batch.items)}\n".encode())
        embed_frames(platform, batch.items)
        end_batch(platform.database, batch.id, "finished")
