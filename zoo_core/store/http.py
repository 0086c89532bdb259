"""Downloads over HTTP: they go on where they were cut, try again within limits, and are not led to a worse place.

Nothing that a server says is believed, beyond what saves bytes: size and sha256 of the whole decide at the end.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from zoo_core.cards import Source
from zoo_core.disk.atomic import disk_errors
from zoo_core.errors import IntegrityError, NetworkError, ResourceError, ZooError
from zoo_core.store.partial_download import Partial

if TYPE_CHECKING:  # a quarter of the time that `zoo list` takes, and only a download needs it
    import httpx

BUSY = (408, 425, 429)  # as any 5xx: the same question may be answered later
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
STRONG = re.compile(r'"[!#-~]*"')  # a weak one, W/"…", does not promise the same bytes
PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a download is tried, and how long others are waited for; times are in seconds."""

    tries: int = 6
    connect: float = 10.0
    read: float = 10.0  # without a byte, or with fewer than `slowest` for each second
    slowest: int = 100  # bytes per second
    pause: float = 0.5  # before the second try; doubled before each one that follows
    longest_pause: float = 60.0  # also where a server asks for more
    redirects: int = 5
    silence: float = 10.0  # for another process that fetches the same file; then we say so
    lock: float = 600.0  # for that process in all; then we fetch too: a lock saves bandwidth, correctness needs none


OnBytes = Callable[[int, int], None]  # called with (bytes so far, bytes in all)


class _Retry(Exception):
    """A try failed in a way in which the next one need not; `pause` is what the server asks for."""

    def __init__(self, cause: str, pause: float | None = None) -> None:
        super().__init__(cause)
        self.cause, self.pause = cause, pause


