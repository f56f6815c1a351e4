"""wx.login codes and who they stand for (jscode2session)."""

import base64
import hashlib
import secrets

import msgspec

from simulators.clock import VirtualClock
from simulators.wechat.apps import App
from simulators.wechat.errors import WeChatError
from simulators.wechat.quota import Quota

CODE_LIFE_S = 300
PREFIX = "sim:"
# A used code must stay refused; so many are remembered, the oldest go first.
REMEMBERED_MAX = 100_000


class Code(msgspec.Struct):
    openid: str
    unionid: str | None
    appid: str | None
    born_s: float


class Login(msgspec.Struct, frozen=True):
    openid: str
    session_key: str
    unionid: str | None


class Logins:
    """Codes live five minutes, log in once, and only at the mini-program they were made for.

    A code `sim:<openid>:<anything>` needs no making: it logs in as that openid, once.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._codes: dict[str, Code] = {}
        self._used: dict[str, None] = {}
        self._per_user = Quota(most=100, window_s=60)
        self.known: dict[str, set[str]] = {}
        self.risky: set[str] = set()

    def make_code(self, *, person: str = "", openid: str = "", app: App | None = None) -> str:
        """A fresh code for an openid, or for a person, whose openid differs per mini-program.

        Raises ValueError when neither is given, or a person without a mini-program.
        """
        unionid = None
        if not openid:
            if not person or app is None:
                raise ValueError("give an openid, or a person and an app")
            openid, unionid = openid_of(person, app.appid), unionid_of(person)
        code = "0" + secrets.token_urlsafe(24)[:31]
        appid = app.appid if app else None
        self._codes[code] = Code(openid, unionid, appid, self._clock.now_s())
        self._forget_old()
        return code

    def openid_of_code(self, code: str) -> str:
        return self._codes[code].openid

    def exchange(self, app: App, code: str) -> Login:
        """Use a code up. Raises WeChatError 40029, 40226, 45011."""
        found = self._look_up(app, code)
        if found.openid in self.risky:
            raise WeChatError(40226)
        if not self._per_user.allows(found.openid, self._clock.now_s()):
            raise WeChatError(45011)
        self._use_up(code)
        self.introduce(app.appid, found.openid)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        return Login(found.openid, key, found.unionid)

    def introduce(self, appid: str, openid: str) -> None:
        """From now on this openid exists at this mini-program and messages can reach it."""
        self.known.setdefault(appid, set()).add(openid)

    def knows(self, appid: str, openid: str) -> bool:
        return openid in self.known.get(appid, ())

    def _look_up(self, app: App, code: str) -> Code:
        if code in self._used:
            raise WeChatError(40029)
        if code.startswith(PREFIX):
            openid = code.removeprefix(PREFIX).partition(":")[0]
            found = Code(openid, None, None, self._clock.now_s()) if openid else None
        else:
            found = self._codes.get(code)
        if found is None or self._clock.now_s() - found.born_s >= CODE_LIFE_S:
            raise WeChatError(40029)
        if found.appid not in (None, app.appid):
            raise WeChatError(40029)
        return found

    def _use_up(self, code: str) -> None:
        self._codes.pop(code, None)
        self._used[code] = None
        while len(self._used) > REMEMBERED_MAX:
            del self._used[next(iter(self._used))]

    def _forget_old(self) -> None:
        while len(self._codes) > REMEMBERED_MAX:
            del self._codes[next(iter(self._codes))]


def openid_of(person: str, appid: str) -> str:
    """28 characters starting with an o, as WeChat's: the same for ever per person and app."""
    return "o" + _letters(f"{appid}/{person}")[:27]


def unionid_of(person: str) -> str:
    return "o6" + _letters(person)[:26]


def _letters(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
