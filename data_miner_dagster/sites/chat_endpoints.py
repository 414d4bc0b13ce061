"""Send a question with an image to a server that implements OpenAI's chat completions API, and return the answer.

The answer is untrusted: its size is limited, it is parsed only as JSON, and this module does not act on its content.
Does not belong here: retries and pauses (operations/verification/endpoint_verifier.py), or the meaning of the text
(stages/verification/answers.py).

Source: the OpenAI API reference, "Create chat completion", with image inputs as data URLs.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from data_miner_dagster import __version__
from data_miner_dagster.config.verification import EndpointConfig
from data_miner_dagster.domain.errors import ConfigError, PermanentError, TransientError
from data_miner_dagster.domain.foreign_text import clean_text, clean_whole
from data_miner_dagster.domain.secret_values import without_secrets
from data_miner_dagster.sites.guarded_http import GuardedHttp, HttpAnswer
from data_miner_dagster.sites.hosts import retry_after_seconds
from data_miner_dagster.sites.public_addresses import is_allowed_private, resolved_addresses
from data_miner_dagster.sites.references import resolve_reference

MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_TOKENS: Final = 2**31 - 1
"""The largest token count that is accepted: the maximum value of an integer column in the catalog."""
_OF_THE_REQUEST: Final = frozenset({400, 413, 415, 422})
_MAY_PASS: Final = frozenset({408, 409, 425, 429})


class EndpointBusyError(TransientError):
    """The endpoint cannot answer at present, or its response is not a chat completion.

    `retry_after_seconds` is the wait that the endpoint requests, or None if it requests none.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RequestRefusedError(PermanentError):
    """The endpoint does not accept this request. It may accept others."""


class EndpointRefusedError(PermanentError):
    """The endpoint accepts no requests at all, for example because its key, address or model name is wrong."""


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The text of an answer and its token counts. A count is None if the endpoint does not report a valid one."""

    text: str
    input_tokens: int | None
    output_tokens: int | None


def check_endpoint(name: str, config: EndpointConfig, allowed_private_hosts: tuple[str, ...]) -> None:
    """Check that the key of the endpoint `name` is set and its address is allowed, without sending a request.

    An address whose host name cannot be resolved passes, since the network may be down.

    Raises:
        ConfigError: the key is missing or invalid, or the address is invalid or not allowed.
    """
    asker = f"platform.models.endpoints.{name}"
    if config.api_key is not None:
        _key_of(name, config)
    parts = urlsplit(config.url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_allowed_private(host, allowed_private_hosts):
        raise ConfigError(
            f"{asker}.url: requests to {config.url}, with their pictures and any key, are not encrypted; use https://, "
            f"or list {host} in platform.downloading.allowed_private_hosts if the server is your own"
        )
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        resolved_addresses(host, port, allowed_private_hosts)
    except ConfigError as error:
        raise ConfigError(f"{asker}.url: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{asker}.url: {config.url} is not a valid URL ({error}); correct it") from None
    except OSError:
        return  # the network is down, which is not a configuration error


def _key_of(name: str, config: EndpointConfig) -> str:
    key = resolve_reference(config.api_key or "", asker=f"platform.models.endpoints.{name}.api_key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"platform.models.endpoints.{name}.api_key: the value of {config.api_key} is not a valid key; use "
            "printable ASCII characters without spaces"
        )
    return key


class ChatEndpoint:
    """A thread-safe client for one chat endpoint, which it queries over persistent connections.

    Raises:
        ConfigError: the endpoint's key cannot be resolved, or is not valid.
    """

    def __init__(self, name: str, config: EndpointConfig, client: GuardedHttp) -> None:
        self._config = config
        self._client = client
        self._url = f"{config.url.rstrip('/')}/chat/completions"
        self._headers = {"Content-Type": "application/json", "User-Agent": f"data-miner-dagster/{__version__}"}
        self._headers["Host"] = urlsplit(config.url).netloc
        if config.api_key is not None:
            self._headers["Authorization"] = f"Bearer {_key_of(name, config)}"

    def ask(self, prompt: str, jpeg: bytes, answer_schema: dict[str, Any]) -> ChatAnswer:
        """Send a question with an image, and return the answer.

        `answer_schema` is the JSON schema of the wanted answer. It is sent only if the endpoint's `answer_format` is
        `json_schema`.

        Raises:
            EndpointBusyError, NoAnswerError: the request failed, but another try may succeed.
            RequestRefusedError: the endpoint does not accept this request.
            EndpointRefusedError: the endpoint does not accept any request.
            PrivateAddressError: the endpoint's address is not allowed.
        """
        answer = self._client.post(
            self._url,
            self._body(prompt, jpeg, answer_schema),
            self._headers,
            timeout_seconds=self._config.timeout_seconds,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if answer.status == 200:
            return _chat_answer(answer.body)
        raise _error_of(answer)

    def _body(self, prompt: str, jpeg: bytes, answer_schema: dict[str, Any]) -> bytes:
        picture = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}}]
        body: dict[str, Any] = {
            **self._config.parameters,
            "model": self._config.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._config.max_tokens,
        }
        if self._config.answer_format == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": answer_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self._config.answer_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return json.dumps(body).encode()


def _error_of(answer: HttpAnswer) -> Exception:
    status = answer.status
    said = _said(answer.body)
    line = f"the endpoint returned HTTP {status}{f' ({said})' if said else ''}"
    if status in _MAY_PASS or status >= 500:
        return EndpointBusyError(line, retry_after_seconds(answer.headers.get("retry-after")))
    if status in _OF_THE_REQUEST:
        return RequestRefusedError(line)
    return EndpointRefusedError(line)


def _said(body: bytes) -> str | None:
    """Return the error message in a response's body, or else the start of the body, as one short line.

    Return None if the body has no text.
    """
    try:
        error = json.loads(body)["error"]
        said = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, LookupError, TypeError):
        said = body[:400].decode("utf-8", "replace")
    return clean_text(without_secrets(str(said)[:2000]), 120)


def _chat_answer(body: bytes) -> ChatAnswer:
    try:
        content = json.loads(body)
        message = content["choices"][0]["message"]
        text = _text_of(message)
    except (ValueError, RecursionError, LookupError, TypeError):
        text = None
    if text is None:
        said = _said(body)
        raise EndpointBusyError(f"the endpoint's answer is not a chat completion{f' ({said})' if said else ''}")
    usage = content.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    return ChatAnswer(
        text,
        clean_whole(counted.get("prompt_tokens"), _MAX_TOKENS),
        clean_whole(counted.get("completion_tokens"), _MAX_TOKENS),
    )


def _text_of(message: dict[str, Any]) -> str | None:
    """Return the text or refusal in a message, which may be empty, or None if `message` is not a valid message."""
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    if isinstance(content, list):  # some servers answer in parts
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    if isinstance(content, str):
        return content
    return str(message.get("refusal") or "") if content is None else None
