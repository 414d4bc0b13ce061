import io
import json
import logging
from collections.abc import Iterator

import pytest

from data_miner_dagster.config.settings import LoggingConfig
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.operations.logs import redacted, set_up_logging

SIGNED = "https://cdn.example/video.mp4?id=7&Signature=hunter2&Expires=1"


@pytest.fixture(autouse=True)
def _no_handlers_left() -> Iterator[None]:
    logger = logging.getLogger("data_miner_dagster")
    before, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = before, level


def logged(config: LoggingConfig, *, verbose: bool = False) -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(config, verbose=verbose, stream=stream)
    return stream


def test_redacted__empty_and_plain() -> None:
    assert redacted("") == ""
    assert redacted("3 videos of https://example.org/watch?v=abc") == "3 videos of https://example.org/watch?v=abc"


@pytest.mark.parametrize(
    "text",
    [
        f"GET {SIGNED}",
        "Cookie: session=hunter2",
        "authorization: Bearer hunter2",
        "https://user:hunter2@example.org/",
        "cannot open postgresql+psycopg2://miner:hunter2@db:5432/catalog",
        "po_token=hunter2",
    ],
)
def test_redacted__secrets(text: str) -> None:
    assert "hunter2" not in redacted(text)
    assert "***" in redacted(text) or "user" not in redacted(text)


def test_set_up_logging__text_level_and_verbose() -> None:
    stream = logged(LoggingConfig(level="WARNING"))
    logging.getLogger("data_miner_dagster.sites").info("quiet")
    logging.getLogger("data_miner_dagster.sites").warning("loud %s", SIGNED)
    assert stream.getvalue() == (
        "WARNING data_miner_dagster.sites: loud https://cdn.example/video.mp4?id=7&Signature=***&Expires=***\n"
    )
    stream = logged(LoggingConfig(level="WARNING"), verbose=True)
    logging.getLogger("data_miner_dagster.sites").debug("step")
    assert stream.getvalue() == "DEBUG data_miner_dagster.sites: step\n"


def test_set_up_logging__json_lines_with_extra_and_exception() -> None:
    stream = logged(LoggingConfig(format="json"))
    logger = logging.getLogger("data_miner_dagster.operations")
    logger.info("done", extra={"video_key": "urls-a", "num_frames": 3, "url": SIGNED})
    try:
        raise ValueError(f"failed at {SIGNED}")
    except ValueError:
        logger.exception("two\nlines")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["time"].endswith("Z")
    assert {name: first[name] for name in ("level", "logger", "message", "video_key", "num_frames")} == {
        "level": "INFO",
        "logger": "data_miner_dagster.operations",
        "message": "done",
        "video_key": "urls-a",
        "num_frames": 3,
    }
    assert second["message"] == "two\nlines"
    assert "ValueError" in second["exception"]
    assert "hunter2" not in stream.getvalue()


def test_set_up_logging__leaves_a_listener_alone_where_that_was_asked() -> None:
    first, second = logged(LoggingConfig()), io.StringIO()
    set_up_logging(LoggingConfig(), stream=second, only_if_unset=True)
    logging.getLogger("data_miner_dagster").info("once")
    assert first.getvalue().count("once") == 1
    assert second.getvalue() == ""


def test_set_up_logging__second_call_replaces_the_first() -> None:
    first, second = logged(LoggingConfig()), logged(LoggingConfig())
    logging.getLogger("data_miner_dagster").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_set_up_logging__a_message_is_one_line_that_no_terminal_acts_upon() -> None:
    stream = logged(LoggingConfig())
    logging.getLogger("data_miner_dagster.sites").warning(
        "site said %s", "x\x1b]52;c;Zg==\x07 \x9b31m \u202e\nERROR fake: y"
    )
    assert stream.getvalue() == (
        r"WARNING data_miner_dagster.sites: site said x\u001b]52;c;Zg==\u0007 \u009b31m \u202e\nERROR fake: y" + "\n"
    )
    stream = logged(LoggingConfig(format="json"))
    logging.getLogger("data_miner_dagster.sites").warning("site said \x9b31m\u202e")
    assert "\x9b" not in stream.getvalue()
    assert json.loads(stream.getvalue())["message"] == "site said \x9b31m\u202e"


def test_set_up_logging__each_line_says_what_it_is_about() -> None:
    logger = logging.getLogger("data_miner_dagster.operations")
    for format in ("text", "json"):
        stream = logged(LoggingConfig.model_validate({"format": format}))
        logger.info("before")
        with working_on(run_id="0123456789abcdef", stage="detection", project="cats", video="files-a"):
            logger.info("meanwhile")
            logger.info("of another", extra={"video": "files-b", "num_boxes": 2})
        if format == "text":
            what = "stage=detection project=cats video={} run=01234567]"
            assert [line.partition(": ")[2] for line in stream.getvalue().splitlines()] == [
                "before",
                f"meanwhile [{what.format('files-a')}",
                f"of another [{what.format('files-b')}",
            ]
            continue
        before, meanwhile, of_another = map(json.loads, stream.getvalue().splitlines())
        assert set(before) == {"time", "level", "logger", "message"}
        assert {name: meanwhile[name] for name in meanwhile.keys() - before.keys()} == {
            "run_id": "0123456789abcdef",
            "stage": "detection",
            "project": "cats",
            "video": "files-a",
        }
        assert (of_another["video"], of_another["num_boxes"]) == ("files-b", 2)


def test_set_up_logging__json_is_json_whatever_is_given() -> None:
    stream = logged(LoggingConfig(format="json"))
    given = {"share": float("nan"), "where": object(), "reason": f"\x1b[31m {SIGNED}"}
    logging.getLogger("data_miner_dagster").info("odd", extra=given)
    line = stream.getvalue()
    assert "NaN" not in line
    assert "\x1b" not in line
    assert "hunter2" not in line
    assert json.loads(line)["share"] == "nan"
