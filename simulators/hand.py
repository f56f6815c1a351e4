"""The base of a control API: JSON under /__sim/, on this machine, with the simulator's token.

What does not fit is HTTP 400 {"error": …}. No vendor has anything of this.
"""

import hmac
import ipaddress
from typing import Any, TypeVar

import msgspec
from tornado.web import RequestHandler

T = TypeVar("T", bound=msgspec.Struct)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A control body; a misspelt field is an error, not silence."""


class ClockOrder(Strict):
    """Set first, then advance, then stop or run."""

    now_s: float | None = None
    advance_s: float = 0.0
    running: bool | None = None


class Hand(RequestHandler):
    """sim: the simulator; it has a token."""

    sim: Any

    def initialize(self, sim: Any) -> None:
        self.sim = sim

    def prepare(self) -> None:
        """Only from this machine, and only with the token: no page in a browser has it."""
        token = self.request.headers.get("X-Sim-Token", "")
        address = ipaddress.ip_address(self.request.remote_ip or "::")
        is_right = hmac.compare_digest(token.encode(), self.sim.token.encode())
        if not address.is_loopback or not is_right:
            self.set_status(403)
            self.say({"error": "X-Sim-Token is missing or wrong"})

    def body_as(self, kind: type[T]) -> T:
        return msgspec.json.decode(self.request.body or b"{}", type=kind)

    def say(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(msgspec.json.encode(value))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if self.status_of(value) == 500:
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.clear()
        self.set_status(self.status_of(error) if status_code == 500 else status_code)
        self.say({"error": str(error)})

    @staticmethod
    def status_of(error: object) -> int:
        known = (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError)
        return 400 if isinstance(error, known) else 500
