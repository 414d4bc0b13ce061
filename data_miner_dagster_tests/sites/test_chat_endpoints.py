"""A request to a chat endpoint: the possible answers, and the hosts that are allowed."""

import gc
from typing import Any

import pytest

from data_miner_dagster.config.verification import EndpointConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.sites.chat_endpoints import (
    MAX_ANSWER_BYTES,
    ChatAnswer,
    ChatEndpoint,
    EndpointBusyError,
    EndpointRefusedError,
    RequestRefusedError,
    check_endpoint,
)
from data_miner_dagster.sites.guarded_http import GuardedHttp, NoAnswerError
from data_miner_dagster.sites.public_addresses import PrivateAddressError
from data_miner_dagster_tests.support.chat_server import (
    Mood,
    always,
    chat_server,
    cuts,
    drips,
    refuses,
    says,
)

LOOPBACK = ("127.0.0.1",)
JPEG = b"not examined: each test answers by itself"


def ask(mood: Mood | None, *, hosts: tuple[str, ...] = LOOPBACK, **settings: Any) -> ChatAnswer:
    with chat_server(always("confirmed"), [] if mood is None else [mood], key=None) as chat:
        config = EndpointConfig.model_validate({"url": chat.url, "model": "eyes", "timeout_seconds": 5, **settings})
        with GuardedHttp(hosts, num_connections=1) as client:
            return ChatEndpoint("eyes", config, client).ask("Is it?", JPEG, {"type": "object"})


def completion(message: object, **more: object) -> Mood:
    return says({"choices": [{"message": message}], **more})


@pytest.mark.parametrize(
    ("mood", "answer"),
    [
        (completion({"content": "yes"}), ChatAnswer("yes", None, None)),
        (completion({"content": [{"type": "text", "text": "y"}, {"text": "es"}, 3]}), ChatAnswer("yes", None, None)),
        (completion({"content": None, "refusal": "I cannot"}), ChatAnswer("I cannot", None, None)),
        (completion({"content": None}), ChatAnswer("", None, None)),
        (
            completion({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": 3}),
            ChatAnswer("x", 7, 3),
        ),
        (
            completion({"content": "x"}, usage={"prompt_tokens": -1, "completion_tokens": "3"}),
            ChatAnswer("x", None, None),
        ),
    ],
)
def test_ask__the_text_and_the_tokens(mood: Mood, answer: ChatAnswer) -> None:
    assert ask(mood) == answer


@pytest.mark.parametrize(
    "mood",
    [
        says(b"<html>"),
        says([]),
        says({"choices": []}),
        says({"choices": [{"message": {"content": 3}}]}),
        says(b'{"a":' * 100_000),
        refuses(500),
        refuses(408),
        refuses(429),
    ],
)
def test_ask__what_may_pass(mood: Mood) -> None:
    gc.collect()  # else what other tests left may be finalized at the limit of the recursion, where it fails
    with pytest.raises(EndpointBusyError):
        ask(mood)


def test_ask__an_answer_without_text_is_not_quoted() -> None:
    with pytest.raises(EndpointBusyError, match=r"is not a chat completion$"):
        ask(says(b" "))


def test_ask__a_pause_that_is_asked_for() -> None:
    with pytest.raises(EndpointBusyError) as caught:
        ask(refuses(429, Retry_After="17"))
    assert caught.value.retry_after_seconds == 17


@pytest.mark.parametrize("mood", [cuts(10), drips(10), says(b" " * (MAX_ANSWER_BYTES + 1))])
def test_ask__no_whole_answer(mood: Mood) -> None:
    with pytest.raises(NoAnswerError):
        ask(mood, timeout_seconds=0.3)


def test_ask__a_refused_request_and_a_refused_caller() -> None:
    with pytest.raises(RequestRefusedError, match=r"the endpoint returned HTTP 400 \(no: 400\)"):
        ask(refuses(400))
    for status in (401, 403, 404, 301):
        with pytest.raises(EndpointRefusedError, match=f"HTTP {status}"):
            ask(refuses(status, Location="http://127.0.0.1:1/"))


def test_ask__only_whom_the_settings_allow() -> None:
    with pytest.raises(PrivateAddressError, match=r"list the host in platform\.downloading\.allowed_private_hosts"):
        ask(None, hosts=())


def test_check_endpoint__a_name_that_does_not_resolve_is_no_mistake_of_the_settings() -> None:
    config = EndpointConfig.model_validate({"url": "https://eyes.invalid/v1", "model": "eyes"})
    check_endpoint("eyes", config, ())
    with pytest.raises(ConfigError, match="not encrypted"):
        check_endpoint("eyes", config.model_copy(update={"url": "http://eyes.invalid/v1"}), ())
