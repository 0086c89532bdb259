"""A loopback HTTP server with scripted failures, which records its requests and how much it sent."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

PIECE = 16_384  # bytes sent at a time
RESET = struct.pack("ii", 1, 0)  # close without waiting: the other side sees a reset


@dataclass(frozen=True)
class Answer:
    """One answer; by default, that of an honest server.

    `cut` is where the body stops (a byte of this answer's body), and `then` what happens there. `flip` is a byte of the
    whole content that is sent wrong. `content_range` and `length` replace the headers Content-Range and
    Content-Length ("none": the body ends with the connection).
    """

    status: int | None = None  # None: 200, or 206 to a Range
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: the content, or the requested rest
    ranges: bool = True  # False: a Range is ignored
    etag: str | None = '"one"'
    content_range: str | None = None
    length: int | Literal["none", "chunked"] | None = None
    cut: int | None = None
    then: Literal["close", "reset", "stall", "drip"] = "close"
    flip: int | None = None
    endless: bool = False
    pace: float = 0  # seconds after each piece
    raw: bytes | None = None  # only these bytes, which are not HTTP


HONEST = Answer()


@dataclass(frozen=True)
class Asked:
    """One request, and how much was sent in response."""

    path: str
    range: str | None
    if_range: str | None
    token: str | None  # in the Authorization header
    sent: int  # bytes of a body


@dataclass
class FaultServer:
    """The server's content, its script (the last answer repeats), and its requests."""

    content: bytes
    url: str = ""
    script: list[Answer] = field(default_factory=lambda: [HONEST])
    asked: list[Asked] = field(default_factory=list)
    head: dict[str, str] = field(default_factory=dict)  # headers of the answer to HEAD, which is not counted
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: int = 0

    def plays(self, *script: Answer) -> None:
        """Set the answers from now on."""
        self.script, self.answered, self.asked = list(script), 0, []

    @property
    def sent(self) -> int:
        """Bytes in all bodies."""
        return sum(request.sent for request in self.asked)

    def next_answer(self) -> Answer:
        with self.lock:
            self.answered += 1
            return self.script[min(self.answered, len(self.script)) - 1]


def make_handler(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            self.count = 0
            with suppress(OSError):  # the client has disconnected
                self.play(server.next_answer())
            with server.lock:
                asked = (self.headers[name] for name in ("Range", "If-Range", "Authorization"))
                server.asked.append(Asked(self.path, *asked, sent=self.count))

        def do_HEAD(self) -> None:
            self.send_response(200)
            for name, value in server.head.items():
                self.send_header(name, value)
            self.end_headers()

        def play(self, answer: Answer) -> None:
            if answer.raw is not None:
                self.wfile.write(answer.raw)
                return
            start = self.start_of(answer)
            content = flipped(server.content, answer.flip)
            body = content[start:] if answer.body is None else answer.body
            self.send_response(answer.status or (206 if start else 200))
            self.send_headers(answer, start, len(body))
            if answer.status in (204, 304):
                return
            self.send_body(answer, body)

        def start_of(self, answer: Answer) -> int:
            wanted = self.headers["Range"]
            same = self.headers["If-Range"] in (None, answer.etag)
            partial = answer.ranges and wanted and same and answer.status in (None, 206)
            return int(wanted.removeprefix("bytes=").rstrip("-")) if partial else 0

        def send_headers(self, answer: Answer, start: int, length: int) -> None:
            total = len(server.content)
            content_range = answer.content_range or (f"bytes {start}-{total - 1}/{total}" if start else "")
            if content_range and content_range != "none":
                self.send_header("Content-Range", content_range)
            if answer.etag:
                self.send_header("ETag", answer.etag)
            if answer.length == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            elif answer.length != "none":
                self.send_header("Content-Length", str(length if answer.length is None else answer.length))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()

        def send_body(self, answer: Answer, body: bytes) -> None:
            until = len(body) if answer.cut is None else min(answer.cut, len(body))
            for start in range(0, until, PIECE):
                self.send_piece(answer, body[start : min(start + PIECE, until)])
            if answer.endless:
                while not server.closing.is_set():
                    self.send_piece(answer, bytes(PIECE))
            if answer.cut is not None:
                return self.stop(answer, body[until:])
            if answer.length == "chunked":
                self.wfile.write(b"0\r\n\r\n")
            return None

        def send_piece(self, answer: Answer, piece: bytes) -> None:
            if answer.length == "chunked":
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                self.wfile.write(piece)
            self.count += len(piece)
            if answer.pace:
                time.sleep(answer.pace)

        def stop(self, answer: Answer, rest: bytes) -> None:
            self.wfile.flush()
            if answer.then == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self.connection.close()
            elif answer.then == "stall":
                self.connection.settimeout(10)
                self.connection.recv(1)  # until the client gives up
            elif answer.then == "drip":
                for byte in rest:
                    self.send_piece(answer, bytes([byte]))
                    if server.closing.wait(0.01):
                        return

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


def flipped(content: bytes, at: int | None) -> bytes:
    """Return the content with one bit of a byte flipped."""
    return content if at is None else content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


class Quiet(ThreadingHTTPServer):
    """A server that does not print errors when a client disconnects."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving(content: bytes, secure: Callable[[socket.socket], ssl.SSLSocket] | None = None) -> Iterator[FaultServer]:
    """Serve a content on loopback; `secure` wraps the socket for https."""
    server = FaultServer(content)
    listening = Quiet(("127.0.0.1", 0), make_handler(server))
    if secure:
        listening.socket = secure(listening.socket)
    server.url = f"http{'s' if secure else ''}://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closing.set()
    listening.shutdown()
    thread.join()
    listening.server_close()
