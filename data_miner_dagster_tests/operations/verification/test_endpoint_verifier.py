"""When requests go to an endpoint, when they pause, and how they end."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from data_miner_dagster.config.verification import EndpointConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.verification.endpoint_verifier import EndpointVerifier
from data_miner_dagster.operations.verification.replies import Crop, Reply
from data_miner_dagster_tests.support.chat_server import ChatServer, always, chat_server, drips, refuses

GREY = np.full((64, 64, 3), 128, np.uint8)


def verifier(chat: ChatServer, *, is_known: bool = True, **settings: object) -> EndpointVerifier:
    settings = {"url": chat.url, "model": "eyes", "try_delay_seconds": 0.005, "tries": 3, **settings}
    return EndpointVerifier("eyes", EndpointConfig.model_validate(settings), ("127.0.0.1",), is_known=is_known)


def crops(number: int) -> Iterator[Crop]:
    return (Crop(f"key-{index}", "files-a", "Is it?", GREY) for index in range(number))


def test_replies__a_pause_that_the_server_asks_for_holds_everybody() -> None:
    arrived: list[float] = []

    def told(*_: object) -> bool:
        arrived.append(time.monotonic())
        return False

    with chat_server(always("confirmed"), [refuses(429, Retry_After="1"), *[told] * 8], key=None) as chat:
        began = time.monotonic()
        replies = list(verifier(chat, is_known=False).replies(crops(8), lambda _: None))
    assert len(replies) == 8
    assert all(reply.answer for reply in replies)
    assert min(arrived) - began >= 1


def test_replies__a_pause_that_is_too_long_means_that_it_is_away() -> None:
    with chat_server(always("confirmed"), [refuses(503, Retry_After="9999")] * 9, key=None) as chat:
        found = verifier(chat, max_pause_seconds=5)
        replies = list(found.replies(crops(50), lambda _: None))
        assert len(chat.bodies) <= 4, "one by each thread"
    assert found.why_away == "verifier eyes: the endpoint returned HTTP 503 (no: 503)"
    assert not any(reply.answer for reply in replies)


def test_replies__whoever_stops_taking_them_ends_what_is_on_its_way() -> None:
    moods = [lambda _: False, *[drips(60)] * 3, lambda _: False]
    kept: list[Reply] = []
    with chat_server(always("confirmed"), moods, key=None) as chat:
        with closing(verifier(chat, is_known=False).replies(crops(50), kept.extend)) as replies:
            assert [next(replies).answer is not None for _ in range(2)] == [True, True]
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("verify")]
        for thread in threads:
            thread.join(45)  # a request under way would take 60 s
        assert not any(thread.is_alive() for thread in threads)
    assert len(kept) < 50


def test_replies__an_address_that_is_not_allowed_has_a_single_remedy() -> None:
    config = EndpointConfig.model_validate({"url": "https://10.0.0.1/v1", "model": "eyes"})
    found = EndpointVerifier("eyes", config, (), is_known=False)
    with pytest.raises(ConfigError, match=r"^verifier eyes: 10\.0\.0\.1 resolves .* to allow it$"):
        list(found.replies(crops(1), lambda _: None))


@pytest.mark.parametrize("num_refused", [1, 2])
def test_replies__refused_pictures_of_which_nobody_knows_whose_fault_they_are(num_refused: int) -> None:
    with chat_server(always("confirmed"), [refuses(400)] * 9, key=None) as chat:
        found = verifier(chat, is_known=False)
        replies = list(found.replies(crops(num_refused), lambda _: None))
    assert [(reply.answer, reply.line) for reply in replies] == [
        (None, "the endpoint returned HTTP 400 (no: 400)")
    ] * num_refused
    assert found.why_away is None
