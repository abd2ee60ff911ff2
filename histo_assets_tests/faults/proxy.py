"""An HTTP proxy before an object store that answers 500, slowly, or half."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code>'
    b"<Message>We encountered an internal error. Please try again.</Message></Error>"
)
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}


@dataclass
class Weather:
    """How often, of all requests, the proxy answers 500, waits, or stops in the middle of a body."""

    errors: float = 0.0
    slow: float = 0.0
    half: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    count: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of_a_request(self) -> str:
        """Return what happens to a request: `error`, `slow`, `half` or `good`."""
        with self._lock:
            drawn = self.chance.random()
            for name, share in (("error", self.errors), ("slow", self.slow), ("half", self.half)):
                if drawn < share:
                    self.count[name] += 1
                    return name
                drawn -= share
            self.count["good"] += 1
            return "good"


@contextmanager
def proxy(target: str, weather: Weather) -> Iterator[str]:
    """Yield the address of a proxy before `target`, an `http://` address."""
    host = urlsplit(target).netloc

    class Forwarding(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self._body()
            kind = weather.of_a_request()
            if kind == "error":
                self._answer(500, [("Content-Type", "application/xml")], ERROR)
                return
            upstream = http.client.HTTPConnection(host, timeout=60)
            try:
                kept = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                kept["Content-Length"] = str(len(body))
                upstream.request(self.command, self.path, body, kept)
                answer = upstream.getresponse()
                content = answer.read()
                if kind == "slow":
                    time.sleep(1.5)
                self._answer(answer.status, answer.getheaders(), content, half=kind == "half")
            finally:
                upstream.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, half: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP | {"content-length"} or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD" and status not in (204, 304):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if half else body)
            if half:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwarding)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that was killed
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
