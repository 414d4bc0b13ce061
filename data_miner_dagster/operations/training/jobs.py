"""Run the job `train` in its own process, which is killed when its caller ends or cancels the job."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.students import Epoch, TrainingSettings
from data_miner_dagster.workers.serving import Job, ask, serve

JOBS_MODULE: Final = "data_miner_dagster.operations.training.jobs"


def _train(arguments: dict[str, Any]) -> dict[str, Any]:
    # Imported here so that a process that is cancelled immediately does not load torch.
    from data_miner_dagster.models.training import train

    def tell(epoch: Epoch) -> None:
        ask("epoch", asdict(epoch))

    curve, best_epoch = train(
        Path(arguments["folder"]),
        Path(arguments["data"]),
        TrainingSettings(**arguments["settings"]),
        arguments["device"],
        tell,
    )
    return {"curve": [asdict(epoch) for epoch in curve], "best_epoch": best_epoch}


JOBS: Final[Mapping[str, Job]] = {"train": _train}

if __name__ == "__main__":
    serve(JOBS)