class _RestartFromZero(Exception):
    """What is here is not the beginning of what comes; `error` is what to say if that happens twice."""

    def __init__(self, error: ZooError) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def downloaded(source: Source, scratch: Path, on_bytes: OnBytes, patience: RetryPolicy) -> Iterator[Path]:
    """Give a path to what lies at an http(s) address, whole and verified; it is gone afterwards.

    What came before the connection failed, or this process was stopped, is left in `scratch` for the next try.

    Raises:
        NetworkError: the server could not be reached, refused, or failed too often.
        IntegrityError: what it gives is not the promised file, or it leads from https to elsewhere.
        ResourceError: the disk is full, read-only, or not ours to write.
    """
    with disk_errors(scratch, source.size):
        partial = Partial(scratch, source.sha256, source.size)
    try:
        with disk_errors(scratch, source.size):
            partial.resume()
            _Download(source, partial, on_bytes, patience).run()
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
    """One source on its way into a Partial."""

    source: Source
    partial: Partial
    on_bytes: OnBytes
    patience: RetryPolicy
    failures: int = 0

    def run(self) -> None:
        """Get and verify all of it."""
        import httpx

        try:
            timeout = httpx.Timeout(self.patience.read, connect=self.patience.connect)
            with httpx.Client(timeout=timeout, headers={"Accept-Encoding": "identity"}) as client:
                self._until_whole(client)
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:  # the last two: proxy settings
            raise self._failed(_cause(error)) from error

    def _until_whole(self, client: httpx.Client) -> None:
        anew = 0
        while True:
            try:
                self._get_rest(client)
                return self._verify()
            except _RestartFromZero as broken:
                anew += 1
                if anew > 1:
                    raise broken.error from None
                self.partial.restart(None)
            except _Retry as failure:
                self._pause(failure)

    def _pause(self, failure: _Retry) -> None:
        if self.failures + 1 >= self.patience.tries:
            raise self._failed(failure.cause) from failure.__cause__
        pause = self.patience.pause * 2**self.failures * random.uniform(0.5, 1)
        self.failures += 1
        time.sleep(min(pause if failure.pause is None else failure.pause, self.patience.longest_pause))

    def _get_rest(self, client: httpx.Client) -> None:
        """Ask for what is missing, and take it."""
        import httpx

        if self.partial.count == self.source.size:
            return
        try:
            with self._answer(client) as response:
                self._admit(response)
                self._take(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if self.failures == 0:  # nobody is there: that is said at once
                raise
            raise _Retry(_cause(error)) from error
        except httpx.TransportError as error:
            raise _Retry(_cause(error)) from error

    @contextmanager
    def _answer(self, client: httpx.Client) -> Iterator[httpx.Response]:
        """Give the answer at the end of all redirects; of the others nothing is read."""
        request = client.build_request("GET", self.source.uri, headers=self._headers())
        for _ in range(self.patience.redirects + 1):
            with closing(client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                self._refuse_worse(request.url.scheme, response.next_request.url.scheme)
                request = response.next_request
        raise self._failed(f"it redirects more than {self.patience.redirects} times")

    def _refuse_worse(self, here: str, there: str) -> None:
        if there not in ("https", here):
            why = "from https only https is followed, and nothing but http and https at all"
            raise IntegrityError(f"{self.source.uri} redirects from {here} to {there}", why=why)

    def _headers(self) -> dict[str, str]:
        if self.partial.count == 0:
            return {}
        etag = _strong(self.partial.etag)
        return {"Range": f"bytes={self.partial.count}-"} | ({"If-Range": etag} if etag else {})

    def _admit(self, response: httpx.Response) -> None:
        """Let a body pass that is the whole, or the rest that was asked for."""
        status = response.status_code
        if status == 200:
            self.partial.restart(_strong(response.headers.get("ETag")))
        elif status == 206 and self._is_rest(response):
            self.partial.joined = True
        elif status in (206, 416):
            told = response.headers.get("Content-Range", "no Content-Range")
            raise _RestartFromZero(self._failed(f"asked for the rest, it answers {status} with {told}"))
        elif status in BUSY or status >= 500:
            raise _Retry(_status(response), _asked_pause(response.headers.get("Retry-After", "")))
        else:
            raise self._failed(_status(response))

    def _is_rest(self, response: httpx.Response) -> bool:
        told = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        etag = _strong(response.headers.get("ETag"))
        return (
            told is not None
            and int(told[1]) == self.partial.count > 0
            and told[2] in ("*", str(self.source.size))
            and etag in ("", self.partial.etag or etag)
            and response.headers.get("Content-Encoding", "identity") == "identity"
        )

    def _take(self, response: httpx.Response) -> None:
        for chunk in self._lively(response.iter_raw()):
            room = self.source.size - self.partial.count
            self.partial.add(chunk[:room])
            if len(chunk) > room:
                self._refuse(f"it is longer than the {self.source.size:,} bytes that were promised")
            self.on_bytes(self.partial.count, self.source.size)
        if self.partial.count == self.source.size:
            return
        ended = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        if response.status_code == 200 and (ended or PAGE.match(self.partial.head)):
            self._refuse(f"it has {self.partial.count:,} bytes, {self.source.size:,} were promised")
        raise _Retry("the connection ended early")

    def _lively(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Pass chunks on, and give up on a server that sends next to nothing."""
        began, count = time.monotonic(), 0
        for chunk in chunks:
            yield chunk
            count += len(chunk)
            if (passed := time.monotonic() - began) > self.patience.read:
                if count < self.patience.slowest * passed:
                    raise _Retry(f"it sent {count:,} bytes in {passed:.0f} s")
                began, count = time.monotonic(), 0

    def _verify(self) -> None:
        if (found := self.partial.complete()) != self.source.sha256:
            self._refuse(f"sha256 is {found}, {self.source.sha256} was promised")

    def _refuse(self, why: str) -> NoReturn:
        """Say that this is not the promised file; if it came in several pieces, it gets another chance in one."""
        page = " It looks like an HTML page: a login or an error page?" if PAGE.match(self.partial.head) else ""
        error = IntegrityError(f"{self.source.uri} is not the promised file", why=f"{why}.{page}" if page else why)
        raise _RestartFromZero(error) if self.partial.joined else error

    def _failed(self, cause: str) -> NetworkError:
        got = f"{self.partial.count:,} of {self.source.size:,} bytes"
        tries = "1 try" if self.failures == 0 else f"{self.failures + 1} tries"
        return NetworkError(f"{self.source.uri} could not be fetched", why=f"{cause}; {got} after {tries}")


def _strong(etag: str | None) -> str:
    """Return an ETag that promises the same bytes, or nothing."""
    return etag if etag and STRONG.fullmatch(etag) else ""


def _asked_pause(header: str) -> float | None:
    """Return the seconds of a Retry-After, which may also be a date; None: it says nothing."""
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, float(int(header)))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None


def _status(response: httpx.Response) -> str:
    return f"HTTP {response.status_code} {response.reason_phrase} from {response.url.host}"


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
