import errno
import logging
import re
import threading
from collections.abc import Callable

import pytest
import sqlalchemy.exc

from data_miner_dagster.domain.errors import (
    ConfigError,
    ModelError,
    OutageError,
    SystematicFaultError,
    TransientError,
    VideoTransientError,
)
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.operations.item_faults import (
    ItemFault,
    attempt_alone,
    concerns_all_items,
    fault_of,
    item_guard,
)
from data_miner_dagster.workers.errors import WorkerDiedError, WorkersClosedError, error_from_json, error_to_json


class _PlantedError(ZeroDivisionError):
    pass


def _raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def _caught(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
    raise AssertionError("nothing was raised")


def test_fault_of__class_message_and_the_innermost_place_of_our_own() -> None:
    error = _caught(lambda: sha256_of_file(None))  # type: ignore[arg-type]

    fault = fault_of(error)

    assert fault.error_class == "AttributeError"
    assert re.fullmatch(r"domain/fingerprints\.py:\d+", fault.place)
    assert fault.line == f"AttributeError: 'NoneType' object has no attribute 'open' ({fault.place})"


def test_fault_of__line_is_one_line_without_control_characters_secrets_and_end() -> None:
    hostile = (
        "a\x1b[31mb\n\u202ec\ud800 https://x.example/v?token=SECRETSECRETSECRET&sig=SECRETSECRETSECRET " + "z" * 9000
    )

    line = fault_of(ValueError(hostile)).line

    assert line.isprintable()
    assert "SECRET" not in line
    assert line.startswith("ValueError: a [31mb c https://x.example/v")
    assert len(line) <= 400


def test_fault_of__an_exception_whose_words_raise() -> None:
    class _MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert fault_of(_MuteError()).line == "_MuteError: (its message cannot be read: ValueError)"


def test_fault_of__a_worker_s_is_that_of_its_exception() -> None:
    error = _caught(lambda: sha256_of_file(None))  # type: ignore[arg-type]

    assert fault_of(error_from_json(error_to_json(error))) == fault_of(error)


@pytest.mark.parametrize(
    ("error", "is_of_all"),
    [
        (ConfigError(), True),
        (ModelError(), True),
        (TransientError(), True),
        (VideoTransientError(VideoErrorKind.TRANSIENT, ""), False),
        (WorkerDiedError(), False),
        (WorkersClosedError(), True),
        (sqlalchemy.exc.OperationalError("", None, Exception()), True),
        (sqlalchemy.exc.InterfaceError("", None, Exception()), True),
        (sqlalchemy.exc.DatabaseError("", None, Exception()), True),
        (sqlalchemy.exc.TimeoutError(), True),
        (sqlalchemy.exc.IntegrityError("", None, Exception()), False),
        (sqlalchemy.exc.DataError("", None, Exception()), False),
        (OSError(errno.ENOSPC, ""), True),
        (OSError(errno.EROFS, ""), True),
        (OSError(errno.EDQUOT, ""), True),
        (OSError(errno.EMFILE, ""), True),
        (OSError(errno.EACCES, ""), False),
        (OSError(errno.EIO, ""), False),
        (MemoryError(), False),
        (ZeroDivisionError(), False),
    ],
    ids=lambda value: getattr(value, "errno", None) or type(value).__name__,
)
def test_concerns_all_items(error: Exception, is_of_all: bool) -> None:
    assert concerns_all_items(error) is is_of_all


def test_attempt__one_of_twenty_is_recorded_when_another_has_succeeded() -> None:
    recorded: dict[str, ItemFault] = {}
    seen_after: list[bool] = []
    with item_guard("stage") as guard:
        for number in range(20):
            name = f"item {number}"
            work = _raising(_PlantedError("planted")) if number == 7 else lambda: "done"
            result = guard.attempt(name, work, lambda fault, name=name: recorded.setdefault(name, fault))  # type: ignore[misc]
            assert result == (None if number == 7 else "done")
            seen_after.append("item 7" in recorded)

    assert list(recorded) == ["item 7"]
    assert recorded["item 7"].line == "_PlantedError: planted"
    assert seen_after.index(True) == 8  # not recorded until item 8 succeeded


@pytest.mark.parametrize(("num_items", "is_systematic"), [(1, False), (2, False), (3, True), (9, True)])
def test_item_guard__the_same_on_all_of_three_or_more(num_items: int, is_systematic: bool) -> None:
    recorded: list[ItemFault] = []

    def run() -> None:
        with item_guard("download_videos") as guard:
            for number in range(num_items):
                guard.attempt(str(number), _raising(_PlantedError(f"of {number}")), recorded.append)
                guard.attempt("reused", lambda: VideoOutcome("reused", OutcomeStatus.REUSED), recorded.append)

    if is_systematic:
        with pytest.raises(SystematicFaultError) as caught:
            run()
        assert re.fullmatch(
            rf"download_videos: all {num_items} items failed with the same internal error, which is a fault of this "
            r"program and not of the data: _PlantedError: of 0; nothing was recorded for them; update data-miner, or "
            r"report this line, then run again",
            str(caught.value),
        )
        assert recorded == []
    else:
        run()
        assert len(recorded) == num_items


def test_item_guard__different_faults_on_all_are_the_items_own() -> None:
    recorded: list[ItemFault] = []
    with item_guard("stage") as guard:
        for number, error in enumerate([ValueError(), KeyError(), ValueError(), TypeError()]):
            guard.attempt(str(number), _raising(error), recorded.append)

    assert len(recorded) == 4


def test_item_guard__ten_in_a_row_end_the_batch_at_the_tenth() -> None:
    recorded: list[ItemFault] = []
    attempted: list[int] = []

    def run() -> None:
        with item_guard("stage") as guard:
            guard.attempt("good", lambda: None, recorded.append)
            for number in range(30):
                attempted.append(number)
                guard.attempt(str(number), _raising(_PlantedError()), recorded.append)

    with pytest.raises(SystematicFaultError, match="10 items in a row"):
        run()
    assert attempted == list(range(10))
    assert recorded == []


def test_item_guard__nine_in_a_row_and_a_success_between_are_the_items_own() -> None:
    recorded: list[ItemFault] = []
    with item_guard("stage") as guard:
        for number in range(19):
            work: Callable[[], None] = (lambda: None) if number == 9 else _raising(_PlantedError())
            guard.attempt(str(number), work, recorded.append)

    assert len(recorded) == 18


def test_item_guard__thirty_frames_of_one_video_are_one_item() -> None:
    recorded: list[ItemFault] = []
    with item_guard("stage") as guard:
        for _ in range(30):
            guard.attempt("the video", _raising(_PlantedError()), recorded.append)

    assert len(recorded) == 30


def test_item_guard__what_was_faulty_before_is_recorded_at_once_and_proves_nothing() -> None:
    recorded: list[ItemFault] = []
    names = [str(number) for number in range(12)]
    with item_guard("stage", known_faulty=names) as guard:
        for name in names:
            guard.attempt(name, _raising(_PlantedError()), recorded.append)

    assert len(recorded) == 12


def test_item_guard__what_concerns_all_passes_and_nothing_that_is_held_is_recorded() -> None:
    recorded: list[ItemFault] = []

    def run() -> None:
        with item_guard("stage") as guard:
            guard.attempt("1", _raising(_PlantedError()), recorded.append)
            guard.attempt("2", _raising(OSError(errno.ENOSPC, "no space left")), recorded.append)

    with pytest.raises(OSError, match="no space left"):
        run()
    assert recorded == []


def test_item_guard__interrupts_pass() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    recorded: list[ItemFault] = []
    with pytest.raises(KeyboardInterrupt), item_guard("stage") as guard:
        guard.attempt("1", interrupted, recorded.append)
    assert recorded == []


def test_item_guard__threads_record_each_fault_once() -> None:
    recorded: list[str] = []
    lock = threading.Lock()

    def keep(name: str) -> Callable[[ItemFault], None]:
        def on_fault(_fault: ItemFault) -> None:
            with lock:
                recorded.append(name)

        return on_fault

    with item_guard("stage") as guard:

        def many(thread: int) -> None:
            for number in range(50):
                name = f"{thread}/{number}"
                work: Callable[[], None] = _raising(_PlantedError()) if number % 5 == 0 else (lambda: None)
                guard.attempt(name, work, keep(name))

        threads = [threading.Thread(target=many, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(recorded) == sorted(f"{thread}/{number}" for thread in range(4) for number in range(0, 50, 5))


def test_attempt_alone__a_fault_is_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "data_miner_dagster.operations.item_faults"):
        fault = attempt_alone("preview", "p", _raising(_PlantedError("planted")))

    assert isinstance(fault, ItemFault)
    assert fault.line == "_PlantedError: planted"
    assert caplog.records[0].getMessage() == "preview: p: _PlantedError: planted"
    assert caplog.records[0].exc_info is not None  # the traceback is logged
    assert attempt_alone("preview", "p", lambda: 5) == 5


def test_item_guard__an_error_of_the_system_on_every_item_is_an_outage() -> None:
    recorded: list[ItemFault] = []
    denied = PermissionError(errno.EACCES, "Permission denied", "/a/root")

    def attempt_all() -> None:
        with item_guard("stage") as guard:
            for item in "abc":
                guard.attempt(item, _raising(denied), recorded.append)

    with pytest.raises(OutageError, match="all 3 items failed with the same error: PermissionError") as raised:
        attempt_all()
    assert (raised.value.kind, recorded) == ("store", [])


def test_item_guard__three_in_a_row_without_room_are_a_full_disk() -> None:
    full = VideoOutcome("a", OutcomeStatus.FAILED, VideoErrorKind.DISK_FULL, "no space is left")
    with item_guard("stage") as guard:
        guard.attempt("a", lambda: full, _never)
        guard.attempt("b", lambda: full, _never)
        guard.succeed()  # a smaller item
        guard.attempt("c", lambda: full, _never)
        guard.attempt("d", lambda: full, _never)
        with pytest.raises(OutageError, match="no space is left") as raised:
            guard.attempt("e", lambda: full, _never)
    assert raised.value.kind == "disk_full"


def _never(fault: ItemFault) -> None:
    raise AssertionError(fault.line)
