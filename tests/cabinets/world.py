"""What is around a server of cabinets: WeChat, the cabinets' platform and the ERP, simulated.

They stand on one clock, which a test turns; the server speaks with them over HTTP both ways.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from itertools import count, cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from simulators import erp, xiaomai
from simulators.groceries import GROCERIES
from simulators.wechat import DINER_APPID, DINER_SECRET, SELLER_APPID, SELLER_SECRET, WeChat
from simulators.xiaomai.cabinets import Cabinet

ADMIN, COLLEAGUE = "admin-li", "admin-wu"
DOORS = 2
STOCK = 30
CAPACITY = 60
GOODS = GROCERIES[:6]
PAY_SETTINGS = ("mch_id", "api_v2_key", "api_v3_key", "merchant_key_file", "merchant_cert_file",
                "platform_keys_dir", "payscore_service_id")  # fmt: skip
# Cabinets report each minute, and are missed after two.
PACE = xiaomai.Pace(heartbeat_s=60, offline_after_s=120)


class Refused(Exception):
    """The server understood, and said no."""

    def __init__(self, code: str, status: int, text: str) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.code = code
        self.status = status


class Unknown(Exception):
    """No answer came: it may or may not have been done."""


class World:
    """start_s: where the clocks stand; None lets them run with the machine's."""

    def __init__(self, start_s: float | None) -> None:
        self.wechat = WeChat(start_s=start_s)
        self.xiaomai = xiaomai.Xiaomai(start_s, pace=PACE, keep_alive=True)
        self.erp = erp.Erp(start_s)
        self.http = httpx.AsyncClient(trust_env=False, timeout=60)
        self.codes = count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for simulator in (self.wechat, self.xiaomai, self.erp):
            await simulator.start()
            self._stack.push_async_callback(simulator.stop)
        self._stack.push_async_callback(self.http.aclose)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def settings(self, database_url: str, folder: Path, port: int) -> dict[str, str]:
        """The environment of a server on this port, to which everybody comes."""
        base = f"http://127.0.0.1:{port}"
        self.call_at(base)
        pay = self.wechat.pay.introduction(self.wechat.url)
        given = self.xiaomai.introduction()
        names = ("url", "app_id", "key_id", "secret", "callback_secret", "endpoint_id")
        return {
            "CALLME_SERVER__HOST": "127.0.0.1",
            "CALLME_SERVER__PORT": str(port),
            "CALLME_SERVER__BASE_URL": base,
            "CALLME_SERVER__SECRET": "a secret of the tests, long enough to sign with",
            "CALLME_SERVER__MEDIA_DIR": str(folder / "media"),
            "CALLME_SERVER__ACCESS_LOG": "false",
            "CALLME_CABINET__COMPLAINTS_DIR": str(folder / "complaints"),
            "CALLME_DATABASE__URL": database_url,
            "CALLME_LIMITS__ENABLED": "false",
            "CALLME_SESSION__IDLE_S": "864000",
            "CALLME_SESSION__MAX_S": "864000",
            "CALLME_QUEUE__ADMIN_OPENIDS": f"{ADMIN},{COLLEAGUE}",
            "CALLME_WECHAT__API_URL": self.wechat.url,
            "CALLME_WECHAT__DINER_APPID": DINER_APPID,
            "CALLME_WECHAT__DINER_SECRET": DINER_SECRET,
            "CALLME_WECHAT__SELLER_APPID": SELLER_APPID,
            "CALLME_WECHAT__SELLER_SECRET": SELLER_SECRET,
            "CALLME_WECHATPAY__URL": self.wechat.url,
            "CALLME_WECHATPAY__ALLOW_SIMULATOR": "true",
            "CALLME_WECHATPAY__NOTIFY_BASE": base,
            **{f"CALLME_WECHATPAY__{name.upper()}": str(pay[name]) for name in PAY_SETTINGS},
            **{f"CALLME_XIAOMAI__{name.upper()}": str(given[name]) for name in names},
            "CALLME_ERP__URL": self.erp.url,
            "CALLME_ERP__TOKEN": erp.TOKEN,
        }

    def call_at(self, base: str) -> None:
        """Where the platform brings its callbacks."""
        self.xiaomai.courier.url = f"{base}/cb/xiaomai/{xiaomai.ENDPOINT_ID}/events"

    def deliver(self, code: str, doors: int = DOORS) -> Cabinet:
        """A cabinet is set up somewhere, empty and bound to nobody."""
        return self.xiaomai.add_cabinet(code, doors=doors, stock={})

    def advance(self, seconds: float) -> None:
        for simulator in (self.wechat, self.xiaomai, self.erp):
            simulator.clock.advance(seconds)

    def stand_still(self) -> None:
        """From now on the clocks go on only when they are turned."""
        for simulator in (self.wechat, self.xiaomai, self.erp):
            simulator.clock.stop()

    async def idle(self) -> None:
        """Until nobody has anything to send at this moment of the clock."""
        await self.xiaomai.idle()
        await self.wechat.pay.notifier.idle()

    async def at_wechat(self, path: str, body: Any, *, unless: str = "") -> Any:
        """What somebody does on the phone, in WeChat itself. unless: what it may show instead."""
        answer = await self.http.post(f"{self.wechat.url}/sim/pay/{path}", json=body)
        is_shown = bool(unless) and unless in answer.text
        assert answer.status_code == 200 or is_shown, answer.text
        return answer.json()


