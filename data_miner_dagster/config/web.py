"""Who may reach the web server."""

from data_miner_dagster.config.base import ConfigModel


class WebConfig(ConfigModel):
    """The `platform.web` section."""

    hosts: tuple[str, ...] = ()
    """Names by which a reverse proxy or another machine reaches the web server, such as `miner.example.org`. It answers
    to these, to localhost and to the address it listens at, and takes changes from their pages alone."""
