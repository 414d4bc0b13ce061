"""Assign in-process runs to the code location that `data-miner up` serves, so that the UI shows them there.

Dagster's timeline and job pages list runs by the location that they were launched from. A run that a command executes
in its own process has no such location.
"""

import dagster as dg
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import CODE_LOCATION_TAG, REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

import data_miner_dagster.definitions
from data_miner_dagster.history.pruning import LOCATION

_REPOSITORY = "__repository__"
"""Dagster's name for the repository of a `Definitions` object."""


def locate_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Make the UI list a finished run under its job. A run that is already listed there is left unchanged."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.remote_job_origin is not None:
        return
    module = LoadableTargetOrigin(module_name=data_miner_dagster.definitions.__name__)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(loadable_target_origin=module, location_name=LOCATION)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), run.job_name)
    # Add the tags first, because the origin is written together with the run's tags.
    label = origin.repository_origin.get_label()
    instance.add_run_tags(run_id, {REPOSITORY_LABEL_TAG: label, CODE_LOCATION_TAG: LOCATION})
    tagged = instance.get_run_by_id(run_id)
    if tagged is not None:
        instance.run_storage.replace_job_origin(tagged, origin)
