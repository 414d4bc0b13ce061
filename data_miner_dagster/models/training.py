"""Train a small network with Ultralytics in a separate process, and export it to ONNX.

By default, Ultralytics writes settings, caches and runs to several locations, and downloads checkpoints and fonts. Here
everything is written to one folder, and the interpreter refuses all network connections.

Ultralytics' software, and every network trained with it, is licensed under AGPL-3.0 or a commercial licence.
"""

import copy
import os
import socket
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.students import CHECKPOINT_NAME, Epoch, TrainingSettings
from data_miner_dagster.models.detectors.ultralytics_detector import import_yolo
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.networks import network_of

_SETTINGS_FOLDER: Final = "settings"
_FOLDERS_OF_LIBRARIES: Final = (
    "YOLO_CONFIG_DIR",
    "MPLCONFIGDIR",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HOME",
)
"""Environment variables that determine where libraries store their settings and caches."""
_FEW_EPOCHS: Final = 10
"""Training with at most this many epochs uses no warm-up and no mosaics. Ultralytics disables mosaics for the last ten
epochs."""


def train(
    folder: Path, data: Path, settings: TrainingSettings, device: str, tell: Callable[[Epoch], None]
) -> tuple[tuple[Epoch, ...], int]:
    """Train a network from random weights, and write `student.pt` and `student.onnx` to a folder.

    Call this function in a dedicated process, since it changes the working directory and refuses all connections.

    Args:
        folder: an empty folder for everything that is written.
        data: the `data.yaml` of a dataset in Ultralytics' format.
        settings: the network, and the parameters of the training.
        device: as in `platform.models.device`.
        tell: a function that receives each evaluation: one of the untrained network, and one after each epoch.

    Returns:
        The evaluations of the network before the first epoch and after each epoch, and the number of the epoch whose
        weights are kept, counting from 1. Among equally good epochs, the last is kept.

    Raises:
        ConfigError: the network is unknown, or this machine does not have the device.
        PermissionError: a library tried to open a network connection.
    """
    os.chdir(folder)
    os.environ.update(dict.fromkeys(_FOLDERS_OF_LIBRARIES, str(folder / _SETTINGS_FOLDER)))
    refuse_connections()
    yolo = import_yolo()
    model = yolo(network_of(settings.network), task="detect")
    curve: list[Epoch] = []

    def add(epoch: Epoch) -> None:
        curve.append(epoch)
        tell(epoch)

    model.add_callback("on_train_start", lambda trainer: add(_untrained(trainer)))
    model.add_callback("on_fit_epoch_end", lambda trainer: _add_fitted(trainer, len(curve), add))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(
            data=str(data), project=str(folder), name="run", device=resolve_device(device), **_arguments(settings)
        )
        best = Path(model.trainer.best)
        best.replace(folder / CHECKPOINT_NAME)
        trained = yolo(str(folder / CHECKPOINT_NAME), task="detect")
        trained.export(format="onnx", imgsz=settings.image_size, simplify=False, dynamic=False, device="cpu")
    return tuple(curve), best_epoch_of(curve)


def best_epoch_of(curve: Sequence[Epoch]) -> int:
    """Return the number of the epoch whose weights Ultralytics keeps: the last epoch with the highest mAP50-95.

    `curve` begins with the evaluation of the untrained network, which does not count.
    """
    return max(curve[1:], key=lambda epoch: (epoch.map50_95, epoch.number)).number


def _arguments(settings: TrainingSettings) -> dict[str, Any]:
    is_short = settings.epochs <= _FEW_EPOCHS
    chosen: dict[str, Any] = {"optimizer": "auto"}
    if settings.learning_rate is not None:
        chosen = {"optimizer": "AdamW", "lr0": settings.learning_rate, "lrf": 0.1}
    return {
        **chosen,
        **({"warmup_epochs": 0.0, "mosaic": 0.0} if is_short else {}),
        "epochs": settings.epochs,
        "patience": settings.epochs,  # no early stopping, so that the curve is complete
        "imgsz": settings.image_size,
        "batch": settings.batch_size,
        "nbs": settings.batch_size,  # an optimizer step after each batch
        "seed": 0,
        "deterministic": True,
        "workers": 0,  # worker processes would outlive this process if it were killed
        "amp": False,  # Ultralytics' check of mixed precision downloads a checkpoint
        "pretrained": False,
        "plots": False,  # plotting downloads a font
        "save": True,
        "val": True,
        "exist_ok": True,
        "verbose": False,
    }


def _untrained(trainer: Any) -> Epoch:
    network = copy.deepcopy(trainer.ema.ema)  # evaluation changes the network by fusing layers
    return _epoch(0, None, trainer.get_validator()(model=network))


def _add_fitted(trainer: Any, number: int, add: Callable[[Epoch], None]) -> None:
    if number > trainer.epochs:  # Ultralytics calls this once more after the last epoch, with the best weights
        return
    add(_epoch(number, sum(float(loss) for loss in trainer.tloss.values()), trainer.metrics))


def _epoch(number: int, loss: float | None, metrics: Mapping[str, Any]) -> Epoch:
    return Epoch(number, loss, float(metrics["metrics/mAP50(B)"]), float(metrics["metrics/mAP50-95(B)"]))


def refuse_connections() -> None:
    """Make this process raise PermissionError from now on if it opens a network connection or resolves a name.

    Unix sockets remain available. This cannot be undone.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: Sequence[Any]) -> None:
    is_elsewhere = event == "socket.connect" and arguments[0].family != socket.AF_UNIX
    if is_elsewhere or event == "socket.getaddrinfo":
        target = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        raise PermissionError(
            f"training may not use the network, but a library tried to reach {target!r}; please report this with the "
            "version of the package ultralytics"
        )
