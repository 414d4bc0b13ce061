"""How far the work is, again and again: `data-miner status --watch`, and beside `data-miner up`."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from data_miner_dagster.cli.interrupts import ending_on_interrupt
from data_miner_dagster.cli.output import echo

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform

_LINES_SECONDS: Final = 60.0


def watch(platform: "Platform", project: str | None, interval_seconds: float) -> None:
    """Print how far each project and run is until nothing is due or at work, or Ctrl-C."""
    from data_miner_dagster.operations.progress import standing_of

    with ending_on_interrupt():
        while True:
            standing = standing_of(platform, project)
            at = f"{datetime.now(UTC):%H:%M:%S}Z"
            if standing.is_over:
                echo(f"{at} nothing is due or at work")
                return
            for line in standing.lines or [f"{standing.num_at_work} at work"]:
                echo(f"{at} {line}")
            time.sleep(interval_seconds)


@contextmanager
def telling_standing(platform: "Platform") -> Iterator[None]:
    """Print every minute how far each project and run is, if that has changed, while the block runs."""
    from data_miner_dagster.operations.item_faults import attempt_extra
    from data_miner_dagster.operations.progress import Standing, standing_of

    is_over = threading.Event()

    def tell() -> None:
        before: list[str] = []
        while not is_over.wait(_LINES_SECONDS):
            standing = attempt_extra("progress", str(platform.root), lambda: standing_of(platform))
            if isinstance(standing, Standing) and standing.lines != before:
                before = standing.lines
                for line in before:
                    echo(line)

    threading.Thread(target=tell, name="progress", daemon=True).start()  # nobody waits for it: a disk may hang
    try:
        yield
    finally:
        is_over.set()
