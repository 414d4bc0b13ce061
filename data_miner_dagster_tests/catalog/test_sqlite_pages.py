from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from data_miner_dagster.catalog.sqlite_pages import use_small_pages


def page_bytes(path: Path) -> int:
    """Create a file with a table as Dagster does, with write-ahead logging, and return its page size."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS words (word TEXT)"))
    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
        return int(connection.execute(text("PRAGMA page_size")).scalar_one())


def test_use_small_pages__new_files_of_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    (folder / "inner").mkdir(parents=True)
    assert page_bytes(folder / "old.db") == 4096
    use_small_pages(folder)
    use_small_pages(folder)
    assert page_bytes(folder / "new.db") == 1024
    assert page_bytes(folder / "old.db") == 4096
    assert page_bytes(folder / "inner" / "new.db") == page_bytes(tmp_path / "new.db") == 4096
