"""What is sent back: status, headers and bytes, and whether the client has them already."""

import re
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec
from tornado.httputil import HTTPHeaders, ResponseStartLine

from handlers.calls import Response
from handlers.routing import Route
from handlers.wire import encode

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"

SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)

_START_LINES: Final = {
    status.value: ResponseStartLine("HTTP/1.1", status.value, status.phrase)
    for status in HTTPStatus
}
_NO_BODY: Final = frozenset({204, 304})
_ETAGS: Final = re.compile(r'(?:W/)?("[^"]*")')


class Answer(msgspec.Struct, frozen=True):
    """etag: quoted. media_type: of the body, unless a header says it. is_private: not to be shared
    by a cache, where it may be kept at all."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    media_type: str = ""
    etag: str | None = None
    is_private: bool = True

    def http_headers(self) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in SECURITY_HEADERS:
            headers[name] = value
        if self.etag is None:
            headers["Cache-Control"] = "no-store"
        else:
            headers["ETag"] = "W/" + self.etag
            headers["Cache-Control"] = "private, no-cache" if self.is_private else "no-cache"
        if self.media_type:
            headers["Content-Type"] = self.media_type
        for name, value in self.headers:
            if name != "Set-Cookie":
                headers.pop(name, None)
            headers.add(name, value)
        if self.status not in _NO_BODY:
            headers["Content-Length"] = str(len(self.body))
        return headers


def answer_for(route: Route, result: object, etag: str | None, *, is_private: bool) -> Answer:
    if not isinstance(result, Response):
        result = Response(route.status, result)
    status, body, headers = result.status, result.body, result.headers
    if status in _NO_BODY:
        return Answer(status, headers, b"", "", etag, is_private)
    if isinstance(body, bytes):
        return Answer(status, headers, body, "", etag, is_private)
    return Answer(status, headers, encode(body), JSON, etag, is_private)


def start_line(status: int) -> ResponseStartLine:
    return _START_LINES.get(status) or ResponseStartLine("HTTP/1.1", status, "Other")


def has_seen(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110, 13.1.2: weak comparison with each tag of the list; `*` is any."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _ETAGS.findall(if_none_match)


@lru_cache(maxsize=2)
def http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
