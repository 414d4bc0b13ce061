"""Verify boxes through a chat endpoint, with concurrent questions, retries, pauses, and detection of outages.

- Temporary errors (HTTP 408, 409, 425, 429 and 5xx, a broken or slow connection, an answer that is not a chat
  completion) are retried after a pause that doubles each time. `Retry-After` pauses all threads. If the last try fails,
  the box has no answer.
- The endpoint counts as unavailable after AWAY_AFTER boxes in a row without an answer, after a `Retry-After` above
  `max_pause_seconds`, or if it refuses every request (for example because the key is wrong). This run then asks no more
  questions.
- A refusal of a single request (HTTP 400, 413, 415 or 422) is attributed to its crop once the endpoint has accepted
  another request. The answer is then *cannot tell*. Until then, the endpoint or its settings may be at fault.

Belongs here: deciding when to ask. Does not belong here: sending requests (sites/chat_endpoints.py), or choosing the
boxes to ask about (verify_boxes.py).
"""

import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from data_miner_dagster.config.verification import EndpointConfig
from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.meters import for_current_meter
from data_miner_dagster.domain.secret_values import without_secrets
from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict
from data_miner_dagster.media.crops import jpeg_of_crop
from data_miner_dagster.operations.verification.replies import Crop, Keep, Reply
from data_miner_dagster.sites.chat_endpoints import (
    ChatAnswer,
    ChatEndpoint,
    EndpointBusyError,
    EndpointRefusedError,
    RequestRefusedError,
)
from data_miner_dagster.sites.guarded_http import GuardedHttp, NoAnswerError
from data_miner_dagster.stages.verification.answers import answer_of
from data_miner_dagster.stages.verification.questions import ANSWER_SCHEMA

AWAY_AFTER: Final = 3
"""The endpoint counts as unavailable after this many boxes in a row without an answer."""
REFUSED_AFTER: Final = 10
"""After this many refused requests without an accepted one, the settings are at fault rather than the crops."""
_LONGEST_DELAY_SECONDS: Final = 60.0

logger = logging.getLogger(__name__)


def endpoint_fingerprint(config: EndpointConfig) -> str:
    """Return the fingerprint of an endpoint's model, revision, parameters and answer format.

    Other settings, such as the address, do not count: answers do not depend on them.
    """
    return fingerprint_of(
        {
            "model": config.model,
            "revision": config.revision,
            "parameters": dict(config.parameters),
            "answer_format": config.answer_format,
        }
    )


