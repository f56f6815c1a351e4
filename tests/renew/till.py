"""A scripted server for the renewal page: a stall, its seller, and a WeChat that pays when told.

It speaks the routes of docs/protocol.md from the agreement, not from the product's code; only the
pages are served by the product itself, with the policy they have there. What a test wants to go
wrong it says to the till.
"""

import asyncio
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import segno
import tornado.httpserver
import tornado.web
import tornado.websocket
from tornado.testing import bind_unused_port

from handlers.static import page_rules
from tests.board.canteen import WEB, rfc3339

PAID_AT = "2026-11-20T04:05:06.789Z"

Body = dict[str, Any]


@dataclass
class Order:
    out_trade_no: str
    months: int
    amount_fen: int
    key: str
    state: str = "submitted"
    debt_state: str = "unpaid"
    is_paid_at_wechat: bool = False
    """Paid, but the server has not heard of it."""

    def body(self, expires_at: str) -> Body:
        is_live = self.state in {"created", "submitted"}
        return {
            "out_trade_no": self.out_trade_no,
            "amount_fen": self.amount_fen,
            "trade_type": "NATIVE",
            "state": self.state,
            "debt_state": self.debt_state,
            "is_paid": self.debt_state in {"paid", "partly", "refunded"},
            "expires_at": expires_at,
            "ended_at": None if is_live else PAID_AT,
        }


class Till:
    """The server. Codes are good once; `asked` counts requests by method and path."""

    def __init__(self) -> None:
        self.stall: Body | None = {
            "id": 7,
            "name": "兰州拉面",
            "person": "王师傅",
            "phone": "13800000001",
            "balance_months": 2,
            "month_price_fen": 3000,
            "disabled": False,
        }
        self.codes = {"good", "other", "third"}
        self.tokens: set[str] = set()
        self.orders: dict[str, Order] = {}
        self.asked: list[str] = []
        self.sockets: list[MeSocket] = []
        self.subscribed: asyncio.Queue[str] = asyncio.Queue()
        self.is_away = False
        self.loses_orders = False
        self.refusals: dict[str, Body] = {}
        self.portal = False
        self.price_fen: int | None = None
        self.good_for_s = 7200
        self.names_transactions = False
        socket, port = bind_unused_port()
        self.address = f"http://127.0.0.1:{port}"
        self.server = tornado.httpserver.HTTPServer(self._application())
        self.server.add_socket(socket)

    def _application(self) -> tornado.web.Application:
        till = {"till": self}
        payment = r"/api/v1/payments/(\w+)"
        routes: list[Any] = [
            ("/api/v1/ws", MeSocket, till),
            ("/api/v1/sessions", SignIn, till),
            ("/api/v1/sessions/current", SignOut, till),
            ("/api/v1/sellers/me/stall", MyStall, till),
            ("/api/v1/stalls/7/renewals", Renewals, till),
            (payment, Payment, till),
            (payment + "/refresh", Refresh, till),
            (payment + r"/qr\.png", Picture, till),
        ]
        return tornado.web.Application(
            [*routes, *page_rules(WEB, base_url=self.address)],
            log_function=lambda handler: None,
        )

    def refuse(self, request: str, status: int, code: str, retry_after_s: int = 0) -> None:
        """Answer `POST /api/v1/sessions` and the like with this problem until it is `allow`ed."""
        problem = {"status": status, "code": code, "title": "No", "request_id": "r-17"}
        self.refusals[request] = {**problem, "retry_after_s": retry_after_s}

    def allow(self) -> None:
        self.refusals.clear()

    def only_order(self) -> Order:
        (order,) = self.orders.values()
        return order

    def pay(self, order: Order | None = None, *, told: bool = False) -> None:
        """The money comes. told: sockets are told as well."""
        order = order or self.only_order()
        if order.debt_state != "paid":
            order.state, order.debt_state = "success", "paid"
            assert self.stall is not None
            self.stall["balance_months"] += order.months
        if told:
            data = {"out_trade_no": order.out_trade_no}
            for socket in self.sockets:
                socket.send({"type": "event", "topic": "me", "name": "payment.succeeded"} | data)

    def order(self, months: int, key: str) -> Order:
        made = next((order for order in self.orders.values() if order.key == key), None)
        if made is None:
            assert self.stall is not None
            price = self.price_fen or self.stall["month_price_fen"]
            out_trade_no = f"S7R{len(self.orders) + 1:04}"
            made = Order(out_trade_no, months, months * price, key)
            self.orders[out_trade_no] = made
        return made

    def count(self, request: str) -> int:
        return sum(asked.startswith(request) for asked in self.asked)

    async def close(self) -> None:
        self.server.stop()
        for socket in self.sockets:
            socket.close()
        await self.server.close_all_connections()


