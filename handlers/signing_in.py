"""Signing in with a mini-program's code, at a person's pace.

A canteen's phones share one address at noon: what is counted for the address alone are codes
that WeChat refused, what is counted for good ones is the person at that address.
"""

from accounts.model import App, CodeRefused, Opened
from accounts.service import People, Sessions
from handlers.errors import TooManyRequests
from handlers.limits import Limits, address_key


async def sign_in(
    people: People,
    sessions: Sessions,
    limits: Limits,
    *,
    app: App,
    code: str,
    address: str,
    now: int,
) -> Opened:
    """A new session. Raises TooManyRequests, CodeRefused, WeChatUnavailable, AccountBlocked."""
    if not limits.enabled:
        return await people.sign_in(app, code)
    key = address_key(address)
    _refuse_if(limits.sign_in.wait(key, now))
    try:
        opened = await people.sign_in(app, code)
    except CodeRefused:
        limits.sign_in.allow(key, now)
        raise
    wait_s = limits.sign_in.allow(f"{key} account {opened.session.account_id}", now)
    if wait_s:
        await sessions.end(opened.session)
    _refuse_if(wait_s)
    return opened


def _refuse_if(wait_s: float) -> None:
    if wait_s:
        raise TooManyRequests(wait_s)
