"""A local proxy that speaks CONNECT and SOCKS5, and forwards all connections to one server."""

import base64
import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase


class Tunnel(socketserver.StreamRequestHandler):
    """Serves one connection: a CONNECT or SOCKS5 greeting, then bytes in both directions."""

    server: "TunnelServer"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            first = self.rfile.read(1)
            if first and (self._socks() if first == b"\x05" else self._connect(first)):
                self._carry()

    def _connect(self, first: bytes) -> bool:
        method, target, _ = (first + self.rfile.readline()).decode().split()
        headers = dict(line.split(": ", 1) for line in iter(lambda: self.rfile.readline().decode().strip(), ""))
        sent = base64.b64decode(headers.get("Proxy-Authorization", "").removeprefix("Basic ")).decode()
        is_welcome = method == "CONNECT" and self.server.welcomes(sent, target)
        self.wfile.write(f"HTTP/1.1 {'200 OK' if is_welcome else '407 Who are you?'}\r\n\r\n".encode())
        return is_welcome

    def _socks(self) -> bool:
        """Read a name, a password and an address, as in RFC 1928 and 1929."""
        self.rfile.read(self.rfile.read(1)[0])
        self.wfile.write(b"\x05\x02")
        self.rfile.read(1)
        sent = ":".join(self._text(self.rfile) for _ in range(2))
        if sent != self.server.credentials:
            self.wfile.write(b"\x01\x01")
            return False
        self.wfile.write(b"\x01\x00")
        kind = self.rfile.read(4)[3]
        host = socket.inet_ntoa(self.rfile.read(4)) if kind == 1 else self._text(self.rfile)
        (port,) = struct.unpack("!H", self.rfile.read(2))
        self.server.welcomes(sent, f"{host}:{port}")
        self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
        return True

    @staticmethod
    def _text(file: BufferedIOBase) -> str:
        return file.read(file.read(1)[0]).decode()

    def _carry(self) -> None:
        with socket.create_connection(self.server.leads_to) as upstream:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while block := upstream.recv(65536):
                        self.connection.sendall(block)
                    self.connection.shutdown(socket.SHUT_WR)

            thread = threading.Thread(target=back, daemon=True)
            thread.start()
            with contextlib.suppress(OSError):
                while block := self.rfile.read1(65536):
                    upstream.sendall(block)
                upstream.shutdown(socket.SHUT_WR)
            thread.join()


class TunnelServer(socketserver.ThreadingTCPServer):
    """Accepts one user, and records the targets that it was asked to connect to."""

    daemon_threads = True

    def __init__(self, leads_to: tuple[str, int], credentials: str) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.leads_to = leads_to
        self.credentials = credentials
        self.targets: list[str] = []

    def welcomes(self, credentials: str, target: str) -> bool:
        """Return whether the credentials are right, and record the target if they are."""
        if credentials == self.credentials:
            self.targets.append(target)
        return credentials == self.credentials

    def url(self, scheme: str, credentials: str | None = None) -> str:
        """Return the proxy's address, as written in a configuration."""
        return f"{scheme}://{credentials or self.credentials}@127.0.0.1:{self.server_address[1]}"


@contextmanager
def tunnel_server(leads_to: tuple[str, int], credentials: str) -> Iterator[TunnelServer]:
    """Serve from a thread while the block runs."""
    with TunnelServer(leads_to, credentials) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
