"""Who may reach the web server."""

from data_miner_dagster.config.base import ConfigModel


class WebConfig(ConfigModel):
    """The `platform.web` section."""

    hosts: tuple[str, ...] = ()
    """Names by which a reverse proxy or another machine reaches the web server, such as `miner.example.org`. It answers
    only to these, to localhost and to its listening address, and accepts changes only from their pages."""
