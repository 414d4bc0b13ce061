"""A local HTTP server that misbehaves as told, and records every request."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Exchange"], None]
"""Writes the whole answer to one request."""


@dataclass
class Request:
    """A request as the server received it."""

    at: float  # time.monotonic()
    path: str
    range_start: int | None
    headers: dict[str, str]
    status: int = 0
    body_bytes_sent: int = 0


class Exchange(BaseHTTPRequestHandler):
    """Answers one request. With HTTP/1.0, each connection carries one request."""

    server: "HostileServer"
    seen: Request

    def do_GET(self) -> None:
        range_header = self.headers.get("Range", "")
        start = int(range_header.removeprefix("bytes=").split("-")[0]) if range_header else None
        self.seen = Request(time.monotonic(), self.path, start, dict(self.headers.items()))
        with self.server.lock:
            self.server.requests.append(self.seen)
        answer = self.server.answers.get(self.path.partition("?")[0], status(404))
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_POST(self) -> None:
        with self.server.lock:
            answer = self.server.posts.get(self.path, status(404))
        self.seen = Request(time.monotonic(), self.path, None, dict(self.headers.items()))
        answer(self)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def start(self, code: int, length: int | None = None, kind: str = "video/mp4", **headers: str) -> None:
        """Send the status line and headers."""
        self.seen.status = code
        self.send_response(code)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def body(self, content: bytes) -> None:
        """Send bytes, and count them."""
        self.wfile.write(content)
        self.wfile.flush()
        self.seen.body_bytes_sent += len(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class HostileServer(ThreadingHTTPServer):
    """Maps paths to answers. The answer for an unknown path is 404."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), Exchange)
        self.answers: dict[str, Answer] = {}
        self.posts: dict[str, Answer] = {}  # POST requests are not recorded in `requests`
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.host = host

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up."""

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return the address of a path."""
        return f"http://{host or self.host}:{self.server_address[1]}{path}"

    def add(self, path: str, answer: Answer) -> str:
        """Set the answer for a path, and return the path's address."""
        self.answers[path] = answer
        return self.url(path)

    def count(self, path: str | None = None) -> int:
        """Return the number of requests for a path, or for all paths."""
        with self.lock:
            return sum(path is None or request.path.partition("?")[0] == path for request in self.requests)


@contextmanager
def hostile_server(host: str = "127.0.0.1") -> Iterator[HostileServer]:
    """Serve from a thread while the block runs."""
    server = HostileServer(host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


# --- answers ---


def whole_file(content: bytes, kind: str = "video/mp4") -> Answer:
    """Return an answer with the content: 200, or 206 for a range."""

    def answer(exchange: Exchange) -> None:
        start = exchange.seen.range_start
        if start is None:
            exchange.start(200, len(content), kind, Accept_Ranges="bytes")
            exchange.body(content)
        elif start >= len(content):
            exchange.start(416, 0, kind, Content_Range=f"bytes */{len(content)}")
        else:
            rest = content[start:]
            exchange.start(206, len(rest), kind, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
            exchange.body(rest)

    return answer


def page(html: str, kind: str = "text/html; charset=utf-8") -> Answer:
    """Return an answer with a text and status 200."""
    content = html.encode()

    def answer(exchange: Exchange) -> None:
        exchange.start(200, len(content), kind)
        exchange.body(content)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Return an empty answer with this status."""

    def answer(exchange: Exchange) -> None:
        exchange.start(code, 0, "text/plain", **headers)

    return answer


def redirect(location: str) -> Answer:
    """Return an answer that redirects with status 302."""
    return status(302, Location=location)


def in_turn(*answers: Answer) -> Answer:
    """Give the first request the first answer, and so on. Further requests get the last answer."""
    counter: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(exchange: Exchange) -> None:
        with lock:
            number = counter[exchange.path]
            counter[exchange.path] += 1
        answers[min(number, len(answers) - 1)](exchange)

    return answer


def cut_off(content: bytes, share: float) -> Answer:
    """Promise the whole content, send only this share of it, and hang up."""

    def answer(exchange: Exchange) -> None:
        start = exchange.seen.range_start or 0
        rest = content[start:]
        if exchange.seen.range_start is None:
            exchange.start(200, len(rest))
        else:
            exchange.start(206, len(rest), Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        exchange.body(rest[: int(len(rest) * share)])

    return answer


def wrong_length(content: bytes, length: int) -> Answer:
    """Send the content with a wrong Content-Length."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, length)
        exchange.body(content)

    return answer


def slow_loris(seconds_a_byte: float = 0.05) -> Answer:
    """Send endless headers, one byte at a time, so that no single read times out."""

    def answer(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not exchange.server.stopping.wait(seconds_a_byte):
            exchange.wfile.write(b"a")
            exchange.wfile.flush()

    return answer


def slow_body(content: bytes, seconds_a_piece: float, pieces: int = 10) -> Answer:
    """Send the right bytes slowly."""

    def answer(exchange: Exchange) -> None:
        start = exchange.seen.range_start or 0
        rest = content[start:]
        if exchange.seen.range_start is None:
            exchange.start(200, len(rest))
        else:
            exchange.start(206, len(rest), Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        step = max(1, len(rest) // pieces)
        for position in range(0, len(rest), step):
            exchange.body(rest[position : position + step])
            exchange.server.stopping.wait(seconds_a_piece)

    return answer


def endless_body(kind: str = "video/mp4") -> Answer:
    """Send endless bytes without a Content-Length."""

    def answer(exchange: Exchange) -> None:
        exchange.start(200, None, kind)
        while not exchange.server.stopping.is_set():
            exchange.body(b"\0" * 65536)

    return answer
