"""A file server on this machine that fails as it is told to; for the tests of `download` and `fetch`."""

from __future__ import annotations

import hashlib
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer(ThreadingHTTPServer):
    """Serves `files` by path, with ranges and ETags unless told otherwise; notes what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, Range, If-Range
        self.statuses: list[int] = []  # of the next answers, before files are served again
        self.drop_after: list[int] = []  # bytes of the next answers, after which the connection ends
        self.has_ranges = True
        self.minds_if_range = True
        self.has_length = True
        self.etag_is_weak = False
        self.headers: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return self.url + path


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted, self.headers.get("If-Range")))
        content = server.files.get(self.path)
        status = server.statuses.pop(0) if server.statuses else 200 if content is not None else 404
        if status != 200 or content is None:
            self._answer(status, b"no", {})
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": "W/" + etag if server.etag_is_weak else etag} | server.headers
        is_same = not server.minds_if_range or self.headers.get("If-Range") in (None, etag)
        if wanted and server.has_ranges and is_same:
            first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if first >= len(content):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._answer(206, content[first:], headers)
        else:
            self._answer(200, content, headers)

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        drop = self.server.drop_after.pop(0) if self.server.drop_after and status in (200, 206) else None
        self.wfile.write(content[:drop])
