"""Convert the outcomes of operations to Dagster events, in the same way for every asset."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeAlias

import dagster as dg

from data_miner_dagster import __version__
from data_miner_dagster.assets.events import log_materialization
from data_miner_dagster.assets.metadata import bounded, counts_line, counts_words, main_counts
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.domain.errors import DataMinerError, SystematicFaultError, TransientError
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.full_disks import disk_full_line, is_disk_full
from data_miner_dagster.domain.phrases import counted, phrase_of
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, VideoOutcome
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.work import stage_of_asset
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra, fault_of, may_pass
from data_miner_dagster.operations.item_faults import logger as faults
from data_miner_dagster.operations.logs import RedactingFilter, redacted
from data_miner_dagster.operations.platform import ReportVideo
from data_miner_dagster.operations.progress import logger as lines_of_progress
from data_miner_dagster.operations.run_failures import outage_of
from data_miner_dagster.operations.tracing import span
from data_miner_dagster.partitions import PARTITION_TAG
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG

MAX_RETRIES_TAG: Final = "dagster/max_retries"
NO_RETRIES: Final = "0"
"""The value of `MAX_RETRIES_TAG` on planned runs.

Their unfinished work is requested again in another batch when it is due.
"""
MAX_RETRIES: Final = 2
_RETRY_SECONDS: Final = 10
"""The delay before the first retry, in seconds. The second retry waits three times as long."""

OWNERS: Final = ["team:data-miner"]

StepContext: TypeAlias = dg.AssetExecutionContext | dg.OpExecutionContext

MetadataOf = Callable[[VideoOutcome], Mapping[str, dg.MetadataValue]]

NEXT: Final = "next"
"""The metadata entry of a project's asset that states the next step."""
CHANGES: Final = "changes"
"""The metadata entry with the changes in a release or the quality of a student. `result` shows it with the counts."""
WAYS_ON: Final = (NEXT, "review", "preview")
"""The metadata entries for which space is reserved, so that long counts do not displace them."""
RESULT: Final = "result"
"""The metadata entry of a project's asset that states the result as one string."""
_IN_RESULT: Final = ("version", "warning")
STATUS: Final = "status"
"""The metadata entry that says whether the result is new or reused. `data-miner run` uses it to count its tasks."""

_OF_THE_WORK: Final = ("num_source_frames", "num_decoded")
"""Figures about the work rather than the result. Events omit them."""

FAILURE_KIND: Final = "kind"
"""The key of the error's class name in a failed step's metadata."""
OUTAGE_KIND: Final = "outage"
"""The key of the `FailureKind` in a failed step's metadata, for an error that affects every item."""

progress = logging.getLogger(__name__)
"""The logger for one line per finished video or project, which `data-miner run` shows."""


class ForceConfig(dg.Config):
    """The run configuration of every asset except `student`."""

    force: bool = False
    """Whether to redo the work even if its result is current."""


def _figures(
    metadata: Mapping[str, int | float | str], shown: Mapping[str, dg.MetadataValue]
) -> dict[str, dg.MetadataValue]:
    """Return one entry with a line of figures, or an empty dict if there is none to show.

    Figures are omitted if they are zero or empty, are in `shown`, or describe the work rather than the result. Separate
    entries would take ten times as many bytes.
    """
    told = {name: value for name, value in metadata.items() if value not in (0, "")}
    line = counts_line(told, without={*shown, *_OF_THE_WORK})
    return {"figures": dg.MetadataValue.text(line)} if line else {}


@contextmanager
def one_line_failures(context: StepContext) -> Iterator[None]:
    """Convert errors to one-line step failures, and request a retry if the error may be transient.

    Assets have no retry policy, because Dagster would then retry cancelled runs too. A planned run requests no retry,
    because its failure is stored with the time of the next retry. A bug in this program would fail every time, so it is
    reported once, with its traceback.

    Raises:
        dg.RetryRequested: the error may be transient, and the run is not a planned one.
        dg.Failure: any other error occurred.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, SystematicFaultError):
            context.instance.add_run_tags(context.run.run_id, {SYSTEMATIC_FAULT_TAG: __version__})
        failed = failure_of(error)
        if may_pass(error) and context.run.tags.get(MAX_RETRIES_TAG) != NO_RETRIES:
            wait = _RETRY_SECONDS * 3**context.retry_number
            raise dg.RetryRequested(MAX_RETRIES, seconds_to_wait=wait) from failed
        raise failed from error


def failure_of(error: Exception) -> dg.Failure:
    """Return a one-line step failure.

    Its metadata has the error's class name (TransientError if a disk is full) and, for an outage, the outage's kind.
    If the catalog is unreachable, the planner can read the reason only from the failed step's event.
    """
    line, kind = fault_of(error).line, type(error)
    if isinstance(error, DataMinerError):
        line = str(error)
    elif is_disk_full(error):
        line, kind = disk_full_line("the root"), TransientError
    outage = outage_of(error)
    told = {FAILURE_KIND: kind.__name__} | ({} if outage is None else {OUTAGE_KIND: outage.value})
    failed = dg.Failure(printable(redacted(line)), metadata=told)
    failed.__cause__ = error
    return failed


class _LinesOf(logging.Handler):
    """A handler that copies log records, with their tracebacks, to the log of the run."""

    def __init__(self, context: StepContext) -> None:
        super().__init__()
        self.addFilter(RedactingFilter())
        self._context = context

    def emit(self, record: logging.LogRecord) -> None:
        text = printable("\n".join(filter(None, (record.getMessage(), record.exc_text))))
        self._context.log.log(record.levelno, text)


@contextmanager
def faults_logged(context: StepContext) -> Iterator[None]:
    """While the block runs, copy log records about items' faults and progress to the log of the run."""
    handler = _LinesOf(context)
    for logger in (faults, lines_of_progress):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (faults, lines_of_progress):
            logger.removeHandler(handler)


