"""One signed request of version 3, one answer as it came, or Unknown.

A request that failed may have been carried out all the same, so every failure is Unknown.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec

from payments.gateway import Unknown
from payments.wechat.signing_v3 import Identity
from sql.types import Millis

ANSWER_MAX_BYTES: Final = 1 << 20


class Answer(msgspec.Struct, frozen=True):
    """Not verified. headers: their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """call: its name in errors. target: path and query. key_id: to be answered with that key."""

    call: str
    method: str
    target: str
    body: bytes = b""
    key_id: str = ""
    answer_max_bytes: int = ANSWER_MAX_BYTES
    timeout_s: float | None = None


class SignedHttp:
    """Connections to WeChat Pay, in the merchant's name.

    hosts: tried in turn when one cannot be reached; every call of version 3 may be repeated.
    ca_file: trusted instead of the system's authorities, for a peer of one's own.
    """

    def __init__(
        self,
        identity: Identity,
        hosts: list[str],
        *,
        now: Callable[[], Millis],
        nonce: Callable[[], str],
        ca_file: Path | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._identity = identity
        self._hosts = [host.rstrip("/") for host in hosts]
        self._now = now
        self._nonce = nonce
        self._timeout_s = timeout_s
        logging.getLogger("httpx").addFilter(_no_addresses)
        tls = ssl.create_default_context(cafile=ca_file)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._http = httpx.AsyncClient(
            verify=tls,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={
                "accept": "application/json",
                # Compressed answers could grow past our bound in one step.
                "accept-encoding": "identity",
                "content-type": "application/json",
                "user-agent": "callme",
            },
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, request: Request) -> Answer:
        """Raises Unknown."""
        problem = ""
        for host in self._hosts:
            try:
                return await self._ask(host, request)
            except (httpx.TransportError, TimeoutError) as error:
                problem = type(error).__name__
            except _Unreadable as error:
                problem = str(error)
                break
        # Outside of the handlers: the client's exception holds the request, and would hang on
        # ours as its context.
        raise Unknown(f"{request.call}: {problem}")

    async def _ask(self, host: str, request: Request) -> Answer:
        timeout_s = request.timeout_s or self._timeout_s
        prepared = self._signed(host, request)
        prepared.extensions["timeout"] = httpx.Timeout(timeout_s).as_dict()
        async with asyncio.timeout(timeout_s):
            response = await self._http.send(prepared, stream=True)
            try:
                return await _read(response, request.answer_max_bytes)
            finally:
                await response.aclose()

    def _signed(self, host: str, request: Request) -> httpx.Request:
        prepared = self._http.build_request(
            request.method, host + request.target, content=request.body or None
        )
        # What is signed is what is sent: the address as the client has written it.
        prepared.headers["authorization"] = self._identity.authorization(
            request.method,
            prepared.url.raw_path.decode("ascii"),
            request.body,
            now=self._now(),
            nonce=self._nonce(),
        )
        if request.key_id:
            prepared.headers["wechatpay-serial"] = request.key_id
        return prepared


class _Unreadable(Exception):
    """An answer that is not looked into: its length or encoding is wrong."""


async def _read(response: httpx.Response, most: int) -> Answer:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Unreadable("compressed though not asked")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise _Unreadable(f"longer than {most} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(body))


class _NoAddresses(logging.Filter):
    """httpx logs the address of each request at INFO; ours may hold an openid or a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_no_addresses = _NoAddresses()
