"""`python -m data_miner_dagster.web.review PORT`: the review pages of the root that the environment names."""

import sys

from data_miner_dagster.operations.logs import set_up_logging
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.web.review.desk import project_desks
from data_miner_dagster.web.review.serving import listening, review_server


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    port = int(sys.argv[1])
    platform = open_platform()
    set_up_logging(platform.config.logging)
    with listening(port) as opened:
        review_server(platform, project_desks(platform), port).run(sockets=[opened])


if __name__ == "__main__":
    main()
