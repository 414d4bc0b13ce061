"""The command `cost`: show the cost of a project so far."""

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProjectArgument,
    RootOption,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table


def cost(
    project: ProjectArgument, as_json: JsonOption = False, root: RootOption = None, config: ConfigOption = None
) -> None:
    """Show the cost of a project so far: requests, bytes, CPU and GPU time, by stage and per image and box."""
    from data_miner_dagster.operations.reporting.costs import project_cost
    from data_miner_dagster.stages.costs import COST_COLUMNS, cost_line, cost_rows, sharing_line

    found = project_cost(opened_existing(root, config), project).as_json()
    if as_json:
        print_json(found)
        return
    print_table(COST_COLUMNS, cost_rows(found), numbers=COST_COLUMNS[1:-1])
    echo(cost_line(found))
    if remark := sharing_line(found):
        echo(remark)