class Api(tornado.web.RequestHandler):
    needs_token = True

    def initialize(self, till: Till) -> None:
        self.till = till

    def prepare(self) -> None:
        asked = f"{self.request.method} {self.request.path}"
        self.till.asked.append(asked)
        if self.till.is_away:
            self.lose()
        if self.till.portal:
            self.finish("<p>Welcome to the canteen's Wi-Fi</p>")
            return
        problems = (p for path, p in self.till.refusals.items() if asked.startswith(path))
        if problem := next(problems, None):
            self.refuse(problem)
        elif self.needs_token and self.token not in self.till.tokens:
            self.refuse({"status": 401, "code": "session.expired"})

    @property
    def token(self) -> str:
        return self.request.headers.get("Authorization", "").removeprefix("Bearer ")

    def lose(self) -> None:
        """End the connection without an answer."""
        self.detach().close()
        raise tornado.web.Finish

    def refuse(self, problem: Body) -> None:
        self.set_status(problem["status"])
        if problem.get("retry_after_s"):
            self.set_header("Retry-After", str(problem["retry_after_s"]))
        self.finish(json.dumps(problem))

    def find(self, out_trade_no: str) -> Order:
        order = self.till.orders.get(out_trade_no)
        if order is None:
            self.refuse({"status": 404, "code": "payments.not_found"})
            raise tornado.web.Finish
        return order

    def shown(self, order: Order) -> Body:
        ends = datetime.now(UTC) + timedelta(seconds=self.till.good_for_s)
        more = {"paid_at": PAID_AT, "transaction_id": f"42000{order.out_trade_no}"}
        return order.body(rfc3339(ends)) | (more if self.till.names_transactions else {})


class SignIn(Api):
    needs_token = False

    def post(self) -> None:
        body = json.loads(self.request.body)
        assert body["app"] == "seller"
        if body["code"] not in self.till.codes:
            self.refuse({"status": 400, "code": "session.code_refused"})
            return
        self.till.codes.remove(body["code"])
        token = f"token-of-{body['code']}"
        self.till.tokens.add(token)
        self.write({"token": token, "account": {"id": 1, "roles": ["seller"]}})


class SignOut(Api):
    def delete(self) -> None:
        self.till.tokens.remove(self.token)
        self.set_status(204)


class MyStall(Api):
    def get(self) -> None:
        if self.till.stall is None:
            self.refuse({"status": 404, "code": "stall.not_found"})
        else:
            self.write(self.till.stall)


class Renewals(Api):
    def post(self) -> None:
        body = json.loads(self.request.body)
        assert body["trade_type"] == "NATIVE"
        order = self.till.order(body["months"], self.request.headers["Idempotency-Key"])
        if self.till.loses_orders:
            self.lose()
        self.set_status(201)
        answer = {"out_trade_no": order.out_trade_no, "amount_fen": order.amount_fen}
        answer["code_url"] = f"weixin://wxpay/bizpayurl?pr={order.out_trade_no}"
        self.write(answer)


class Payment(Api):
    def get(self, out_trade_no: str) -> None:
        self.write(self.shown(self.find(out_trade_no)))


class Refresh(Api):
    def post(self, out_trade_no: str) -> None:
        order = self.find(out_trade_no)
        if order.is_paid_at_wechat:
            self.till.pay(order)
        self.write(self.shown(order))


class Picture(Api):
    def get(self, out_trade_no: str) -> None:
        png = io.BytesIO()
        address = f"weixin://wxpay/bizpayurl?pr={self.find(out_trade_no).out_trade_no}"
        segno.make(address, error="m").save(png, kind="png", scale=8, border=2)
        self.set_header("Content-Type", "image/png")
        self.write(png.getvalue())


class MeSocket(tornado.websocket.WebSocketHandler):
    till: Till

    def initialize(self, till: Till) -> None:
        self.till = till

    def prepare(self) -> None:
        if self.till.is_away:
            self.detach().close()
            raise tornado.web.Finish

    def open(self, *args: str, **kwargs: str) -> None:
        self.till.sockets.append(self)
        self.send({"type": "hello", "protocol": 1, "heartbeat_s": 25})

    def on_close(self) -> None:
        if self in self.till.sockets:
            self.till.sockets.remove(self)

    def on_message(self, message: str | bytes) -> None:
        frame = json.loads(message)
        if frame["type"] == "auth":
            assert frame["token"] in self.till.tokens
        if frame["type"] == "subscribe":
            self.till.subscribed.put_nowait(frame["topic"])
        self.send({"id": frame["id"], "type": "result", "ok": True, "data": {}})

    def send(self, frame: Body) -> None:
        sent = self.write_message(json.dumps(frame))
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())