def _drawn(item: str, draw: Callable[[], Mapping[str, dg.MetadataValue]]) -> Mapping[str, dg.MetadataValue]:
    """Return the metadata from `draw`, or an entry with the reason if drawing fails.

    A failure to draw does not fail the step, since the result itself exists.
    """
    drawn = attempt_extra("metadata", item, draw)
    if isinstance(drawn, ItemFault):
        return {"preview": dg.MetadataValue.text(f"the preview and links could not be created: {drawn.line}")}
    return drawn


class VideoEvents:
    """Logs the events of a run's videos for one asset. Thread-safe."""

    def __init__(
        self,
        context: StepContext,
        asset_key: dg.AssetKey,
        metadata_of: MetadataOf | None,
        *,
        is_of_single: bool = False,
    ) -> None:
        self.materialized: dict[str, Mapping[str, dg.MetadataValue]] = {}
        """The metadata of each video whose result exists, by video key."""
        self.is_of_single = is_of_single
        """True if the run is for a single video. The step then yields that video's materialization."""
        self._context = context
        self._asset_key = asset_key
        self._metadata_of = metadata_of

    def log(self, outcome: VideoOutcome) -> None:
        """Log a video's event and its progress line, and keep the metadata in `materialized` if its result exists.

        If `is_of_single` is True, the materialization is left to the step.
        """
        with working_on(video=outcome.video_key):
            self._log(outcome)

    def _log(self, outcome: VideoOutcome) -> None:
        key, asset_key = outcome.video_key, self._asset_key
        message = with_references(outcome.message)
        metadata = self._metadata(outcome, message)
        numbers = {name: value for name, value in outcome.metadata.items() if value and not isinstance(value, str)}
        told = counts_line(numbers, without=_OF_THE_WORK)
        line = f"{asset_key.to_user_string()} {key}: {outcome.status.value}"
        progress.info("%s", f"{line}: {message}" if message else f"{line} ({told})" if told else line)
        if not outcome.status.exists:
            observed = bounded(metadata | _figures(outcome.metadata, metadata))
            self._context.log_event(dg.AssetObservation(asset_key, partition=key, metadata=observed))
            self._context.log.warning(": ".join(filter(None, (key, outcome.status.value, message))))
            return
        if self._metadata_of is not None:
            metadata.update(_drawn(key, partial(self._metadata_of, outcome)))
        figures = _figures(outcome.metadata, metadata)
        status = {STATUS: metadata.pop(STATUS)}
        metadata = bounded(figures | metadata | status, first=(*WAYS_ON, STATUS))
        self.materialized[key] = metadata
        if not self.is_of_single:
            made = dg.AssetMaterialization(asset_key, partition=key, metadata=metadata)
            log_materialization(self._context, made)

    @staticmethod
    def _metadata(outcome: VideoOutcome, message: str) -> dict[str, dg.MetadataValue]:
        metadata: dict[str, dg.MetadataValue] = {STATUS: dg.MetadataValue.text(outcome.status.value)}
        if outcome.error_kind is not None:
            metadata["reason"] = dg.MetadataValue.text(phrase_of(outcome.error_kind.value))
        if message:
            metadata["message"] = dg.MetadataValue.text(message)
        return metadata


@contextmanager
def _at_stage(context: dg.AssetExecutionContext, project: str | None = None) -> Iterator[None]:
    asset = context.asset_key.to_user_string()
    stage = stage_of_asset(asset)
    word = asset if stage is None else stage.value.lower()
    with working_on(stage=word, project=project), span(word):
        yield


