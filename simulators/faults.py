"""What can go wrong between a vendor and its caller, one fault at a time and on request."""

from typing import Literal

import msgspec

FaultKind = Literal["http_502", "drop", "delay", "errcode", "nonsense", "drip"]

HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
# Half of an answer in another encoding: neither JSON nor UTF-8.
NONSENSE = b'\x1f\x8b\x08\x00{"errcode":\xff\xfe 0, "open'


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One fault at one endpoint ("*" is every endpoint).

    times: how often it strikes; null is for ever.
    seconds: how long a delay is, or how long the whole answer drips.
    is_done: whether the vendor did what was asked before the answer was spoilt.
    """

    endpoint: str
    kind: FaultKind
    times: int | None = 1
    seconds: float = 1.0
    errcode: int = -1
    errmsg: str = "system error"
    is_done: bool = False


class FaultBook:
    """The faults that wait. Where several fit, the oldest strikes first."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        if fault.times is None or fault.times > 0:
            self.waiting.append(fault)

    def strike(self, endpoint: str) -> Fault | None:
        """Take one stroke of the first fault for this endpoint."""
        for fault in self.waiting:
            if fault.endpoint in (endpoint, "*"):
                self._use_up(fault)
                return fault
        return None

    def clear(self, endpoint: str | None = None) -> None:
        self.waiting = [f for f in self.waiting if endpoint is not None and f.endpoint != endpoint]

    def _use_up(self, fault: Fault) -> None:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self.waiting.remove(fault)
