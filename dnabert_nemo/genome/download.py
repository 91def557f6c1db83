"""One file over HTTP into a part file that a later try or run goes on with; `fetch` verifies and names it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from dnabert_nemo.errors import ConfigError, FetchError
from dnabert_nemo.genome.part_file import PartFile

_CHUNK = 1 << 16
_LONGEST_WAIT = 60.0  # seconds, whatever a server asks for
_LONGEST_TEXT = 1 << 24  # bytes of a list of checksums
_AGAIN = {408, 425, 429}  # may be another answer the next time, as any of 500 and above

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadSettings:
    """How to fetch.

    Args:
        num_workers: files at a time.
        max_tries: in a row without a new byte, before giving a file up.
        timeout: seconds without an answer or a byte, after which a try has failed.
        first_wait: seconds before the second try; each next wait is twice as long.

    Raises:
        ConfigError: naming the key that cannot be.
    """

    num_workers: int = 4
    max_tries: int = 5
    timeout: float = 60.0
    first_wait: float = 1.0

    def __post_init__(self) -> None:
        for key, least in {"num_workers": 1, "max_tries": 1}.items():
            value = getattr(self, key)
            if type(value) is not int or value < least:
                raise ConfigError(f"{key}={value}: give a whole number of at least {least}, {key}=4")
        for key in ("timeout", "first_wait"):
            value = getattr(self, key)
            if type(value) not in (int, float) or not 0 < value < 86_400:
                raise ConfigError(f"{key}={value}: give seconds, {key}=60")


def download(
    url: str, part: Path, settings: DownloadSettings, stop: threading.Event, size: int | None = None
) -> None:
    """Fetch what is at `url` into `part`, from where an earlier try or run of the same file stopped.

    A try that brings new bytes does not count towards `max_tries`.

    Raises:
        FetchError: there is no such file, it has not `size` bytes, the tries are used up, the disk is full,
            or another run is fetching the same; all but the first two leave the part for resuming.
        CancelledError: `stop` was set; the part stays.
    """
    with PartFile.opened(part, url) as target, requests.Session() as session:
        most = target.size
        failures = 0
        while True:
            if stop.is_set():
                raise CancelledError
            try:
                _one_try(session, target, settings.timeout, stop, size)
                target.sync()
                return
            except _FailedError as error:
                failures = 1 if target.size > most else failures + 1
                most = max(most, target.size)
                _wait_or_give_up(url, error, failures, settings, stop)


def fetch_text(url: str, settings: DownloadSettings, stop: threading.Event) -> str:
    """Return a small text file, fetched with the same patience.

    Raises:
        FetchError: it cannot be fetched, or is not small.
        CancelledError: `stop` was set.
    """
    failures = 0
    with requests.Session() as session:
        while True:
            try:
                with _answer(session, url, {}, settings.timeout) as answer:
                    text = bytearray()
                    for chunk in _chunks(answer, stop, decode=True):
                        text += chunk
                        if len(text) > _LONGEST_TEXT:
                            raise FetchError(f"{url}: too long for a list of checksums: give its address")
                    return text.decode("utf-8", errors="replace")
            except _FailedError as error:
                failures += 1
                _wait_or_give_up(url, error, failures, settings, stop)


class _FailedError(Exception):
    """A try failed in a way in which the next one may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds, that the server asks for


def _one_try(
    session: requests.Session, part: PartFile, timeout: float, stop: threading.Event, size: int | None
) -> None:
    headers = {"Accept-Encoding": "identity"}
    if part.size and part.version:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
    with _answer(session, part.url, headers, timeout) as answer:
        start, total = _range_of(answer)
        is_next = start == part.size and _version(answer) in (part.version, None)
        if answer.status_code == 416:
            if total == part.size:
                return  # the last run was killed between the last byte and the end
            part.restart(None)
            raise _FailedError("the server refused to go on from a part")
        if answer.status_code == 206 and not is_next:
            part.restart(None)
            raise _FailedError("the server went on from another place, or with another version of the file")
        if size is not None and total is not None and total != size:
            raise FetchError(
                f"{part.url}: {total:,} bytes, not the {size:,} of the config: correct size or url"
            )
        if answer.status_code == 200:
            if part.size:
                log.info("%s: from the beginning, since the server does not go on from a part", part.url)
            part.restart(_version(answer))
        elif part.size:
            log.info("%s: going on from byte %s", part.url, f"{part.size:,}")
        for chunk in _chunks(answer, stop, decode=False):
            part.write(chunk)
        if total is not None and part.size != total:
            raise _FailedError(f"{part.size:,} bytes came, not {total:,}")


