"""Report many materializations from one step, without repeating the step's data in each.

An event that `context.log_event` writes contains the step's handles and tags. These take half a kilobyte and do not
concern the item, and SQLite stores each event twice.
"""

import logging

import dagster as dg
from dagster._core.events import DagsterEvent, StepMaterializationData


def log_materialization(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, materialization: dg.AssetMaterialization
) -> None:
    """Store a materialization immediately as an event of this run and step, bypassing the step's own event stream."""
    event = DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=context.job_name,
        step_key=context.get_step_execution_context().step.key,
        event_specific_data=StepMaterializationData(materialization, asset_lineage=[]),
    )
    context.instance.report_dagster_event(event, context.run.run_id, log_level=logging.DEBUG)