def line_of_counts(counts: Mapping[OutcomeStatus, int]) -> str:
    """Return one readable line with the number of videos per outcome."""
    each = ", ".join(f"{counts[status]} {status.value}" for status in OutcomeStatus if counts.get(status))
    return f"{counted(sum(counts.values()), 'video')}: {each}" if each else "0 videos"


def materialize_videos(
    context: dg.AssetExecutionContext,
    work: Callable[[Sequence[str], ReportVideo], list[VideoOutcome]],
    metadata_of: MetadataOf | None = None,
) -> Iterator[dg.MaterializeResult[None]]:
    """Run `work` on the partitions of this run, and log each video's event as soon as the video is done.

    A video whose result exists afterwards is materialized. A video that failed, is unavailable or has to wait gets an
    observation with the reason, and does not fail the run. A run for a single partition (not a range of one) fails if
    the result of its video does not exist, since exactly that video was requested.

    A result is yielded only if all videos have results, and the run is for a single partition or has later steps.
    """
    keys = context.partition_keys
    is_of_single = PARTITION_TAG in context.run.tags
    events = VideoEvents(context, context.asset_key, metadata_of, is_of_single=is_of_single)
    with _at_stage(context), one_line_failures(context), faults_logged(context):
        outcomes = work(keys, events.log)
    context.log.info(line_of_counts(Counter(outcome.status for outcome in outcomes)))
    missing = [outcome for outcome in outcomes if not outcome.status.exists]
    if events.is_of_single and missing:
        raise failure_of(DataMinerError(f"{missing[0].video_key}: {missing[0].message}"))
    if missing:
        return
    has_more_steps = len(context.assets_def.keys) < len(context.job_def.asset_layer.selected_asset_keys)
    if events.is_of_single:
        yield dg.MaterializeResult(metadata=events.materialized[keys[0]])
    elif has_more_steps:
        # Later steps of this run wait for an output, which logs one more event per key.
        # The metadata is repeated in these events.
        for key, metadata in events.materialized.items():
            context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
        yield dg.MaterializeResult()


@contextmanager
def _failure_shown(context: dg.AssetExecutionContext, project: str) -> Iterator[None]:
    """Show a stage's failure and the remedy on the asset's partition, since Dagster shows failures only on the run."""
    try:
        yield
    except dg.Failure as failed:
        told = {
            "status": f"failed: {failed.description}",
            NEXT: f"correct the cause, such as a setting in the project file, or run `data-miner retry --project "
            f"{project}`; `data-miner status` says whether the stage is retried automatically",
        }
        metadata = bounded({name: dg.MetadataValue.text(text) for name, text in told.items()}, first=(NEXT,))
        observation = dg.AssetObservation(context.asset_key, partition=project, metadata=metadata)
        attempt_extra("observation", project, partial(context.log_event, observation))
        raise


def materialize_project(
    context: dg.AssetExecutionContext,
    work: Callable[[str], ProjectOutcome],
    metadata_of: Callable[[str], Mapping[str, dg.MetadataValue]],
) -> dg.MaterializeResult[None]:
    """Run `work` on the project of this run, and return the project's materialization with the counts on one line.

    If an error occurs, the step fails and nothing is materialized. The step also fails if the project has to wait for
    an earlier stage.
    """
    project = context.partition_key
    with _at_stage(context, project):
        with _failure_shown(context, project), one_line_failures(context), faults_logged(context):
            outcome = work(project)
            extra = _drawn(project, partial(metadata_of, project))
        progress.info(
            "%s %s: %s (%s)",
            context.asset_key.to_user_string(),
            outcome.project,
            outcome.status.value,
            counts_words(outcome.counts),
        )
    others = {name: value for name, value in extra.items() if name != CHANGES}
    # The UI keeps this order, so the most important entries come first.
    shown = {RESULT: _result(outcome, extra.get(CHANGES)), **others}
    figures = _figures({name: value for name, value in outcome.metadata.items() if name not in _IN_RESULT}, shown)
    last = {STATUS: dg.MetadataValue.text(outcome.status.value)}
    return dg.MaterializeResult(
        metadata=bounded(shown | figures | last, first=(*WAYS_ON, STATUS)),
        data_version=dg.DataVersion(outcome.fingerprint),
    )


def _result(outcome: ProjectOutcome, changes: dg.MetadataValue | None) -> dg.MetadataValue:
    """Return the result as one string (version, counts, changes and warning), since separate entries would not fit."""
    version, warning = outcome.metadata.get("version"), outcome.metadata.get("warning")
    counts = counts_words(main_counts(outcome.counts))
    parts = (f"{version}: {counts}" if version else counts, changes and changes.value, warning)
    return dg.MetadataValue.text("; ".join(str(part) for part in parts if part))