class Person:
    """Somebody signed in. bases: the servers that are asked, in turn.

    patience_s: for how long whoever gets no answer asks again, with the same key.
    """

    def __init__(
        self,
        world: World,
        *bases: str,
        openid: str,
        app: str = "diner",
        patience_s: float = 0.0,
    ) -> None:
        self.world = world
        self.bases = cycle(bases)
        self.patience_s = patience_s
        self.openid = openid
        self.app = app
        self.token = ""
        self.account_id = 0
        self.keys: Iterator[str] = (f"{openid}-{number}" for number in count(1))

    async def sign_in(self) -> Self:
        code = f"sim:{self.openid}:{next(self.world.codes)}"
        answer = await self.ask("POST", "/sessions", {"app": self.app, "code": code})
        self.token, self.account_id = answer["token"], answer["account"]["id"]
        return self

    async def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        """The JSON of the answer. Raises Refused, Unknown."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if method in {"POST", "PUT"} and self.token:
            headers["Idempotency-Key"] = key or next(self.keys)
        until = time.monotonic() + self.patience_s
        while True:
            try:
                return await self._once(method, path, body, headers)
            except (Unknown, Refused) as error:
                is_final = isinstance(error, Refused) and error.status != 503
                if is_final or time.monotonic() >= until:
                    raise
            await asyncio.sleep(0.1)

    async def _once(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        url = f"{next(self.bases)}/api/v1{path}"
        try:
            answer = await self.world.http.request(method, url, json=body, headers=headers)
        except httpx.TransportError as error:
            raise Unknown(repr(error)) from error
        if answer.is_error:
            raise Refused(answer.json()["code"], answer.status_code, answer.text)
        return answer.json() if answer.content else None

    async def all_of(self, path: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        mark = "&" if "?" in path else "?"
        for page in count(1):
            answer = await self.ask("GET", f"{path}{mark}page={page}&page_size=100")
            found += answer["items"]
            if len(found) >= answer["total"]:
                return found
        raise AssertionError

    # ------------------------------------------------------------ a shopper's

    async def open(self, qr: str, pay_with: str = "ticket", *, key: str = "") -> Any:
        body = {"qr": qr, "pay_with": pay_with}
        return await self.ask("POST", "/cabinets/open", body, key=key)

    async def confirm(self, opened: Any) -> None:
        """Confirm in WeChat what wx.openBusinessView shows."""
        view = opened["wx_open_business_view"]
        body = {"extra_data": view["extraData"], "openid": self.openid}
        await self.world.at_wechat("score/confirm", body)

    async def session(self, session_id: int) -> Any:
        return await self.ask("GET", f"/door-sessions/{session_id}")

    async def orders(self) -> list[dict[str, Any]]:
        return await self.all_of("/cabinet-orders")

    async def tickets(self) -> int:
        return int((await self.ask("GET", "/members/me"))["tickets"])

    async def pay(self, order: Any, means: str) -> None:
        """What is open of an order, in WeChat's box if need be."""
        paid = await self.ask("POST", f"/cabinet-orders/{order['id']}/pay", {"with": means})
        if box := paid.get("wx_request_payment"):
            # The app's own number is signed along with the box, and not in it.
            whole = box | {"appId": DINER_APPID, "openid": self.openid}
            await self.world.at_wechat("box", whole, unless="the order is paid already")

    # ------------------------------------------------------------ the back office's

    async def furnish(self, codes: Iterable[str], *, store: str = "S1") -> dict[str, int]:
        """A store with these cabinets, filled and priced; their ids. The layouts are on their way.

        Raises Refused.
        """
        await self.ask("POST", "/admin/goods/sync")
        values = {"code": store, "name": f"Store {store}", "type": "kids", "property": "own"}
        store_id = (await self.ask("POST", "/admin/stores", values))["id"]
        ids = {}
        for code in codes:
            device = {"vendor": "xiaomai", "code": code, "name": code, "doors": [1, 2][:DOORS]}
            made = await self.ask("POST", "/admin/devices", device)
            await self.ask("POST", f"/admin/devices/{made['id']}/bind", {"store_id": store_id})
            ids[code] = made["id"]
            await self.ask("PUT", f"/admin/devices/{made['id']}/planogram", {"slots": layout()})
        return ids

    async def grant(self, account_id: int, tickets: int) -> None:
        body = {"tickets": tickets, "reason": "a gift"}
        await self.ask("POST", f"/admin/members/{account_id}/tickets", body)


def layout() -> list[dict[str, Any]]:
    """The same goods behind each door, for what the ERP says."""
    return [
        {
            "door_no": door_no,
            "layer": number // 2 + 1,
            "slot": number % 2 + 1,
            "sku": good.sku,
            "stock": STOCK,
            "capacity": CAPACITY,
        }
        for door_no in range(1, DOORS + 1)
        for number, good in enumerate(GOODS)
    ]
