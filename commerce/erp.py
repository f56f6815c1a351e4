"""The ERP: goods in, sales out, over JSON with a bearer token.

GET /api/v1/goods?cursor=…&limit=… and PUT /api/v1/sales-batches/NUMBER, as its simulator has it.

ErpError
├── ErpUnknown   no answer, or none that says what became of it: the same once more
└── ErpRefused   a clear no; code is the ERP's word
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Meta

from commerce.goods.model import GoodSaid, Unfit

T = TypeVar("T")

PAGE: Final = 200
ANSWER_MAX_BYTES: Final = 1 << 21
_WHY_MAX: Final = 200


class ErpError(Exception):
    """Base of the family; no text holds the token."""

    code = "erp.error"
    title = "The ERP"


class ErpUnknown(ErpError):
    code = "erp.unknown"
    title = "The ERP gave no clear answer"


class ErpRefused(ErpError):
    """reason: the ERP's own code."""

    code = "erp.refused"
    title = "The ERP refused"

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        super().__init__(f"HTTP {status} {reason} {detail}".strip())
        self.status = status
        self.reason = reason


class GoodsPage(msgspec.Struct, frozen=True):
    """unfit: items that cannot be taken; the others are no worse for them."""

    goods: tuple[GoodSaid, ...]
    unfit: tuple[Unfit, ...]
    next_cursor: str
    has_more: bool


class BatchLine(msgspec.Struct, frozen=True, kw_only=True):
    biz_no: str
    step: str
    line: int
    store_code: str
    device_code: str
    sku: str
    name: str
    quantity: int
    amount_fen: int
    tickets: int
    paid_by: str
    at: int


class BatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """day: YYYY-MM-DD in Beijing. The same batch is the same bytes whenever it is sent."""

    day: str
    lines: tuple[BatchLine, ...]
    line_count: int
    amount_fen: int
    tickets: int


class Received(msgspec.Struct, frozen=True):
    """The ERP's number of a batch, and what it does not know of the goods in it."""

    erp_no: Annotated[str, Meta(max_length=64)]
    unknown_skus: tuple[str, ...] = ()


class _Page(msgspec.Struct, frozen=True):
    goods: list[msgspec.Raw]
    next_cursor: Annotated[str, Meta(max_length=200)]
    has_more: bool


class _Refusal(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""


class Erp:
    """url: its address without /api. One connection is enough: what is asked comes in turn."""

    def __init__(self, url: str, token: str, *, timeout_s: float = 10.0) -> None:
        self._token = token
        self._timeout_s = timeout_s
        logging.getLogger("httpx").addFilter(_no_addresses)
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/api/v1",
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            # Compressed answers could grow past our bound in one step.
            headers={"accept-encoding": "identity", "user-agent": "callme"},
            limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def goods(self, cursor: str = "", limit: int = PAGE) -> GoodsPage:
        """What was changed after the cursor, oldest change first. Raises ErpUnknown, ErpRefused."""
        address = f"/goods?cursor={quote(cursor, safe='')}&limit={limit}"
        page = await self._ask("GET", address, _Page)
        fit: list[GoodSaid] = []
        unfit: list[Unfit] = []
        for raw in page.goods:
            try:
                fit.append(_good.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                unfit.append(Unfit(_sku_in(raw), str(error)[:_WHY_MAX]))
        return GoodsPage(tuple(fit), tuple(unfit), page.next_cursor, page.has_more)

    async def send_batch(self, batch_no: str, body: BatchBody) -> Received:
        """Once for a number, however often it is sent. Raises ErpUnknown, ErpRefused."""
        address = f"/sales-batches/{quote(batch_no, safe='')}"
        return await self._ask("PUT", address, Received, msgspec.json.encode(body))

    async def _ask(self, method: str, address: str, answer: type[T], body: bytes = b"") -> T:
        status, raw = await self._exchange(method, address, body)
        if 400 <= status < 500 and status not in _PASSING:
            refusal = _read(raw, _Refusal) or _Refusal()
            raise ErpRefused(status, refusal.code, refusal.detail[:_WHY_MAX])
        found = _read(raw, answer) if status in (200, 201) else None
        if found is None:
            raise ErpUnknown(f"{_path(address)}: HTTP {status}, no answer of the ERP")
        return found

    async def _exchange(self, method: str, address: str, body: bytes) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        try:
            async with asyncio.timeout(self._timeout_s):
                request = self._http.build_request(method, address, content=body, headers=headers)
                response = await self._http.send(request, stream=True)
                try:
                    return response.status_code, await _body_of(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        # Outside of the handler: the client's exception holds the request, token and all, and
        # would hang on ours as its context.
        raise ErpUnknown(f"{_path(address)}: {problem}")


# Too late, too often: it may have been done, or will be another time.
_PASSING: Final = frozenset({408, 425, 429})


async def _body_of(response: httpx.Response) -> bytes:
    """The answer, or nothing of one that is too long or in an encoding we did not ask for."""
    body = bytearray()
    if response.headers.get("content-encoding", "identity") == "identity":
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > ANSWER_MAX_BYTES:
                return b""
    return bytes(body)


def _read(raw: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _sku_in(raw: bytes) -> str:
    """As much of a SKU as can be read and kept; "?" for none."""
    found: Any = _read(raw, dict[str, Any])
    sku = found.get("sku") if found else None
    return sku[:50] if isinstance(sku, str) and sku.isprintable() and sku else "?"


def _path(address: str) -> str:
    return address.partition("?")[0]


_good: Final = msgspec.json.Decoder(GoodSaid)


class _NoAddresses(logging.Filter):
    """httpx logs the address of each request at INFO; they say nothing, and are many."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_no_addresses: Final = _NoAddresses()
