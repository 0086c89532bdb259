"""Downloads over HTTP: resumed where they were interrupted, retried within limits, and never downgraded from https.

Nothing that a server claims is trusted: the size and SHA-256 of the complete file decide at the end.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zoo_core.cards.files import Source
from zoo_core.disk.atomic import disk_errors
from zoo_core.errors import IntegrityError, NetworkError, ResourceError, ZooError
from zoo_core.store.partial_download import Partial

if TYPE_CHECKING:  # a quarter of the time that `zoo list` takes, and only a download needs it
    import httpx

BUSY = (408, 425, 429)  # like any 5xx: the same request may succeed later
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
STRONG = re.compile(r'"[!#-~]*"')  # a weak one, W/"…", does not promise identical bytes
PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a download is tried, and how long anything is waited for; times are in seconds."""

    tries: int = 6
    connect: float = 10.0
    read: float = 10.0  # without a byte, or with fewer than `slowest` per second
    slowest: int = 100  # bytes per second
    pause: float = 0.5  # before the second try; doubled before each further one
    longest_pause: float = 60.0  # even if a server asks for more
    redirects: int = 5
    client_stall: float = 120.0  # without a new byte from the user's package client, which retries on its own
    silence: float = 10.0  # for another process that fetches the same file, before saying so
    lock: float = 600.0  # for that process in total, before fetching it too: the lock only saves bandwidth


OnBytes = Callable[[int, int], None]  # called with (bytes so far, bytes in total)


