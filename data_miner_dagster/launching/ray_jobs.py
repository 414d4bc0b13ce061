"""Execute runs as jobs of a Ray cluster: dagster-ray's launcher, with the additions that our runs need.

This module needs the extra `ray`. Belongs here: submitting a run to Ray, and reading Ray's information about the run.
Does not belong here: choosing the resources of a run (tags.py), or ending dead runs (runs.py). If Ray has no
information, the run's lease decides whether the run is alive.
"""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, cast

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs

from data_miner_dagster.config.environment import (
    CATALOG_URL_VARIABLE,
    CONFIG_VARIABLE,
    DAGSTER_HOME_VARIABLE,
    DAGSTER_URL_VARIABLE,
    PROFILE_VARIABLE,
    ROOT_VARIABLE,
)
from data_miner_dagster.domain.errors import ConfigError, TransientError
from data_miner_dagster.domain.secret_names import is_secret_name
from data_miner_dagster.launching.extras import RAY_IS_MISSING
from data_miner_dagster.launching.tags import REFUSED_TAG, amounts

try:
    from dagster_ray import RayRunLauncher as _RayRunLauncher
    from dagster_ray.core.run_launcher import RayLauncherConfig, get_job_submission_id_from_run_id
except ImportError as error:
    raise ConfigError(RAY_IS_MISSING) from error

_PASSED_ON: Final = (ROOT_VARIABLE, CONFIG_VARIABLE, PROFILE_VARIABLE, DAGSTER_HOME_VARIABLE)
"""The variables that a run on a node must share with the daemon. None of them is secret."""
_SECRET: Final = (CATALOG_URL_VARIABLE, DAGSTER_URL_VARIABLE)
_WAITS: Final = "waits_for_nodes"
_ANSWER_SECONDS: Final = 10
_MOST_NODES: Final = 10
_THREADS: Final = "OMP_NUM_THREADS"
_OF_RAY: Final = ("Running entrypoint for job", "job_manager.py")
"""Markers of lines in a job's log that do not explain why the job ended."""


