"""Open a platform. Commands, Dagster's processes, tests and scripts all use this module."""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from data_miner_dagster.config.environment import CONFIG_VARIABLE, PROFILE_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.config.loading import load_platform_config, resolve_root
from data_miner_dagster.config.models import ModelsConfig, checked_profile
from data_miner_dagster.config.problems import stored_misfit
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform, remembered_settings
from data_miner_dagster.storage.layout import StorageLayout


def open_platform(root: Path | None = None, config_file: Path | None = None, profile: str | None = None) -> Platform:
    """Return the platform of a root, without writing anything.

    Equal calls in a process return the same object, so models are loaded once. If the file omits a section of
    `REMEMBERED_SECTIONS`, the section is taken from the root's last run, so `data-miner up --root DIR` continues with
    the settings of the run that filled DIR.

    Args:
        root: the folder. If it is None, DATA_MINER_ROOT names the folder, or else the settings do.
        config_file: a YAML file with a `platform` section. If it is None, DATA_MINER_CONFIG may name the file.
        profile: the profile of models, which overrides the settings. If it is None, DATA_MINER_PROFILE may name one.

    Raises:
        ConfigError: the file or the profile is invalid, or the settings stored in the root cannot be used.
    """
    return _open(
        str(root) if root is not None else os.environ.get(ROOT_VARIABLE) or None,  # an empty variable counts as unset
        str(config_file) if config_file is not None else os.environ.get(CONFIG_VARIABLE),
        profile if profile is not None else os.environ.get(PROFILE_VARIABLE) or None,
        Path.cwd(),
    )


@lru_cache(maxsize=4)
def _open(root: str | None, config_file: str | None, profile: str | None, _working_folder: Path) -> Platform:
    config = load_platform_config(Path(config_file) if config_file else None)
    folder = resolve_root(root, config)
    return Platform(_settings_of(StorageLayout(folder), config, profile), folder)


def _settings_of(layout: StorageLayout, config: PlatformConfig, profile: str | None) -> PlatformConfig:
    """Return `config`. Sections that it omits are taken from the settings stored in the root, if it has any.

    Unless it is None, `profile` overrides the profile of models in `config` and in the stored settings.
    """
    remembered = remembered_settings(layout)
    adopted = {name: remembered[name] for name in remembered if name not in config.model_fields_set}
    try:
        settings = PlatformConfig.model_validate({**config.model_dump(mode="json"), **adopted})
    except ValidationError as error:
        raise ConfigError(stored_misfit(layout.platform_file, error, PlatformConfig)) from None
    if profile is None:
        return settings
    models = ModelsConfig.model_validate(
        {**settings.models.model_dump(mode="json"), "profile": checked_profile(profile)}
    )
    return settings.model_copy(update={"models": models})