class EndpointVerifier:
    """A verifier that asks one of `platform.models.endpoints`.

    Args:
        name: the endpoint's name in the settings.
        config: the settings of the endpoint.
        allowed_private_hosts: hosts that may be contacted although they are not public.
        is_known: True if the endpoint has answered before. In that case, a refusal does not indicate wrong settings.
        is_price_known: True if the price of an answer is known, or does not matter.
    """

    def __init__(
        self,
        name: str,
        config: EndpointConfig,
        allowed_private_hosts: tuple[str, ...],
        *,
        is_known: bool,
        is_price_known: bool = True,
    ) -> None:
        self.name = name
        self.fingerprint = endpoint_fingerprint(config)
        self.why_away: str | None = None
        self._config = config
        self._allowed_private_hosts = allowed_private_hosts
        self._is_known = is_known
        self._is_price_known = is_price_known
        self._pause = _Pause(config)
        self._num_failed_in_a_row = 0
        self._refused: list[Reply] = []

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield the replies to the crops as they arrive. No more crops are taken once the endpoint is unavailable.

        Until an answer and its price are known, questions are asked one at a time. The reply to a refused request is
        yielded when another request is accepted, or else at the end.

        Raises:
            ConfigError: the key is missing or invalid, the address is not allowed, or the endpoint refuses every
                request and has never answered one.
        """
        number = self._config.concurrent_requests
        with (
            GuardedHttp(self._allowed_private_hosts, num_connections=number) as client,
            _threads(number, self._pause) as threads,
        ):
            endpoint = ChatEndpoint(self.name, self._config, client)
            ask = for_current_meter(partial(self._ask, endpoint, keep))
            open_requests: set[Future[Reply | _Refused]] = set()
            for crop in crops:
                open_requests.add(threads.submit(ask, crop))
                while len(open_requests) >= (2 * number if self._is_known and self._is_price_known else 1):
                    done, open_requests = wait(open_requests, return_when=FIRST_COMPLETED)
                    yield from self._settled(done, keep)
                if self.why_away is not None:
                    break
            while open_requests:
                done, open_requests = wait(open_requests, return_when=FIRST_COMPLETED)
                yield from self._settled(done, keep)
            yield from self._left_over()

    def _settled(self, done: Iterable["Future[Reply | _Refused]"], keep: Keep) -> Iterator[Reply]:
        """Yield the replies to finished requests, and stop asking if they show that the endpoint is unavailable.

        A refused request is held back until the endpoint accepts another one, which shows that its crop is at fault.

        Raises:
            ConfigError: the endpoint refuses every request, and has never answered one.
        """
        for future in done:
            try:
                found = future.result()
            except EndpointRefusedError as error:
                self._go_away(str(error), takes_none=True)
                continue
            except ConfigError as error:  # the endpoint's address is not allowed, as its message explains
                self._go_away(str(error), takes_none=True, remedy="")
                continue
            if isinstance(found, _Refused):
                self._refused.append(found.reply)
                if not self._is_known and len(self._refused) >= REFUSED_AFTER:
                    self._go_away(found.reply.line, takes_none=True)
            elif found.answer is None:
                self._num_failed_in_a_row += 1
                if self._num_failed_in_a_row >= AWAY_AFTER or self._pause.too_long is not None:
                    self._go_away(self._pause.too_long or found.line)
                yield found
            else:
                self._num_failed_in_a_row = 0
                self._is_known = self._is_price_known = True
                yield found
            if self._is_known and self._refused:
                told = [_as_cannot_tell(reply) for reply in self._refused]
                self._refused = []
                keep(told)
                yield from told

    def _left_over(self) -> Iterator[Reply]:
        """If no request was accepted, yield a reply without an answer for each refused request.

        A later run asks these questions again. If there are at least AWAY_AFTER of them, the endpoint counts as
        unavailable.

        Raises:
            ConfigError: the endpoint counts as unavailable, and has never answered a request.
        """
        if len(self._refused) >= AWAY_AFTER:
            self._go_away(self._refused[0].line, takes_none=True)
        yield from self._refused

    def _go_away(self, line: str, *, takes_none: bool = False, remedy: str | None = None) -> None:
        """Stop asking, because the endpoint is unavailable. Only the first call has an effect.

        Args:
            line: the reason.
            takes_none: True if the endpoint refuses every request, rather than being down or busy. If it has never
                answered a request, its settings are at fault.
            remedy: the end of the error message, or None to ask the user to correct the settings.

        Raises:
            ConfigError: `takes_none` is True, and the endpoint has never answered a request.
        """
        if self.why_away is not None:
            return
        self.why_away = f"verifier {self.name}: {line}"
        self._pause.end()
        if takes_none and not self._is_known:
            settings = f"; correct its url, api_key, model or parameters in platform.models.endpoints.{self.name}"
            raise ConfigError(f"{self.why_away}{settings if remedy is None else remedy}")
        logger.warning("%s; no more questions are asked in this run", self.why_away)

    def _ask(self, endpoint: ChatEndpoint, keep: Keep, crop: Crop) -> "Reply | _Refused":
        jpeg = jpeg_of_crop(crop.rgb)
        line = "no more questions are asked in this run"
        for number in range(1, self._config.tries + 1):
            if not self._pause.wait():
                break
            try:
                answer = endpoint.ask(crop.prompt, jpeg, ANSWER_SCHEMA)
            except (EndpointBusyError, NoAnswerError) as error:
                line = str(error)
                self._pause.after(error, number)
            except RequestRefusedError as error:
                return _Refused(Reply(crop, line=str(error)))
            else:
                reply = self._reply(crop, answer)
                keep([reply])
                return reply
        return Reply(crop, line=line)

    def _reply(self, crop: Crop, answer: ChatAnswer) -> Reply:
        said = answer_of(without_secrets(answer.text))
        return Reply(
            crop,
            said,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            cost=_cost_of(answer, self._config),
        )


def _as_cannot_tell(refused: Reply) -> Reply:
    return Reply(refused.crop, BoxAnswer(VerifierVerdict.CANNOT_TELL, f"not examined: {refused.line}"))


def _cost_of(answer: ChatAnswer, config: EndpointConfig) -> float | None:
    if config.price_per_box is not None:
        return config.price_per_box
    prices = (config.price_per_million_input_tokens, config.price_per_million_output_tokens)
    tokens = (answer.input_tokens, answer.output_tokens)
    if None in prices or None in tokens:
        return None
    return sum(price * number / 1e6 for price, number in zip(prices, tokens, strict=True) if price and number)


@dataclass(frozen=True, slots=True)
class _Refused:
    """A reply that has no answer, because the endpoint refused the request."""

    reply: Reply


class _Pause:
    """The pauses between requests. A pause that the server demands from one thread applies to all of them."""

    def __init__(self, config: EndpointConfig) -> None:
        self.too_long: str | None = None
        """The error message if the server demanded a pause longer than `max_pause_seconds`, or else None."""
        self._config = config
        self._changed = threading.Condition()
        self._has_ended = False
        self._until = 0.0  # time.monotonic()
        self._own = threading.local()

    def wait(self) -> bool:
        """Wait until this thread may send a request. Return False if no more requests may be sent."""
        with self._changed:
            while not self._has_ended:
                left = max(self._until, getattr(self._own, "until", 0.0)) - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
        return False

    def after(self, error: EndpointBusyError | NoAnswerError, number: int) -> None:
        """Set the pause after a failed try in this thread. `number` is 1 for the first try of a question.

        If the server demanded a pause, all threads observe it. If that pause is too long, no more requests are sent.
        """
        delay = min(self._config.try_delay_seconds * 2.0 ** (number - 1), _LONGEST_DELAY_SECONDS)
        self._own.until = time.monotonic() + (delay if number < self._config.tries else 0.0)
        asked_for = getattr(error, "retry_after_seconds", None)
        if asked_for is None:
            return
        with self._changed:
            if asked_for > self._config.max_pause_seconds:
                self.too_long = str(error)
                self._has_ended = True
                self._changed.notify_all()
            self._until = max(self._until, time.monotonic() + asked_for)

    def end(self) -> None:
        """Make `wait` return False in all threads, so that no more requests are sent."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


@contextmanager
def _threads(number: int, pause: _Pause) -> Iterator[InheritingThreads]:
    """Yield a thread pool. When the block ends, waiting threads give up, and queued requests are cancelled."""
    threads = InheritingThreads(number, thread_name_prefix="verify")
    try:
        yield threads
    finally:
        pause.end()
        threads.shutdown(wait=False, cancel_futures=True)
