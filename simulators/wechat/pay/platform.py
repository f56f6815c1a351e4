"""With which key the vendor signs V3, and which certificates it gives out while keys change."""

import hashlib
from typing import Literal

from simulators.clock import VirtualClock
from simulators.wechat.pay.keys import KeyFolder, Pair

Stage = Literal["publish", "switch", "retire"]


class Platform:
    """Certificates change in three steps, as in life a day and more apart.

    publish: a new one can be downloaded beside the old one; switch: it signs from now on;
    retire: what came before it is no longer given out.
    """

    def __init__(self, keys: KeyFolder) -> None:
        self._keys = keys
        self._newest = 1
        self._signing = 1
        self._oldest = 1

    def turn(self, stage: Stage) -> None:
        """Raises ValueError when it is not this step's turn."""
        if stage == "publish":
            self._newest += 1
        elif self._signing == self._newest and stage == "switch":
            raise ValueError("publish a certificate first")
        elif stage == "switch":
            self._signing = self._newest
        else:
            self._oldest = self._signing

    @property
    def certificates(self) -> list[Pair]:
        """Those given out, the oldest first."""
        return [self._pair(n) for n in range(self._oldest, self._newest + 1)]

    @property
    def signing(self) -> Pair:
        return self._pair(self._signing)

    @property
    def public(self) -> Pair:
        """The pair behind the public key, which has no certificate anybody sees."""
        return self._keys.pair("public")

    @property
    def stranger(self) -> Pair:
        return self._keys.pair("stranger")

    @property
    def merchant(self) -> Pair:
        return self._keys.pair("merchant")

    def _pair(self, number: int) -> Pair:
        return self._keys.pair(f"platform-{number}")

    def named(self, serial: str) -> Pair | None:
        """The pair a caller names in Wechatpay-Serial: what it can verify with."""
        if serial == self.public.pub_key_id:
            return self.public
        return next((pair for pair in self.certificates if pair.serial == serial), None)

    def name_of(self, pair: Pair) -> str:
        return pair.pub_key_id if pair is self.public else pair.serial

    def of_notice(self, notice_id: str, public_key_share: int) -> Pair:
        """One and the same for all attempts of a notification, in the share that was set."""
        lot = hashlib.sha256(notice_id.encode()).digest()[0] * 100 // 256
        return self.public if lot < public_key_share else self.signing


def now_text(clock: VirtualClock, *, ago_s: float = 0.0) -> str:
    """A V3 time stamp: whole seconds, in digits."""
    return str(int(clock.now_s() - ago_s))
