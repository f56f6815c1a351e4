"""Connections to one platform: a request, an answer as it came, or VendorUnknown.

A request that failed may have been carried out all the same, so every failure is unknown.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from devices.vendors.port import VendorUnknown

ANSWER_MAX_BYTES: Final = 1 << 20


class Answered(msgspec.Struct, frozen=True):
    """headers: their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Link:
    """One client with bounds on everything: time, length, redirects (none), connections."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        logging.getLogger("httpx").addFilter(_no_addresses)
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/"),
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

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Request:
        return self._http.build_request(method, path, content=body, params=query)

    async def send(self, request: httpx.Request, what: str) -> Answered:
        """what: the call's name in errors. Raises VendorUnknown."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.send(request, stream=True)
                try:
                    return await _read(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        except _Unreadable as error:
            problem = str(error)
        # Outside of the handlers: the client's exception holds the request, and would hang on
        # ours as its context.
        raise VendorUnknown(f"{what}: {problem}")


class _Unreadable(Exception):
    """An answer that is not looked into: its length or encoding is wrong."""


async def _read(response: httpx.Response) -> Answered:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Unreadable("compressed though not asked")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ANSWER_MAX_BYTES:
            raise _Unreadable(f"longer than {ANSWER_MAX_BYTES} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answered(response.status_code, headers, bytes(body))


class _NoAddresses(logging.Filter):
    """httpx logs the address of each request at INFO; they may hold a number, and are many."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_no_addresses: Final = _NoAddresses()
