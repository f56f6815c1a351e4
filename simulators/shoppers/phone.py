"""A shopper's phone: signed in, it opens doors and pays; what is unclear it asks again."""

import asyncio
import secrets
from random import Random
from typing import Any

import httpx

from simulators.rush.desk import Desk
from simulators.rush.links import GIVE_UP_AFTER_S, Backoff, LinkLostError, RefusedError
from simulators.shoppers.web import ask
from simulators.wechat import DINER_APPID

SESSION_OVER = ("session.expired", "session.missing", "http_401")
NOT_NOW = ("rate.limited", "http_429", "idempotency.running")


class Phone:
    """A wish is repeated with its key for as long as there is no answer."""

    def __init__(
        self, http: httpx.AsyncClient, base_url: str, wechat_url: str, openid: str, rng: Random
    ) -> None:
        self._http = http
        self._api = base_url.rstrip("/") + "/api/v1"
        self._wechat = wechat_url.rstrip("/")
        self._desk = Desk(http, base_url, wechat_url)
        self._token = ""
        self._rng = rng
        self.openid = openid

    async def open(self, qr: str, pay_with: str) -> dict[str, Any]:
        """The session, and perhaps what WeChat is to show. Raises RefusedError, LinkLostError."""
        body = {"qr": qr, "pay_with": pay_with}
        opened: dict[str, Any] = await self._wish("POST", "/cabinets/open", body)
        return opened

    async def session(self, session_id: int) -> dict[str, Any]:
        found: dict[str, Any] = await self._wish("GET", f"/door-sessions/{session_id}")
        return found

    async def orders(self, session_id: int = 0) -> list[dict[str, Any]]:
        """The latest orders, or those of a session."""
        found = await self._wish("GET", "/cabinet-orders?page_size=50")
        return [each for each in found["items"] if session_id in (0, each["session_id"])]

    async def pay(self, order: dict[str, Any], means: str) -> None:
        """Pay what is open of an order, in WeChat's box if need be."""
        paid = await self._wish("POST", f"/cabinet-orders/{order['id']}/pay", {"with": means})
        box = paid.get("wx_request_payment")
        if box and self._wechat:
            # The app's own number is signed along with the box, and not in it.
            await self._at_wechat("box", box | {"appId": DINER_APPID, "openid": self.openid})

    async def confirm(self, view: dict[str, Any]) -> None:
        """Confirm in WeChat what wx.openBusinessView shows."""
        if self._wechat:
            body = {"extra_data": view["extraData"], "openid": self.openid}
            await self._at_wechat("score/confirm", body)

    async def _at_wechat(self, path: str, body: object) -> None:
        await ask(self._http, "POST", f"{self._wechat}/sim/pay/{path}", body)

    async def _wish(self, method: str, path: str, body: object = None) -> Any:
        key, backoff = secrets.token_hex(16), Backoff(self._rng)
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            while True:
                try:
                    return await self._once(method, path, body, key)
                except LinkLostError:
                    await asyncio.sleep(backoff.delay_s())
                except RefusedError as refused:
                    if refused.code in SESSION_OVER:
                        self._token = ""
                    elif refused.code not in NOT_NOW:
                        raise
                    await asyncio.sleep(backoff.delay_s())

    async def _once(self, method: str, path: str, body: object, key: str) -> Any:
        if not self._token:
            self._token = str((await self._desk.sign_in(self.openid, "diner"))["token"])
        headers = {"Authorization": f"Bearer {self._token}"}
        if method == "POST":
            headers["Idempotency-Key"] = key
        return await ask(self._http, method, self._api + path, body, headers)
