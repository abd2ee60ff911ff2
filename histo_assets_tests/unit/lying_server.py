"""A local HTTP server that drops connections, truncates and lies, as asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Request"], None]


@dataclass
class Request:
    """One request, and how to answer it."""

    handler: BaseHTTPRequestHandler
    content: bytes
    number: int

    @property
    def start(self) -> int:
        """First byte asked for."""
        asked = self.handler.headers.get("Range", "bytes=0-")
        return int(asked.removeprefix("bytes=").split("-")[0])

    @property
    def is_partial(self) -> bool:
        """Whether a range was asked for."""
        return "Range" in self.handler.headers

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        """Answer; `length` may lie."""
        self.handler.send_response(status)
        stated = {"Content-Length": str(len(body) if length is None else length)} | (headers or {})
        for name, value in stated.items():
            if value:
                self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def serve(self, at_most: int | None = None, etag: str = '"one"') -> None:
        """Answer truthfully, but stop after `at_most` bytes of the body."""
        body = self.content[self.start :]
        headers = {"ETag": etag}
        if self.is_partial:
            if self.start >= len(self.content):
                self.send(416, b"", {"Content-Range": f"bytes */{len(self.content)}"})
                return
            headers["Content-Range"] = f"bytes {self.start}-{len(self.content) - 1}/{len(self.content)}"
        self.send(206 if self.is_partial else 200, body[:at_most], headers, length=len(body))
        if at_most is not None and at_most < len(body):
            self.handler.close_connection = True


@dataclass
class Server:
    """The address of a running server, and what it was asked."""

    address: str
    contents: dict[str, bytes]
    answers: list[Answer]
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def starts(self) -> list[str | None]:
        """The Range header of every request."""
        return [byte_range for _, byte_range in self.asked]


@contextmanager
def serving(contents: dict[str, bytes], *answers: Answer) -> Iterator[Server]:
    """Yield a server of `contents` by path; request n is answered by `answers[n]`, those after the last truthfully."""
    server = Server("", contents, list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = len(server.asked)
            server.asked.append((self.path, self.headers.get("Range")))
            content = server.contents.get(self.path)
            request = Request(self, content or b"", number)
            if content is None and number >= len(server.answers):
                request.send(404, b"nothing here")
                return
            answer = server.answers[number] if number < len(server.answers) else Request.serve
            try:
                answer(request)
            except (BrokenPipeError, ConnectionResetError):
                return

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.address = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def dropping(after: int) -> Answer:
    """Return the answer that ends the connection after some bytes."""
    return lambda request: request.serve(at_most=after)


def refusing(status: int, **headers: str) -> Answer:
    """Return the answer with an error status."""
    return lambda request: request.send(status, b"no", {name.replace("_", "-"): v for name, v in headers.items()})


def stalling(seconds: float) -> Answer:
    """Return the answer that promises a body and sends nothing for a while."""

    def answer(request: Request) -> None:
        request.send(200, b"", {"ETag": '"one"'}, length=len(request.content))
        time.sleep(seconds)

    return answer


def trickling(chunk: int, pause: float) -> Answer:
    """Return the answer that is truthful and slow."""

    def answer(request: Request) -> None:
        body = request.content[request.start :]
        total = len(request.content)
        headers = {"ETag": '"one"'}
        if request.is_partial:
            headers["Content-Range"] = f"bytes {request.start}-{total - 1}/{total}"
        request.send(206 if request.is_partial else 200, b"", headers, length=len(body))
        for place in range(0, len(body), chunk):
            request.handler.wfile.write(body[place : place + chunk])
            time.sleep(pause)

    return answer
