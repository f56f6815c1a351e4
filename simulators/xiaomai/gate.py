"""Who may call: application, key, time, signature, nonce, and how often."""

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from simulators.xiaomai import codes
from simulators.xiaomai.account import APP_ID, KEY_ID, SECRET
from simulators.xiaomai.codes import XmError
from simulators.xiaomai.signing import NONCE, NONCE_LIFE_S, WINDOW_S, Signed


class Seen(msgspec.Struct):
    """A nonce that was used: for which request, and what was answered."""

    sign: str
    at_s: float
    answer: bytes | None = None
    code: int = 0


class Gate:
    """`check` raises XmError 1001–1005, or gives what the same request was answered before.

    keys: valid at the same time, while one takes the other's place. rate_per_s: none without.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.reset()

    def reset(self) -> None:
        self.keys = {KEY_ID: SECRET}
        self.is_disabled = False
        self.rate_per_s: int | None = None
        self._nonces: dict[str, Seen] = {}
        self._recent: deque[float] = deque()

    def check(self, headers: Mapping[str, str], signed: Signed) -> Seen:
        if headers.get("X-Xm-App-Id") != APP_ID:
            raise XmError(codes.SIGNATURE, "unknown application")
        if self.is_disabled:
            raise XmError(codes.APP_DISABLED)
        self._check_time(signed.timestamp)
        self._check_sign(headers, signed)
        self._check_rate()
        return self._seen(signed, headers["X-Xm-Sign"])

    def _check_time(self, timestamp: str) -> None:
        if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
            raise XmError(codes.SIGNATURE, "no timestamp in seconds")
        if abs(int(timestamp) - self._now_s()) > WINDOW_S:
            raise XmError(codes.SKEW)

    def _check_sign(self, headers: Mapping[str, str], signed: Signed) -> None:
        secret = self.keys.get(headers.get("X-Xm-Key-Id", ""))
        if secret is None:
            raise XmError(codes.SIGNATURE, "unknown key")
        if NONCE.fullmatch(signed.nonce) is None:
            raise XmError(codes.SIGNATURE, "a nonce is 16 to 64 letters and digits")
        if headers.get("X-Xm-Sign") != signed.sign(secret):
            raise XmError(codes.SIGNATURE)

    def _check_rate(self) -> None:
        now_s = self._now_s()
        while self._recent and self._recent[0] <= now_s - 1:
            self._recent.popleft()
        if self.rate_per_s is not None and len(self._recent) >= self.rate_per_s:
            raise XmError(codes.RATE)
        self._recent.append(now_s)

    def _seen(self, signed: Signed, sign: str) -> Seen:
        """The same bytes once more are a repeat; other bytes under the nonce are a replay."""
        now_s = self._now_s()
        while self._nonces:
            nonce, oldest = next(iter(self._nonces.items()))
            if oldest.at_s > now_s - NONCE_LIFE_S:
                break
            del self._nonces[nonce]
        seen = self._nonces.get(signed.nonce)
        if seen is None:
            seen = self._nonces[signed.nonce] = Seen(sign, now_s)
        elif seen.sign != sign:
            raise XmError(codes.REPLAY)
        return seen
