"""One signed request to the platform, one answer, or VendorUnknown.

A request that failed may have been carried out all the same, so every failure is unknown.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec

from devices.vendors.port import Outcome, Reason, VendorRefused, VendorUnknown
from devices.vendors.xiaomai.codes import CODES, outcome_of
from devices.vendors.xiaomai.signing import Key
from sql.types import Millis

T = TypeVar("T")

ANSWER_MAX_BYTES: Final = 1 << 20
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
    """Connections to one platform, in one customer's name.

    nonce: of 16 to 64 letters and digits, never the same twice.
    """

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        now: Callable[[], Millis],
        nonce: Callable[[], str],
        timeout_s: float = 5.0,
    ) -> None:
        self._key = key
        self._now = now
        self._nonce = nonce
        self._timeout_s = timeout_s
        logging.getLogger("httpx").addFilter(_no_addresses)
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + BASE,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            # Compressed answers could grow past our bound in one step.
            headers={
                "accept-encoding": "identity",
                "content-type": "application/json",
                "user-agent": "callme",
            },
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, path: str, body: Mapping[str, Any], answer: type[T]) -> T:
        """The data of a good answer. Raises Unclear, VendorUnknown, Refused."""
        envelope = await self._exchange(path, msgspec.json.encode(body))
        try:
            return msgspec.json.decode(envelope.data, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = f"{path}: another answer than agreed, {error}"
        raise VendorUnknown(problem)

    async def _exchange(self, path: str, body: bytes) -> Envelope:
        try:
            async with asyncio.timeout(self._timeout_s):
                request = self._signed(path, body)
                response = await self._http.send(request, stream=True)
                try:
                    raw = await _read(response)
                finally:
                    await response.aclose()
            return _judged(path, response, raw)
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        except _Unreadable as error:
            problem = str(error)
        # Outside of the handlers: the client's exception holds the request, and would hang on
        # ours as its context.
        raise VendorUnknown(f"{path}: {problem}")

    def _signed(self, path: str, body: bytes) -> httpx.Request:
        request = self._http.build_request("POST", path, content=body)
        # What is signed is what is sent: the address as the client has written it.
        target, _, query = request.url.raw_path.decode("ascii").partition("?")
        request.headers.update(
            self._key.headers(
                path=target, query=query, body=body, now=self._now(), nonce=self._nonce()
            )
        )
        return request


class _Unreadable(Exception):
    """An answer that is not looked into: its status, length or encoding is wrong."""


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Unreadable("compressed though not asked")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ANSWER_MAX_BYTES:
            raise _Unreadable(f"longer than {ANSWER_MAX_BYTES} bytes")
    return bytes(body)


def _judged(path: str, response: httpx.Response, raw: bytes) -> Envelope:
    """The envelope of a good answer. Raises _Unreadable, Unclear, Refused."""
    status = response.status_code
    if not (200 <= status < 300 or 400 <= status < 500) or status == _REQUEST_TIMEOUT:
        raise _Unreadable(f"HTTP {status}")
    try:
        envelope = _envelope.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Beside the error, whose text may hold what was sent.
        envelope = None
    if envelope is None:
        raise _Unreadable(f"HTTP {status}, no answer of the platform")
    outcome, reason = outcome_of(envelope.code)
    if status >= 400 and envelope.code not in CODES:
        # The contract has no such number, but it was not even taken.
        outcome = Outcome.NOT_EXECUTED
    if outcome is Outcome.EXECUTED and status < 400:
        return envelope
    if outcome is Outcome.NOT_EXECUTED:
        wait = response.headers.get("retry-after", "")
        detail = f"retry after {wait[:20]} s" if wait else envelope.message[:200]
        raise Refused(reason, envelope.code, detail, bytes(envelope.data))
    raise Unclear(path, reason, envelope.code)


_envelope: Final = msgspec.json.Decoder(Envelope)


class _NoAddresses(logging.Filter):
    """httpx logs the address of each request at INFO; they say nothing, and are many."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_no_addresses: Final = _NoAddresses()