@dataclass(frozen=True)
class Request:
    """What to ask for: a URL, and headers. httpx drops `Authorization` when a redirect leads to another host."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a token


class _Retry(Exception):
    """A try failed in a way that may not happen again; `pause` is what the server asks for, in seconds."""

    def __init__(self, cause: str, pause: float | None = None) -> None:
        super().__init__(cause)
        self.cause, self.pause = cause, pause


class _RestartFromZero(Exception):
    """The partial file is not the beginning of what the server sends; `error` is raised if that happens twice."""

    def __init__(self, error: ZooError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def downloaded(
    source: Source, request: Request, scratch: Path, on_bytes: OnBytes, retry: RetryPolicy
) -> Iterator[Path]:
    """Download what `request` asks for, and provide a path to it, complete and verified; it is deleted afterwards.

    If the connection fails or this process is stopped, the partial file is left in `scratch` for the next try.

    Raises:
        NetworkError: the server could not be reached, refused, or failed too often.
        IntegrityError: the content does not match the source, or the server redirects from https to something else.
        ResourceError: the disk is full or read-only, or permission is denied.
    """
    with disk_errors(scratch, source.size):
        partial = Partial(scratch, source.sha256, source.size)
    try:
        with disk_errors(scratch, source.size):
            partial.resume()
            _Download(source, request, partial, on_bytes, retry).run()
        yield partial.path
    except (IntegrityError, ResourceError):
        partial.drop()
        raise
    except BaseException:
        partial.leave()
        raise
    partial.drop_all()


@dataclass
class _Download:
    """The download of one source into a Partial."""

    source: Source
    request: Request
    partial: Partial
    on_bytes: OnBytes
    retry: RetryPolicy
    failures: int = 0

    def run(self) -> None:
        """Download and verify all of it."""
        import httpx  # slow to import, and only downloads need it

        try:
            timeout = httpx.Timeout(self.retry.read, connect=self.retry.connect)
            headers = {**self.request.headers, "Accept-Encoding": "identity"}
            with httpx.Client(timeout=timeout, headers=headers) as client:
                self._until_complete(client)
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:  # the last two: proxy settings
            raise self._failed(_cause(error)) from error

    def _until_complete(self, client: httpx.Client) -> None:
        restarts = 0
        while True:
            try:
                self._get_rest(client)
                return self._verify()
            except _RestartFromZero as restart:
                restarts += 1
                if restarts > 1:
                    raise restart.error from None
                self.partial.restart(None)
            except _Retry as failure:
                self._pause(failure)

    def _pause(self, failure: _Retry) -> None:
        if self.failures + 1 >= self.retry.tries:
            raise self._failed(failure.cause) from failure.__cause__
        pause = self.retry.pause * 2**self.failures * random.uniform(0.5, 1)
        self.failures += 1
        time.sleep(min(pause if failure.pause is None else failure.pause, self.retry.longest_pause))

    def _get_rest(self, client: httpx.Client) -> None:
        """Request the missing bytes, and receive them."""
        import httpx  # slow to import, and only downloads need it

        if self.partial.count == self.source.size:
            return
        try:
            with self._answer(client) as response:
                self._accept(response)
                self._receive(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if self.failures == 0:  # nothing listens on that port: report it at once
                raise
            raise _Retry(_cause(error)) from error
        except httpx.TransportError as error:
            raise _Retry(_cause(error)) from error

    @contextmanager
    def _answer(self, client: httpx.Client) -> Iterator[httpx.Response]:
        """Provide the response after all redirects; the bodies of the redirects are not read."""
        request = client.build_request("GET", self.request.url, headers=self._range_headers())
        for _ in range(self.retry.redirects + 1):
            with closing(client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                self._refuse_downgrade(request.url.scheme, response.next_request.url.scheme)
                request = response.next_request
        raise self._failed(f"it redirects more than {self.retry.redirects} times")

    def _refuse_downgrade(self, before: str, after: str) -> None:
        if after not in ("https", before):
            why = "https may only redirect to https, and http only to http or https"
            raise IntegrityError(f"{self.source.uri} redirects from {before} to {after}", why=why)

    def _range_headers(self) -> dict[str, str]:
        if self.partial.count == 0:
            return {}
        etag = _strong(self.partial.etag)
        return {"Range": f"bytes={self.partial.count}-"} | ({"If-Range": etag} if etag else {})

    def _accept(self, response: httpx.Response) -> None:
        """Accept a body that is the complete file, or the rest that was requested."""
        status = response.status_code
        if status == 200:
            self.partial.restart(_strong(response.headers.get("ETag")))
        elif status == 206 and self._is_rest(response):
            self.partial.joined = True
        elif status in (206, 416):
            content_range = response.headers.get("Content-Range", "no Content-Range")
            raise _RestartFromZero(self._failed(f"asked for the rest, it answers {status} with {content_range}"))
        elif status in BUSY or status >= 500:
            raise _Retry(_status(response), _asked_pause(response.headers.get("Retry-After", "")))
        else:
            raise self._failed(_status(response))

    def _is_rest(self, response: httpx.Response) -> bool:
        content_range = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        etag = _strong(response.headers.get("ETag"))
        return (
            content_range is not None
            and int(content_range[1]) == self.partial.count > 0
            and content_range[2] in ("*", str(self.source.size))
            and etag in ("", self.partial.etag or etag)
            and response.headers.get("Content-Encoding", "identity") == "identity"
        )

    def _receive(self, response: httpx.Response) -> None:
        for chunk in self._at_speed(response.iter_raw()):
            room = self.source.size - self.partial.count
            self.partial.add(chunk[:room])
            if len(chunk) > room:
                self._refuse(f"it is longer than the expected {self.source.size:,} bytes")
            self.on_bytes(self.partial.count, self.source.size)
        if self.partial.count == self.source.size:
            return
        ended = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if response.status_code == 200 and (ended or PAGE.match(self.partial.head)):
            self._refuse(f"it has {self.partial.count:,} bytes, expected {self.source.size:,}")
        raise _Retry("the connection ended early")

    def _at_speed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass chunks on, and give up on a server that sends too slowly."""
        began, count = time.monotonic(), 0
        for chunk in chunks:
            yield chunk
            count += len(chunk)
            if (passed := time.monotonic() - began) > self.retry.read:
                if count < self.retry.slowest * passed:
                    raise _Retry(f"it sent {count:,} bytes in {passed:.0f} s")
                began, count = time.monotonic(), 0

    def _verify(self) -> None:
        if (sha256 := self.partial.complete()) != self.source.sha256:
            self._refuse(f"SHA-256 is {sha256}, expected {self.source.sha256}")

    def _refuse(self, why: str) -> NoReturn:
        """Raise that this is not the expected file; if it came in several pieces, download it again in one."""
        page = " It looks like an HTML page: a login or an error page?" if PAGE.match(self.partial.head) else ""
        error = IntegrityError(f"{self.source.uri} is not the expected file", why=f"{why}.{page}" if page else why)
        raise _RestartFromZero(error) if self.partial.joined else error

    def _failed(self, cause: str) -> NetworkError:
        received = f"{self.partial.count:,} of {self.source.size:,} bytes"
        tries = "1 try" if self.failures == 0 else f"{self.failures + 1} tries"
        return NetworkError(f"{self.source.uri} could not be downloaded", why=f"{cause}; {received} after {tries}")


def _strong(etag: str | None) -> str:
    """Return an ETag if it promises identical bytes, else an empty text."""
    return etag if etag and STRONG.fullmatch(etag) else ""


def _asked_pause(header: str) -> float | None:
    """Return the seconds of a Retry-After header, which may also be a date; None if it is neither."""
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, float(int(header)))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None


def _status(response: httpx.Response) -> str:
    return f"HTTP {response.status_code} {response.reason_phrase} from {response.url.host}"


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
