"""The console's way to be signed in: a cookie its scripts cannot read, and one they must repeat.

The session cookie is HttpOnly and SameSite=Strict. A request that changes something must carry
the XSRF token in a header as well, which only a page of ours can read; the token is derived from
the session, so one that was planted by a neighbouring site fits no session.
"""

import base64
import hashlib
import hmac
from typing import Final

SESSION_COOKIE: Final = "callme_session"
XSRF_COOKIE: Final = "callme_xsrf"
XSRF_HEADER: Final = "X-XSRF-Token"

Header = tuple[str, str]


def sign_in(token: str, *, max_age_s: int, secure: bool) -> tuple[Header, ...]:
    """The headers that sign a browser in. secure: whether the pages are served over HTTPS."""
    return (
        _cookie(SESSION_COOKIE, token, max_age_s, secure, "; HttpOnly"),
        _cookie(XSRF_COOKIE, xsrf_token(token), max_age_s, secure, ""),
    )


def sign_out(*, secure: bool) -> tuple[Header, ...]:
    return (
        _cookie(SESSION_COOKIE, "", 0, secure, "; HttpOnly"),
        _cookie(XSRF_COOKIE, "", 0, secure, ""),
    )


def xsrf_token(token: str) -> str:
    digest = hashlib.sha256(b"callme xsrf " + token.encode()).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode()


def is_ours(token: str, sent: str) -> bool:
    """Whether the header shows that a page of ours, signed in with this token, asks."""
    return hmac.compare_digest(xsrf_token(token).encode(), sent.encode("latin-1", "replace"))


def session_token(cookie_header: str) -> str:
    """The session's token out of a Cookie header, or ""."""
    for pair in cookie_header.split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == SESSION_COOKIE:
            return value.strip()
    return ""


def _cookie(name: str, value: str, max_age_s: int, secure: bool, more: str) -> Header:
    attributes = f"; Path=/; Max-Age={max_age_s}; SameSite=Strict{more}"
    return ("Set-Cookie", f"{name}={value}{attributes}{'; Secure' if secure else ''}")