class RayRunLauncher(_RayRunLauncher):
    """Executes each run in a separate process on a node that has the requested resources.

    If a node dies, its run fails and the work is requested again, as with any launcher. Ray does not resume runs.
    """

    def __init__(
        self, *, env_vars: Sequence[str] | None = None, waits_for_nodes: bool = False, **settings: Any
    ) -> None:
        address = settings.get("address")
        if not address or not address.startswith(("http://", "https://")):
            raise ConfigError(
                f"run_launcher.config.ray.address in dagster.yaml is {address or 'missing'}; set it to the http "
                "address of Ray's dashboard, such as http://head:8265"
            )
        _check_public(env_vars or ())
        passed_on = [name for name in _PASSED_ON if os.environ.get(name)]
        super().__init__(env_vars=[*passed_on, *(env_vars or ())], **settings)
        self._waits_for_nodes = waits_for_nodes

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return the schema of `run_launcher.config`: dagster-ray's schema with one setting of ours."""
        waits = dg.Field(
            bool,
            is_required=False,
            default_value=False,
            description="The cluster adds nodes automatically, so a run that fits on no node waits for a new one.",
        )
        schema: dict[str, Any] = dict(cast("Mapping[str, Any]", super().config_type()))
        return {**schema, _WAITS: waits}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "RayRunLauncher":
        """Return the launcher that `run_launcher.config` describes.

        Raises:
            ConfigError: the address is missing or is not an http or https address, or `env_vars` contains a secret.
        """
        return cls(inst_data=inst_data, waits_for_nodes=config_value[_WAITS], **config_value["ray"])

    @cached_property
    def client(self) -> Any:
        """The client of the cluster. Its requests time out after ten seconds, in case the cluster hangs."""
        from ray.job_submission import JobSubmissionClient

        class Client(JobSubmissionClient):  # type: ignore[misc] # ray is treated as untyped
            def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
                return super()._do_request(method, endpoint, timeout=_ANSWER_SECONDS, **options)

        return Client(self.address, metadata=self.metadata, headers=self.headers, cookies=self.cookies)

    @property
    def supports_resume_run(self) -> bool:
        """False, since the unfinished work of a dead run is requested again."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit a run to the cluster. If this fails, the reason is stored in the run's tags.

        Raises:
            ConfigError: no node has the requested resources, and the cluster is not set to add nodes.
            TransientError: the cluster does not answer, or refuses the run.
        """
        run = context.dagster_run
        with self._refusals_of(run):
            if not self._waits_for_nodes and (lack := self._lack_of(run)) is not None:
                raise ConfigError(lack)
            try:
                keeps_threads = any(entry.partition("=")[0] == _THREADS for entry in self.env_vars or ())
                self._launch_ray_job(_submission_of(run), _command_of(run, keeps_threads=keeps_threads), run)
            except _errors() as error:
                raise TransientError(
                    f"the Ray cluster at {self.address} does not accept runs ({_first_line(error)}); check that "
                    "it is running, and that its dashboard is at this address (run_launcher.config.ray.address)"
                ) from error

    @contextmanager
    def _refusals_of(self, run: dg.DagsterRun) -> Iterator[None]:
        """Store the message of a ConfigError or TransientError from the block in the run's tags.

        The error is raised again. The planner closes the run's stage, and gives the stored message as the reason.
        """
        try:
            yield
        except (ConfigError, TransientError) as error:
            self._instance.add_run_tags(run.run_id, {REFUSED_TAG: str(error)})
            raise

    def _lack_of(self, run: dg.DagsterRun) -> str | None:
        """Return a message if no node has the resources that a run requests.

        Return None if a node has them, even if they are in use, or if Ray does not answer.
        """
        asked = RayLauncherConfig.from_tags(run.tags)
        wanted = {
            "CPU": asked.num_cpus or self.num_cpus or 0,
            "GPU": asked.num_gpus or self.num_gpus or 0,
            "memory": asked.memory or self.memory or 0,
            **(asked.resources or self.resources or {}),
        }
        nodes = self._nodes()
        if nodes is None or any(all(node.get(name, 0) >= n for name, n in wanted.items()) for node in nodes):
            return None
        have = "; ".join(amounts(node, of=wanted) or "none of these" for node in nodes[:_MOST_NODES])
        first = f"its first {_MOST_NODES} nodes have" if len(nodes) > _MOST_NODES else "its nodes have"
        nodes_line = f"{first}: {have}" if nodes else "it has no live node"
        return (
            f"no node of the Ray cluster has {amounts(wanted)} ({nodes_line}); start a node that does, or "
            "correct platform.cluster.pools; if the cluster adds nodes automatically, set "
            "run_launcher.config.waits_for_nodes in dagster.yaml to true"
        )

    def _nodes(self) -> list[Mapping[str, float]] | None:
        """Return each live node's resources, including those in use, or None if Ray does not answer."""
        from ray.util.state import list_nodes
        from ray.util.state.exception import RayStateApiException

        alive: list[Any] = [("state", "=", "ALIVE")]
        try:
            nodes = list_nodes(self.address, filters=alive, timeout=_ANSWER_SECONDS, detail=True)
        except (RayStateApiException, ValueError, *_errors()):
            return None  # submitting the run will give the reason
        return [dict(node.resources_total) for node in nodes]

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return the health of a run's process, as Ray reports it.

        If the cluster does not answer, or has lost the job because its head was restarted, the process may still be
        running. In that case, a run that has started counts as RUNNING, because its lease shows whether it is alive.
        Any other run counts as NOT_FOUND.
        """
        try:
            health = cast("CheckRunHealthResult", super().check_run_worker_health(run))
        except _errors() as error:
            health = CheckRunHealthResult(WorkerStatus.UNKNOWN, _first_line(error))
        if health.status is not WorkerStatus.UNKNOWN:
            return health._replace(msg=None if health.msg is None else _in_a_line(health.msg))
        has_begun = run.status is not dg.DagsterRunStatus.STARTING
        return CheckRunHealthResult(WorkerStatus.RUNNING if has_begun else WorkerStatus.NOT_FOUND, health.msg)

    def terminate(self, run_id: str) -> bool:
        """Stop the process of a run, or cancel the run if it is waiting for a node. Return whether this succeeded.

        The result is also False if the run is unknown or has ended.
        """
        from ray.job_submission import JobStatus

        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        try:
            is_waiting = self.client.get_job_status(_submission_of(run)) is JobStatus.PENDING
        except _errors():
            is_waiting = False
        try:
            is_stopped = bool(super().terminate(run_id))
        except _errors() as error:
            # The run now counts as being cancelled. It stops at the next check of its lease, or is found to be dead.
            self._instance.report_engine_event(
                f"the Ray cluster at {self.address} did not accept the request to stop this run "
                f"({_first_line(error)}); if the run is still alive, it stops at the next check of its lease",
                run,
            )
            return False
        if is_waiting:
            self._instance.report_run_canceled(run, "the run was cancelled before a node had room for it")
        return is_stopped or is_waiting

    def get_run_worker_debug_info(
        self,
        run: dg.DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002 - dagster's signature
    ) -> str | None:
        """Return one line with Ray's information about a run's job, without the job's command and environment.

        If Ray provides no information, the line gives the reason.
        """
        try:
            details = self.client.get_job_info(_submission_of(run))
        except _errors() as error:
            return f"Ray provides no information about this run: {_first_line(error)}"
        node = f" on node {details.driver_node_id}" if details.driver_node_id else ""
        message = _in_a_line(details.message or "")
        return f"Ray reports the status {details.status}{node}{f': {message}' if message else ''}"


def _errors() -> tuple[type[Exception], ...]:
    """Return the types of errors that an unreachable, restarting or refusing cluster causes.

    Ray's client raises RuntimeError for any response other than 200.
    """
    from ray.exceptions import RayError

    return RuntimeError, OSError, RayError


def _command_of(run: dg.DagsterRun, *, keeps_threads: bool) -> str:
    """Return the shell command that executes a run with the interpreter of the code server.

    If `keeps_threads` is False, the command removes OMP_NUM_THREADS from the environment.
    """
    origin = run.job_code_origin
    assert origin is not None
    # The command omits the instance's settings, which Ray would show to anyone who opens its dashboard. The node reads
    # them from DAGSTER_HOME, as every other process does.
    *_, api, execute_run, arguments = ExecuteRunArgs(origin, run.run_id, None, True).get_command_args()
    # Ray sets OMP_NUM_THREADS to the number of cores that a run requests. The last bits of an embedding depend on the
    # number of threads, so the variable is removed unless `env_vars` sets it.
    as_ever = () if keeps_threads else ("env", "-u", _THREADS)
    return shlex.join([*as_ever, origin.executable_path, "-m", "dagster", api, execute_run, arguments])


def _submission_of(run: dg.DagsterRun) -> str:
    return str(get_job_submission_id_from_run_id(run.run_id))


def _check_public(env_vars: Sequence[str]) -> None:
    for entry in env_vars:
        name = entry.partition("=")[0]
        if name in _SECRET or is_secret_name(name):
            raise ConfigError(
                f"run_launcher.config.ray.env_vars in dagster.yaml contains {name}, which Ray would show to anyone who "
                "opens its dashboard; set it in the environment of `ray start` on each node instead"
            )


def _in_a_line(message: str) -> str:
    """Extract the reason why a job ended, and the last line of its log if there is one, from Ray's `message`.

    The result is a single line.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = [line for line in lines if not any(word in line for word in _OF_RAY)]
    first = told[0].partition(", last available logs")[0] if told else ""
    return f"{first}: {told[-1]}"[:400] if len(told) > 1 else first


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
