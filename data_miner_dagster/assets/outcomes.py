"""How outcomes of operations become Dagster events, the same way for every asset."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import dagster as dg

from data_miner_dagster.domain.errors import DataMinerError, TransientError
from data_miner_dagster.domain.full_disks import disk_full_line, is_disk_full
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, VideoOutcome
from data_miner_dagster.operations.platform import ReportVideo
from data_miner_dagster.partitions import PARTITION_TAG
from data_miner_dagster.resources.run_processes import process_tags

TRANSIENT_RETRIES: Final = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)

OWNERS: Final = ["team:data-miner"]

MetadataOf = Callable[[VideoOutcome], Mapping[str, dg.MetadataValue]]

FAILURE_KIND: Final = "kind"
"""Metadata of a failed step: the class of the error."""

progress = logging.getLogger("data_miner.progress")
"""One line per finished video or project; `data-miner run` shows it."""


class ForceConfig(dg.Config):
    """Run configuration of every asset."""

    force: bool = False
    """Do the work again even if its result is current."""


def _plain(metadata: Mapping[str, int | float | str]) -> dict[str, dg.MetadataValue]:
    values: dict[str, dg.MetadataValue] = {}
    for name, value in metadata.items():
        if isinstance(value, bool | str):
            values[name] = dg.MetadataValue.text(str(value))
        elif isinstance(value, int):
            values[name] = dg.MetadataValue.int(value)
        else:
            values[name] = dg.MetadataValue.float(value)
    return values


@contextmanager
def one_line_failures() -> Iterator[None]:
    """Turn errors into step failures of one line; only the transient ones of this package may be retried."""
    try:
        yield
    except DataMinerError as error:
        raise failure(
            str(error), type(error), may_pass=isinstance(error, TransientError) or is_disk_full(error)
        ) from error
    except Exception as error:
        if is_disk_full(error):
            raise failure(disk_full_line("the root"), TransientError, may_pass=True) from error
        # a fault of ours: the same again and again, so say it once, with its trace
        raise failure(f"{type(error).__name__}: {error}", type(error)) from error


def failure(line: str, kind: type[Exception], *, may_pass: bool = False) -> dg.Failure:
    """Return a step's failure, with the class of the error for who has to tell one kind from another."""
    return dg.Failure(line, metadata={FAILURE_KIND: kind.__name__}, allow_retries=may_pass)


def counts_table(counts: Mapping[str, int], name: str = "what") -> dg.MetadataValue:
    """Return exact counts as a table that the UI renders."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: key, "count": count}) for key, count in counts.items()],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string"), dg.TableColumn("count", "int")]),
    )


def materialize_videos(
    context: dg.AssetExecutionContext,
    work: Callable[[Sequence[str], ReportVideo], list[VideoOutcome]],
    metadata_of: MetadataOf | None = None,
) -> Iterator[dg.MaterializeResult[None]]:
    """Run `work` on the partitions of this run and log each video's event the moment it is done.

    A video that exists afterwards is materialized; one that failed, is unavailable or has to wait is observed with
    its reason, and fails nothing. A run that was asked for one single partition (not a range of one) ends as a failure
    if that video does not exist, since somebody wanted just that.
    """
    context.instance.add_run_tags(context.run.run_id, process_tags())
    keys = context.partition_keys
    is_single = PARTITION_TAG in context.run.tags
    events: dict[str, Mapping[str, dg.MetadataValue]] = {}

    def log(outcome: VideoOutcome) -> None:
        metadata = {
            "status": dg.MetadataValue.text(outcome.status.value),
            **_plain(outcome.metadata),
        }
        if outcome.message:
            metadata["message"] = dg.MetadataValue.text(outcome.message)
        if outcome.error_kind is not None:
            metadata["reason"] = dg.MetadataValue.text(outcome.error_kind.value)
        progress.info(
            "%s %s: %s %s", context.asset_key.to_user_string(), outcome.video_key, outcome.status.value, outcome.message
        )
        if outcome.status.exists:
            if metadata_of is not None:
                metadata.update(metadata_of(outcome))
            events[outcome.video_key] = metadata
            if not is_single:
                context.log_event(
                    dg.AssetMaterialization(context.asset_key, partition=outcome.video_key, metadata=metadata)
                )
        else:
            context.log_event(dg.AssetObservation(context.asset_key, partition=outcome.video_key, metadata=metadata))
            context.log.warning(f"{outcome.video_key}: {outcome.status.value}: {outcome.message}")

    with one_line_failures():
        outcomes = work(keys, log)
    counts = Counter(outcome.status for outcome in outcomes)
    context.log.info(
        f"{len(outcomes)} videos: "
        + ", ".join(f"{counts[status]} {status.value}" for status in OutcomeStatus if counts[status])
    )
    missing = [outcome for outcome in outcomes if not outcome.status.exists]
    if is_single and missing:
        raise failure(f"{missing[0].video_key}: {missing[0].message}", DataMinerError)
    if missing:
        return
    has_more_steps = len(context.assets_def.keys) < len(context.job_def.asset_layer.selected_asset_keys)
    if is_single:
        yield dg.MaterializeResult(metadata=events[keys[0]])
    elif has_more_steps:
        # Later steps of this run wait for an output, and an output is an event for every key once more.
        for key, metadata in events.items():
            context.add_asset_metadata(metadata, asset_key=context.asset_key, partition_key=key)
        yield dg.MaterializeResult()


def materialize_project(
    context: dg.AssetExecutionContext,
    work: Callable[[str], ProjectOutcome],
    metadata_of: Callable[[str], Mapping[str, dg.MetadataValue]],
) -> dg.MaterializeResult[None]:
    """Run `work` on the project of this run and return its materialization, with its counts as a table.

    A project that has to wait for an earlier stage is a failure: the stages after must not take it for done.
    """
    context.instance.add_run_tags(context.run.run_id, process_tags())
    project = context.partition_key
    with one_line_failures():
        outcome = work(project)
        if not outcome.status.exists:
            # an earlier stage has not been done: nothing is there that could count as this one's
            raise DataMinerError(str(outcome.metadata.get("message") or f"{project}: {outcome.status.value}"))
    progress.info(
        "%s %s: %s (%s)",
        context.asset_key.to_user_string(),
        outcome.project,
        outcome.status.value,
        ", ".join(f"{count} {name}" for name, count in outcome.counts.items()),
    )
    return dg.MaterializeResult(
        metadata={
            # in the order in which the UI shows it: what one wants to see first
            "status": dg.MetadataValue.text(outcome.status.value),
            **metadata_of(project),
            "counts": counts_table(outcome.counts),
            **_plain(outcome.metadata),
            "fingerprint": dg.MetadataValue.text(outcome.fingerprint),
        },
        data_version=dg.DataVersion(outcome.fingerprint),
    )
