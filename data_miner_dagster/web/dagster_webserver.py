"""The program `python -m data_miner_dagster.web.dagster_webserver`: Dagster's own command with a guarded application.

Besides the loopback names and the IP address that accepted the connection, the server answers to the names in `-h`,
`platform.web.hosts` and DATA_MINER_WEB_HOSTS.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

with creating_lasting_objects():
    from dagster_webserver import cli

    from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE, WEB_HOSTS_VARIABLE
    from data_miner_dagster.config.loading import load_platform_config, resolve_root
    from data_miner_dagster.config.web import review_address
    from data_miner_dagster.deployment import use_light_files
    from data_miner_dagster.storage.layout import StorageLayout
    from data_miner_dagster.web.guard import Guard
    from data_miner_dagster.web.previews import Previews
    from data_miner_dagster.web.review_links import ReviewLinks

_MAKE_APP: Final = "create_app_from_workspace_process_context"


def known_hosts(arguments: Sequence[str]) -> list[str]:
    """Return the host names that the server answers to in addition to the loopback names.

    They come from the command-line `arguments`, the environment and the configuration. `Guard` ignores wildcard
    addresses among them.

    Raises:
        ConfigError: the platform's configuration is not valid.
    """
    bound = [value for option, value in pairwise(arguments) if option in ("-h", "--host")]
    bound += [argument.partition("=")[2] for argument in arguments if argument.startswith("--host=")]
    named = [name.strip() for name in os.environ.get(WEB_HOSTS_VARIABLE, "").split(",")]
    return [host for host in (*bound, *named, *load_platform_config().web.hosts) if host]


def main() -> None:
    """Run Dagster's web server behind the guard until it is stopped."""
    hosts = known_hosts(sys.argv[1:])
    config = load_platform_config()
    layout, review = StorageLayout(resolve_root(None, config)), review_address(config.web)
    if home := os.environ.get(DAGSTER_HOME_VARIABLE):
        use_light_files(Path(home))
    make_app = getattr(cli, _MAKE_APP)  # raises if Dagster has removed it, so that the server never runs unguarded

    def guarded(*arguments: Any, **options: Any) -> Guard:
        return Guard(ReviewLinks(Previews(make_app(*arguments, **options), layout), review), hosts)

    setattr(cli, _MAKE_APP, guarded)
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
