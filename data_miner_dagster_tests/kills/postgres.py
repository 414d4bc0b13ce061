"""A private PostgreSQL server that tests can kill and restart."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from data_miner_dagster_tests.support.postgres import server_in, start_again


class OwnPostgres:
    """A server with two empty databases, one for the catalog and one for Dagster."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="data_miner_postgres_"))
        self._server = server_in(self._folder)
        base = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg2")
        admin = create_engine(base, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for name in ("catalog", "dagster"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        self.catalog_url = base.set(database="catalog").render_as_string(hide_password=False)
        self.dagster_url = base.set(database="dagster").render_as_string(hide_password=False)

    def kill(self) -> None:
        """Stop the server immediately, like a crash: open transactions are lost, and the next start replays the log."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        self._server.get_postmaster_info().process.wait(120)

    def start(self) -> None:
        """Restart the server on the same files."""
        start_again(self._server)

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
