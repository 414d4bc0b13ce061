"""Fixtures for every folder of tests: the catalog on SQLite and on a real PostgreSQL."""

import gc
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url, text

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.cli.suggestions import remember_options
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects
from data_miner_dagster_tests.support import migrated
from data_miner_dagster_tests.support.buckets import ACCESS_KEY, BUCKET, SECRET_KEY, FaultyBuckets, faulty_buckets
from data_miner_dagster_tests.support.compiled import create_sharing_engine
from data_miner_dagster_tests.support.postgres import server_in

# OpenMP threads that wait must not occupy the cores of other workers. The variable is read when torch is loaded, here
# and in every process that a test starts.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# xdist sets the terminal width of its workers, which no test expects.
os.environ.pop("COLUMNS", None)

TEST_DATABASE_VARIABLE = "DATA_MINER_TEST_DATABASE_URL"
OWN_VARIABLES: Final = ("DATA_MINER_", "DAGSTER_HOME")
WORKER_BYTES: Final = 5_000_000_000
"""The peak memory of one worker, including the processes that its tests start."""
A_FEW_SECONDS: Final = 10
"""The assumed duration of a file whose tests are marked as slow without a number of seconds."""
GC_THRESHOLDS: Final = (5_000, 10, 10)
"""Python's own first threshold is 700 objects, but a pass over all objects is unusually expensive here."""

# No example has a deadline: taking long on a busy machine is not a failure.
hypothesis.settings.register_profile("data_miner", deadline=None, max_examples=60)
hypothesis.settings.load_profile("data_miner")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores, since many tests wait, but at most as many as fit into memory."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(len(os.sched_getaffinity(0)) + 1, memory_bytes // WORKER_BYTES))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first, because a slow file at the end would leave the other workers idle.

    Tests that wait for other programs (a browser, Dagster's daemon) are rerun once if they fail; reruns are counted.
    """
    seconds_by_file: Counter[Path] = Counter()
    num_tests_by_file = Counter(item.path for item in items)
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds = mark.args[0] if mark.args else A_FEW_SECONDS
            seconds_by_file[item.path] = max(seconds_by_file[item.path], seconds)
        if item.get_closest_marker("browser") or "end_to_end" in item.path.parts:
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: (-seconds_by_file[item.path], -num_tests_by_file[item.path], item.path))  # stable


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exempt imported objects from garbage collection and run it less often, since it took a tenth of the CPU time."""
    try:
        with creating_lasting_objects():
            return (yield)
    finally:
        gc.set_threshold(*GC_THRESHOLDS)


def pytest_sessionfinish() -> None:
    """Unfreeze all objects, so that libraries find their own collected at the end of the process."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _repeated_migrations() -> Iterator[None]:
    """Create new catalogs with the statements recorded for the first one, and let Alembic load migrations only once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "upgrade", migrated.upgrade)
        patched.setattr(ScriptDirectory, "from_config", staticmethod(migrated.script_directory))
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared_compiled_statements() -> Iterator[None]:
    """Let all engines of this process, including Dagster's, share their compiled statements."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sqlalchemy.create_engine", create_sharing_engine)
        patched.setattr("data_miner_dagster.catalog.database.create_engine", create_sharing_engine)
        yield


@pytest.fixture(autouse=True)
def _own_variables() -> Iterator[None]:
    """Restore this package's environment variables and clear options, since commands set both for the whole process."""
    before = {name: value for name, value in os.environ.items() if name.startswith(OWN_VARIABLES)}
    yield
    for name in [name for name in os.environ if name.startswith(OWN_VARIABLES)]:
        del os.environ[name]
    os.environ.update(before)
    remember_options({}, None)


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """URL of a PostgreSQL server on which tests may create databases: the given one, or one started for the session."""
    named = os.environ.get(TEST_DATABASE_VARIABLE)
    if named:
        yield named
        return
    # Not under pytest's temporary folder: if root starts the server, it runs as another user, and every pytest that
    # starts removes other users' access to that folder.
    folder = Path(tempfile.mkdtemp(prefix="data_miner_postgres_"))
    server = server_in(folder)
    unsafe = ("fsync", "full_page_writes", "synchronous_commit")  # nothing here needs to survive a power cut
    server.psql("".join(f"ALTER SYSTEM SET {name} = off;\n" for name in unsafe) + "SELECT pg_reload_conf();")
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database, dropped after the test."""
    with new_database(postgres_server_url) as url:
        yield url


@contextmanager
def new_database(postgres_server_url: str) -> Iterator[str]:
    """Yield the URL of an empty database on a server, dropped when the block ends."""
    name = f"data_miner_test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(postgres_server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty catalog, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(catalog_url: str) -> Iterator[Database]:
    """An empty catalog with its tables, on each database in turn."""
    database = Database(catalog_url)
    initialize(database)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[FaultyBuckets]:
    """A real S3 server, and a proxy in front of it that can be told to fail."""
    with faulty_buckets() as buckets:
        yield buckets


@pytest.fixture
def buckets(bucket_server: FaultyBuckets, monkeypatch: pytest.MonkeyPatch) -> FaultyBuckets:
    """The server of `bucket_server` with an empty bucket, no faults, and credentials in the environment."""
    for name in bucket_server.names():
        bucket_server.client.delete_object(Bucket=BUCKET, Key=name)
    bucket_server.faults.clear()
    bucket_server.requests.clear()
    monkeypatch.setenv("TEST_BUCKET_KEY", ACCESS_KEY)
    monkeypatch.setenv("TEST_BUCKET_SECRET", SECRET_KEY)
    return bucket_server
