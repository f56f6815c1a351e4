"""Interface tokens as /cgi-bin/stable_token hands them out.

Source: WeChat, getStableAccessToken.
"""

import secrets

import msgspec

from simulators.clock import VirtualClock
from simulators.wechat.apps import App
from simulators.wechat.errors import WeChatError
from simulators.wechat.quota import Quota

LIFE_S = 7200
OVERLAP_S = 300
FORCED_PER_DAY = 20
FORCED_APART_S = 30
# WeChat asks callers to keep room for 512 characters; these tokens use all of it.
TOKEN_CHARS = 512
REMEMBERED = 50


class Token(msgspec.Struct):
    token: str
    appid: str
    born_s: float
    dies_s: float
    is_revoked: bool = False


class Tokens:
    """One current token per mini-program, and the one before it for five minutes."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._minute = Quota(most=10_000, window_s=60)
        self._forced_on: dict[tuple[str, str], int] = {}
        self._forced_at_s: dict[str, float] = {}
        self.given: dict[str, list[Token]] = {}

    def stable(self, app: App, *, force: bool = False) -> Token:
        """The current token; a new one in its last five minutes, or by force.

        A second forced call within 30 s refreshes nothing. Raises WeChatError 45009, 45011.
        """
        now_s = self._clock.now_s()
        if not self._minute.allows(app.appid, now_s):
            raise WeChatError(45011)
        current = self._current(app.appid)
        if force and now_s - self._forced_at_s.get(app.appid, 0.0) >= FORCED_APART_S:
            return self._force(app.appid)
        if current is not None and current.dies_s - now_s > OVERLAP_S:
            return current
        fresh = self._make(app.appid)
        if current is not None and current.dies_s > now_s:
            current.dies_s = now_s + OVERLAP_S
        return fresh

    def check(self, token: str) -> str:
        """The appid a token stands for. Raises WeChatError 41001, 40001, 42001."""
        if not token:
            raise WeChatError(41001)
        known = next((t for ts in self.given.values() for t in ts if t.token == token), None)
        if known is None or known.is_revoked:
            raise WeChatError(40001)
        if known.dies_s <= self._clock.now_s():
            raise WeChatError(42001)
        return known.appid

    def expire(self, appid: str | None = None) -> int:
        """End all living tokens (42001 from now on); how many that were."""
        now_s = self._clock.now_s()
        living = [t for t in self._of(appid) if t.dies_s > now_s and not t.is_revoked]
        for token in living:
            token.dies_s = now_s
        return len(living)

    def revoke(self, appid: str | None = None) -> int:
        """Make all tokens invalid (40001), as when another process forced a new one."""
        living = [t for t in self._of(appid) if not t.is_revoked]
        for token in living:
            token.is_revoked = True
        return len(living)

    def _force(self, appid: str) -> Token:
        today = (appid, self._clock.beijing_day())
        if self._forced_on.get(today, 0) >= FORCED_PER_DAY:
            raise WeChatError(45009)
        self._forced_on[today] = self._forced_on.get(today, 0) + 1
        self._forced_at_s[appid] = self._clock.now_s()
        # The documents say the former token becomes invalid and leave open how soon.
        # At once is the harder case, so a caller that survives it survives either.
        self.revoke(appid)
        return self._make(appid)

    def _make(self, appid: str) -> Token:
        now_s = self._clock.now_s()
        text = secrets.token_urlsafe(TOKEN_CHARS)[:TOKEN_CHARS]
        fresh = Token(text, appid, now_s, now_s + LIFE_S)
        given = self.given.setdefault(appid, [])
        given.append(fresh)
        del given[:-REMEMBERED]
        return fresh

    def _current(self, appid: str) -> Token | None:
        given = self.given.get(appid)
        return given[-1] if given and not given[-1].is_revoked else None

    def _of(self, appid: str | None) -> list[Token]:
        return [t for ts in self.given.values() for t in ts if appid in (None, t.appid)]
