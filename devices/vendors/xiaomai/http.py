"""One signed request to the platform, and the envelope of its answer."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec

from devices.vendors.link import Answered, Link
from devices.vendors.port import Outcome, Reason, VendorRefused, VendorUnknown
from devices.vendors.xiaomai.codes import CODES, outcome_of
from devices.vendors.xiaomai.signing import Key
from sql.types import Millis

T = TypeVar("T")

BASE: Final = "/openapi/v1"

# It may have been done, whatever a proxy says of the time it took.
_REQUEST_TIMEOUT: Final = 408


class Envelope(msgspec.Struct, frozen=True):
    """Around every answer."""

    code: int
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Refused(VendorRefused):
    """data: what came with the refusal."""

    def __init__(self, reason: Reason, number: int, detail: str, data: bytes) -> None:
        super().__init__(reason, number, detail)
        self.data = data


class Unclear(VendorUnknown):
    """An answer came, and says that nobody knows."""

    def __init__(self, path: str, reason: Reason, number: int) -> None:
        super().__init__(f"{path}: {reason} ({number})")
        self.reason = reason


class Http:
    """Speaks to one platform in one customer's name.

    nonce: of 16 to 64 letters and digits, never the same twice.
    """

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        now: Callable[[], Millis],
        nonce: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self._key = key
        self._now = now
        self._nonce = nonce
        self._link = Link(url.rstrip("/") + BASE, timeout_s=timeout_s)

    async def close(self) -> None:
        await self._link.close()

    async def ask(self, path: str, body: Mapping[str, Any], answer: type[T]) -> T:
        """The data of a good answer. Raises Unclear, VendorUnknown, Refused."""
        answered = await self._link.send(self._signed(path, msgspec.json.encode(body)), path)
        envelope = _judged(path, answered)
        try:
            return msgspec.json.decode(envelope.data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise VendorUnknown(f"{path}: another answer than agreed, {error}") from None

    def _signed(self, path: str, body: bytes) -> httpx.Request:
        request = self._link.request("POST", path, body)
        # What is signed is what is sent: the address as the client has written it.
        target, _, query = request.url.raw_path.decode("ascii").partition("?")
        request.headers.update(
            self._key.headers(
                path=target, query=query, body=body, now=self._now(), nonce=self._nonce()
            )
        )
        return request


def _judged(path: str, answered: Answered) -> Envelope:
    """The envelope of a good answer. Raises VendorUnknown, Unclear, Refused."""
    status = answered.status
    if not (200 <= status < 300 or 400 <= status < 500) or status == _REQUEST_TIMEOUT:
        raise VendorUnknown(f"{path}: HTTP {status}")
    try:
        envelope = _envelope.decode(answered.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise VendorUnknown(f"{path}: HTTP {status}, no answer of the platform") from None
    outcome, reason = outcome_of(envelope.code)
    if status >= 400 and envelope.code not in CODES:
        # The contract has no such number, but it was not even taken.
        outcome = Outcome.NOT_EXECUTED
    if outcome is Outcome.EXECUTED and status < 400:
        return envelope
    if outcome is Outcome.NOT_EXECUTED:
        wait = answered.headers.get("retry-after", "")
        detail = f"retry after {wait[:20]} s" if wait else envelope.message[:200]
        raise Refused(reason, envelope.code, detail, bytes(envelope.data))
    raise Unclear(path, reason, envelope.code)


_envelope: Final = msgspec.json.Decoder(Envelope)
