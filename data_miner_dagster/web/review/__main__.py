"""The program `python -m data_miner_dagster.web.review PORT [HOST]`, which serves the review pages of a root.

The environment selects the root. HOST is for containers, whose own loopback cannot be reached from outside: their port
is published on the machine's loopback. Wherever they listen, the pages answer only to loopback names and to the IP
address that accepted the connection.
"""

import sys

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

with creating_lasting_objects():
    from data_miner_dagster.config.web import REVIEW_HOST
    from data_miner_dagster.operations.logs import set_up_logging
    from data_miner_dagster.operations.opening import open_platform
    from data_miner_dagster.web.review.desk import project_desks
    from data_miner_dagster.web.review.serving import listening, review_server


def main() -> None:
    """Serve the review pages until SIGINT or SIGTERM."""
    port = int(sys.argv[1])
    host = sys.argv[2] if len(sys.argv) > 2 else REVIEW_HOST
    platform = open_platform()
    set_up_logging(platform.config.logging)
    with listening(port, host) as opened:
        review_server(platform, project_desks(platform), port).run(sockets=[opened])


if __name__ == "__main__":
    main()
