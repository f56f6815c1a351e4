"""The merchant's side in the tests: third writings of the signatures, and a shop that is notified.

Nothing of the simulator's signing is used here, so each test holds two writings against each other.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import xmltodict
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from simulators.wechat.apps import DINER_APPID
from simulators.wechat.pay.merchant import API_V2_KEY, MCH_ID

THANKS = (
    "<xml><return_code><![CDATA[SUCCESS]]></return_code>"
    "<return_msg><![CDATA[OK]]></return_msg></xml>"
)


def md5_sign(fields: Mapping[str, str], key: str = API_V2_KEY) -> str:
    return hashlib.md5(_text(fields, key).encode(), usedforsecurity=False).hexdigest().upper()


def hmac_sign(fields: Mapping[str, str], key: str = API_V2_KEY) -> str:
    return hmac.new(key.encode(), _text(fields, key).encode(), "sha256").hexdigest().upper()


def _text(fields: Mapping[str, str], key: str) -> str:
    kept = {k: v for k, v in fields.items() if k != "sign" and v}
    return "".join(f"{k}={kept[k]}&" for k in sorted(kept)) + f"key={key}"


def xml_of(fields: Mapping[str, str]) -> bytes:
    return xmltodict.unparse({"xml": dict(fields)}, full_document=False).encode()


def fields_of(body: bytes) -> dict[str, str]:
    value = xmltodict.parse(body)["xml"]
    return {name: text or "" for name, text in value.items()}


def order_fields(**changes: str) -> dict[str, str]:
    fields = {
        "appid": DINER_APPID,
        "mch_id": MCH_ID,
        "nonce_str": secrets.token_hex(16),
        "body": "番茄鸡蛋面",
        "out_trade_no": "T-0001",
        "total_fee": "1880",
        "spbill_create_ip": "127.0.0.1",
        "notify_url": "http://127.0.0.1:9/notify",
        "trade_type": "JSAPI",
        "openid": "o-alice",
        "sign_type": "HMAC-SHA256",
    }
    return {name: value for name, value in (fields | changes).items() if value}


async def ask(
    caller: httpx.AsyncClient, path: str, fields: Mapping[str, str], **headers: str
) -> dict[str, str]:
    """Sign and post; the answer's signature is checked unless it says FAIL."""
    sign = hmac_sign if fields.get("sign_type") == "HMAC-SHA256" else md5_sign
    signed = {**fields, "sign": sign(fields)}
    response = await caller.post(path, content=xml_of(signed), headers=headers)
    assert response.status_code == 200, response.text
    answer = fields_of(response.content)
    if answer["return_code"] == "SUCCESS":
        assert answer["sign"] == sign(answer)
    return answer


async def place(caller: httpx.AsyncClient, **changes: str) -> dict[str, str]:
    return await ask(caller, "/pay/unifiedorder", order_fields(**changes))


def question(**fields: str) -> dict[str, str]:
    """What every V2 question has, and the rest."""
    common = {"appid": DINER_APPID, "mch_id": MCH_ID, "nonce_str": secrets.token_hex(16)}
    return common | {"sign_type": "HMAC-SHA256"} | fields


async def query(caller: httpx.AsyncClient, out_trade_no: str = "T-0001") -> dict[str, str]:
    return await ask(caller, "/pay/orderquery", question(out_trade_no=out_trade_no))


async def refund(caller: httpx.AsyncClient, **changes: str) -> dict[str, str]:
    fields = {
        "out_trade_no": "T-0001",
        "out_refund_no": "R-0001",
        "total_fee": "1880",
        "refund_fee": "1880",
    }
    return await ask(caller, "/secapi/pay/refund", question(**(fields | changes)))


async def refund_query(caller: httpx.AsyncClient, **fields: str) -> dict[str, str]:
    return await ask(caller, "/pay/refundquery", question(**fields))


async def hand(caller: httpx.AsyncClient, path: str, **body: object) -> dict[str, Any]:
    """The control API of the payment side."""
    response = await caller.post(f"/sim/pay/{path}", json=body)
    assert response.status_code == 200, response.text
    value = response.json()
    assert isinstance(value, dict)
    return value


async def refused_hand(caller: httpx.AsyncClient, path: str, **body: object) -> str:
    response = await caller.post(f"/sim/pay/{path}", json=body)
    assert response.status_code == 400, response.text
    return str(response.json()["error"])


async def look(caller: httpx.AsyncClient, path: str) -> dict[str, Any]:
    value = (await caller.get(f"/sim/pay/{path}")).json()
    assert isinstance(value, dict)
    return value


Answer = tuple[int, str]


class Shop:
    """A merchant's server: keeps what it is told and answers as the test decides."""

    def __init__(self) -> None:
        self.told: list[HTTPServerRequest] = []
        self.answers: list[Answer] = []
        self.usual: Answer = (200, THANKS)
        self.before_answer: Callable[[HTTPServerRequest], Awaitable[str | None]] | None = None
        self._server = HTTPServer(self._serve)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/notify"

    @property
    def fields(self) -> list[dict[str, str]]:
        return [fields_of(request.body) for request in self.told]

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    def _serve(self, request: HTTPServerRequest) -> None:
        self.told.append(request)
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._answering = task

    async def _answer(self, request: HTTPServerRequest) -> None:
        status, body = self.answers.pop(0) if self.answers else self.usual
        if self.before_answer is not None:
            body = await self.before_answer(request) or body
        content = body.encode()
        head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(content)}\r\n\r\n"
        connection = request.connection
        assert connection is not None
        stream = connection.detach()  # type: ignore[attr-defined]
        if not stream.closed():
            await stream.write(head.encode() + content)
            stream.close()
