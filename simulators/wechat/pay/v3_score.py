"""Payscore over V3: service orders and permissions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.web import RequestHandler

from simulators.wechat.pay.errors import V3Refusal
from simulators.wechat.pay.permissions import Apply, Terminate
from simulators.wechat.pay.score import refused
from simulators.wechat.pay.score_orders import (
    Cancel,
    Complete,
    Create,
    Modify,
    Named,
    ScoreOrder,
    Sync,
)
from simulators.wechat.pay.v3 import V3Handler, bad_parameter
from simulators.wechat.pay.v3_common import check_notify_url


class ServiceOrders(V3Handler):
    async def post(self) -> None:
        await self.answer_with("score.create", self._create)

    async def get(self) -> None:
        await self.answer_with("score.query", self._query)

    def _create(self) -> dict[str, Any]:
        asked = self.body_as(Create)
        check_notify_url(asked.notify_url)
        is_permitted = self.money.permissions.holds(asked.openid, asked.appid)
        order = self.money.score.create(asked, is_permitted=is_permitted)
        said = order.shown()
        if order.state == "CREATED":
            said["package"] = order.package
        return said

    def _query(self) -> dict[str, Any]:
        named = Named(self.query_value("appid"), self.query_value("service_id"))
        number = self.get_query_argument("out_order_no", "")
        query_id = self.get_query_argument("query_id", "")
        if bool(number) == bool(query_id):
            raise bad_parameter("out_order_no和query_id二选一")
        score = self.money.score
        if query_id:
            found = next((o for o in score.all.values() if o.query_id == query_id), None)
            number = found.number if found else ""
        return score.find(number, named=named).shown()


class ServiceOrder(V3Handler):
    """complete, cancel, modify, sync and pay: one order, one verb."""

    async def post(self, number: str, verb: str) -> None:
        deeds: dict[str, Callable[[str], dict[str, Any]]] = {
            "complete": self._complete,
            "cancel": self._cancel,
            "modify": self._modify,
            "sync": self._sync,
            "pay": self._pay,
        }
        await self.answer_with(f"score.{verb}", lambda: deeds[verb](number))

    def _found(self, number: str, named: Named) -> ScoreOrder:
        return self.money.score.find(number, named=named)

    def _complete(self, number: str) -> dict[str, Any]:
        asked = self.body_as(Complete)
        order = self._found(number, asked)
        self.money.score.complete(order, asked)
        return order.shown()

    def _cancel(self, number: str) -> dict[str, Any]:
        asked = self.body_as(Cancel)
        order = self._found(number, asked)
        self.money.score.cancel(order, asked)
        return order.short()

    def _modify(self, number: str) -> dict[str, Any]:
        asked = self.body_as(Modify)
        order = self._found(number, asked)
        self.money.score.modify(order, asked)
        return order.shown()

    def _sync(self, number: str) -> dict[str, Any]:
        asked = self.body_as(Sync)
        order = self._found(number, asked)
        self.money.score.sync(order, asked)
        return order.shown()

    def _pay(self, number: str) -> dict[str, Any]:
        order = self._found(number, self.body_as(Named))
        self.money.score.urge(order)
        return order.short()


class PermissionsAsked(V3Handler):
    async def post(self) -> None:
        await self.answer_with("permissions.apply", self._apply)

    def _apply(self) -> dict[str, Any]:
        asked = self.body_as(Apply)
        if asked.notify_url:
            check_notify_url(asked.notify_url)
        return {"apply_permissions_token": self.money.permissions.apply(asked).token}


class OnePermission(V3Handler):
    async def get(self, kind: str, value: str) -> None:
        def do() -> dict[str, Any]:
            service_id = self.query_value("service_id")
            if kind == "openid":
                self.query_value("appid")
            found = self.money.permissions.find(kind, value)
            if found.applied.service_id != service_id:
                raise refused(268503786)
            return found.shown()

        await self.answer_with("permissions.query", do)


class EndPermission(V3Handler):
    async def post(self, kind: str, value: str) -> None:
        def do() -> None:
            asked = self.body_as(Terminate)
            if kind == "openid" and not asked.appid:
                raise bad_parameter("缺少参数appid")
            found = self.money.permissions.find(kind, value)
            open_orders = [
                order
                for order in self.money.score.all.values()
                if order.openid == found.openid and order.state == "DOING"
            ]
            if open_orders:
                raise V3Refusal(400, "INVALID_REQUEST", "用户存在未完成订单，无法解除授权")
            self.money.permissions.end(found, asked.reason)

        await self.answer_with("permissions.end", do)


BY = r"(authorization-code|openid)/([^/]+)"
HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/v3/payscore/serviceorder", ServiceOrders),
    (r"/v3/payscore/serviceorder/([^/]+)/(complete|cancel|modify|sync|pay)", ServiceOrder),
    (r"/v3/payscore/permissions", PermissionsAsked),
    (rf"/v3/payscore/permissions/{BY}", OnePermission),
    (rf"/v3/payscore/permissions/{BY}/terminate", EndPermission),
]
ENDPOINTS = (
    *("v3.score.create", "v3.score.query", "v3.score.complete", "v3.score.cancel"),
    *("v3.score.modify", "v3.score.sync", "v3.score.pay"),
    *("v3.permissions.apply", "v3.permissions.query", "v3.permissions.end"),
)
