"""A server on loopback that speaks OpenAI's chat completions API, examines the pictures, and can misbehave."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from data_miner_dagster.domain.records import RgbImage

KEY = "sk-loopback-0123456789"
Judge = Callable[[RgbImage, str], str]
"""A function that returns the text of the answer to a picture and a prompt."""
Mood = Callable[["_Handler"], bool]
"""What the server does with a request before it reads the picture. True means that the request is finished."""


@dataclass
class ChatServer:
    """What the server has received, and how it behaves.

    Each request uses up one of the `moods`. When all are used up, the server answers normally.
    """

    judge: Judge
    moods: list[Mood] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    key: str | None = KEY
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 20})
    port: int = 0
    most_at_once: int = 0
    num_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """The server's address, as it is written in settings."""
        return f"http://127.0.0.1:{self.port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    chat: ChatServer

    def do_POST(self) -> None:
        chat = self.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with chat.lock:
            chat.bodies.append(body)
            chat.num_at_once += 1
            chat.most_at_once = max(chat.most_at_once, chat.num_at_once)
            mood = chat.moods.pop(0) if chat.moods else None
        try:
            if mood is not None and mood(self):
                return None
            if chat.key is not None and self.headers["Authorization"] != f"Bearer {chat.key}":
                return self.answer(401, {"error": {"message": f"wrong key {self.headers['Authorization']}"}})
            text, picture = (part for part in body["messages"][0]["content"])
            jpeg = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
            rgb = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
            said = chat.judge(rgb, text["text"])
            message = {"role": "assistant", "content": said}
            usage = {} if chat.usage is None else {"usage": chat.usage}
            return self.answer(200, {"choices": [{"index": 0, "message": message}], **usage})
        finally:
            with chat.lock:
                chat.num_at_once -= 1

    def answer(self, status: int, content: object, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def refuses(status: int, **headers: str) -> Mood:
    """Return a mood in which the server answers with a status, and headers such as `Retry_After="1"`."""

    def mood(handler: _Handler) -> bool:
        handler.answer(status, {"error": {"message": f"no: {status}"}}, **headers)
        return True

    return mood


def says(content: object) -> Mood:
    """Return a mood in which the server answers 200 with `content` as the body."""

    def mood(handler: _Handler) -> bool:
        handler.answer(200, content)
        return True

    return mood


def cuts(num_bytes: int = 0) -> Mood:
    """Return a mood in which the server promises a body, sends `num_bytes` of it and closes the connection."""

    def mood(handler: _Handler) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * num_bytes)
        handler.close_connection = True
        return True

    return mood


def drips(seconds: float) -> Mood:
    """Return a mood in which the server sends a byte of its header now and then, for `seconds` in total."""

    def mood(handler: _Handler) -> bool:
        until = time.monotonic() + seconds
        handler.close_connection = True
        try:
            while time.monotonic() < until:
                handler.wfile.write(b"H")
                time.sleep(0.02)
        except OSError:
            pass
        return True

    return mood


def answer_text(verdict: str, reason: str = "because") -> str:
    """Return the text of an answer in the agreed form."""
    return json.dumps({"verdict": verdict, "reason": reason})


def always(verdict: str) -> Judge:
    """Return a judge that gives the same verdict on every picture."""
    return lambda _rgb, _prompt: answer_text(verdict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Ignore clients that are killed or close their connections."""


@contextmanager
def chat_server(judge: Judge, moods: Sequence[Mood] = (), *, key: str | None = KEY) -> Iterator[ChatServer]:
    """Yield a chat server that runs until the block ends."""
    chat = ChatServer(judge, list(moods), key=key)
    handler = type("Handler", (_Handler,), {"chat": chat})
    server = _Server(("127.0.0.1", 0), handler)
    chat.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