@contextmanager
def _answer(
    session: requests.Session, url: str, headers: dict[str, str], timeout: float
) -> Iterator[requests.Response]:
    """Ask for a file; what cannot be otherwise the next time is a `FetchError`."""
    try:
        answer = session.get(url, headers=headers, stream=True, timeout=timeout)
    except (requests.ConnectionError, requests.Timeout) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = "set REQUESTS_CA_BUNDLE to a file with the certificates to trust"
            raise FetchError(f"{url}: the server's certificate is not trusted: {remedy}") from None
        raise _FailedError(_reason(error)) from None
    except requests.RequestException as error:
        raise FetchError(f"{url}: cannot be fetched ({_reason(error)}): check the address") from None
    with answer:
        status = answer.status_code
        if status in _AGAIN or status >= 500:
            asked = answer.headers.get("Retry-After", "")
            raise _FailedError(f"status {status} {answer.reason}", float(asked) if asked.isdecimal() else 0.0)
        if status == 404 or status == 410:
            raise FetchError(f"{url}: no such file (status {status}): check the address, or try a mirror")
        if status not in (200, 206, 416):
            problem = f"the server refuses (status {status} {answer.reason})"
            raise FetchError(f"{url}: {problem}: check the address and the right to read it")
        yield answer


def _chunks(answer: requests.Response, stop: threading.Event, decode: bool) -> Iterator[bytes]:
    """Yield what comes; by itself a packed file stays packed, whatever the server says of its encoding."""
    chunks = answer.raw.stream(_CHUNK, decode_content=decode)
    while True:
        if stop.is_set():
            raise CancelledError
        try:
            chunk = next(chunks, None)
        except urllib3.exceptions.HTTPError as error:
            raise _FailedError(_reason(error)) from None
        if chunk is None:
            return
        yield chunk


def _range_of(answer: requests.Response) -> tuple[int | None, int | None]:
    """Return the first byte of what the answer brings, and the bytes of the whole file, where it tells."""
    if answer.status_code == 200:
        length = answer.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(
        r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", answer.headers.get("Content-Range", "").strip()
    )
    if not found:
        return None, None
    first, total = found.groups()
    return None if first is None else int(first), None if total == "*" else int(total)


def _version(answer: requests.Response) -> str | None:
    """Return what If-Range takes: a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag")
    if tag and tag.startswith('"'):
        return tag
    return answer.headers.get("Last-Modified")


def _wait_or_give_up(
    url: str, error: _FailedError, failures: int, settings: DownloadSettings, stop: threading.Event
) -> None:
    if failures >= settings.max_tries:
        tries = f"{failures} tries" if failures > 1 else "1 try"
        remedy = "check the network and any proxy (HTTPS_PROXY), then run this again: it goes on from there"
        raise FetchError(f"{url}: given up after {tries} without a new byte ({error}): {remedy}")
    wait = min(max(settings.first_wait * 2 ** (failures - 1), error.wait), _LONGEST_WAIT)
    log.info("%s: %s; again in %.0f s", url, error, wait)
    if stop.wait(wait):
        raise CancelledError


def _reason(error: Exception) -> str:
    """Return the innermost message of libraries that wrap each other's errors."""
    inner: object = error
    while isinstance(inner, Exception):
        error = inner
        nested = getattr(error, "reason", None) or next(iter(error.args), None)
        inner = nested if isinstance(nested, Exception) else None
    text = str(error.args[-1] if error.args else error).split("\n")[0]
    return text.split(": ", 1)[-1] if "object at 0x" in text else text
