"""What is checked before any work starts, so that a mistake costs a second and not a night."""

import os
import uuid
from pathlib import Path

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.platform import Platform


def check_root_is_writable(root: Path) -> None:
    """Create the root and a file in it.

    Raises:
        ConfigError: that is not possible.
    """
    probe = root / f".writable-{uuid.uuid4().hex[:8]}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"the root {root} cannot be written to ({os.strerror(error.errno or 0)}); choose another with --root"
        ) from error


def check_before_work(platform: Platform, project: ProjectConfig) -> None:
    """Check everything that can be known to be wrong without any work: root, sampling, models, classes.

    Raises:
        ConfigError: the root is unwritable, was sampled with other settings, or the detector knows no such class.
        ModelError: weights are missing.
    """
    check_root_is_writable(platform.root)
    platform.check_sampling()
    platform.models.check_available(project.detection.detectors)
    for entry in platform.models.detector_entries(project.detection.detectors):
        check_classes(entry, project.detection.class_prompts)
