"""The hand behind the simulator: /sim/… makes codes, grants, faults and turns the clock.

JSON in and out; what does not fit is HTTP 400 {"error": …}. This is not WeChat's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from tornado.web import RequestHandler

from simulators.clock import utc_text
from simulators.faults import Fault
from simulators.wechat import api
from simulators.wechat.apps import Template
from simulators.wechat.messages import Message

if TYPE_CHECKING:
    from simulators.wechat.sim import WeChat

AppName = Literal["diner", "seller"]
T = TypeVar("T", bound=msgspec.Struct)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A control body; a misspelt field is an error, not silence."""


class CodeOrder(Strict):
    openid: str = ""
    person: str = ""
    app: AppName | None = None


class GrantOrder(Strict):
    openid: str
    template_id: str
    times: int = 1


class ClockOrder(Strict):
    """Set first, then advance, then stop or run."""

    now_s: float | None = None
    advance_s: float = 0.0
    running: bool | None = None


class TokenOrder(Strict):
    """expire: 42001 from now on; revoke: 40001 from now on."""

    action: Literal["expire", "revoke"]
    app: AppName | None = None


class PageOrder(Strict):
    """The published pages; null lets every well-formed page pass again."""

    pages: list[str] | None


class PersonOrder(Strict):
    openid: str
    is_risky: bool


class ControlHandler(RequestHandler):
    def initialize(self, sim: WeChat) -> None:
        self.sim = sim

    def body_as(self, kind: type[T]) -> T:
        return msgspec.json.decode(self.request.body, type=kind)

    def say(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(msgspec.json.encode(value))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if self._status_of(value) == 500:
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.clear()
        self.set_status(self._status_of(error) if status_code == 500 else status_code)
        self.say({"error": str(error)})

    @staticmethod
    def _status_of(error: object) -> int:
        known = (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError)
        return 400 if isinstance(error, known) else 500


class Codes(ControlHandler):
    def post(self) -> None:
        order = self.body_as(CodeOrder)
        app = self.sim.app_named(order.app) if order.app else None
        logins = self.sim.logins
        code = logins.make_code(person=order.person, openid=order.openid, app=app)
        self.say({"code": code, "openid": logins.openid_of_code(code)})


class Grants(ControlHandler):
    def post(self) -> None:
        order = self.body_as(GrantOrder)
        left = self.sim.messages.grant(order.openid, order.template_id, order.times)
        self.say({"left": left})


class Inbox(ControlHandler):
    """?openid= and ?template_id= choose, ?after= gives what came after that message id."""

    def get(self) -> None:
        openid = self.get_query_argument("openid", "")
        template_id = self.get_query_argument("template_id", "")
        after = int(self.get_query_argument("after", "0"))
        chosen = [
            shown(message)
            for message in self.sim.messages.inbox
            if openid in ("", message.openid)
            and template_id in ("", message.template_id)
            and message.id > after
        ]
        self.say({"messages": chosen, "count": len(chosen)})

    def delete(self) -> None:
        self.sim.messages.inbox.clear()
        self.say({})


class TokenList(ControlHandler):
    def get(self) -> None:
        self.say({"tokens": tokens_of(self.sim)})

    def post(self) -> None:
        order = self.body_as(TokenOrder)
        appid = self.sim.app_named(order.app).appid if order.app else None
        tokens = self.sim.tokens
        ended = tokens.expire(appid) if order.action == "expire" else tokens.revoke(appid)
        self.say({"ended": ended})


class Clock(ControlHandler):
    def get(self) -> None:
        self.say(clock_of(self.sim))

    def post(self) -> None:
        order, clock = self.body_as(ClockOrder), self.sim.clock
        if order.now_s is not None:
            clock.set(order.now_s)
        clock.advance(order.advance_s)
        if order.running is not None and order.running != clock.is_running:
            clock.run() if order.running else clock.stop()
        self.say(clock_of(self.sim))


class Faults(ControlHandler):
    def get(self) -> None:
        self.say({"faults": self.sim.faults.waiting})

    def post(self) -> None:
        fault = self.body_as(Fault)
        if fault.endpoint not in api.ENDPOINTS:
            raise ValueError(
                f"no endpoint {fault.endpoint!r}; there are {', '.join(api.ENDPOINTS)}"
            )
        self.sim.faults.add(fault)
        self.say({"faults": self.sim.faults.waiting})

    def delete(self) -> None:
        """?endpoint= clears that one's faults only."""
        self.sim.faults.clear(self.get_query_argument("endpoint", None))
        self.say({"faults": self.sim.faults.waiting})


class Templates(ControlHandler):
    def get(self) -> None:
        self.say({"templates": list(self.sim.messages.templates.values())})

    def post(self) -> None:
        template = self.body_as(Template)
        self.sim.app_named(template.app)
        self.sim.messages.templates[template.template_id] = template
        self.say({"templates": list(self.sim.messages.templates.values())})


class Pages(ControlHandler):
    def post(self) -> None:
        order = self.body_as(PageOrder)
        self.sim.messages.pages = None if order.pages is None else set(order.pages)
        self.say({"pages": order.pages})


class People(ControlHandler):
    def post(self) -> None:
        order = self.body_as(PersonOrder)
        change = self.sim.logins.risky.add if order.is_risky else self.sim.logins.risky.discard
        change(order.openid)
        self.say({"risky": sorted(self.sim.logins.risky)})


class Reset(ControlHandler):
    def post(self) -> None:
        self.sim.reset()
        self.say({})


class State(ControlHandler):
    def get(self) -> None:
        self.say(state_of(self.sim))


def state_of(sim: WeChat) -> dict[str, Any]:
    """Everything there is to see, newest messages and calls last."""
    messages = sim.messages
    return {
        "name": "wechat",
        "is_simulator": True,
        "clock": clock_of(sim),
        "apps": [{"name": app.name, "appid": app.appid} for app in sim.apps.values()],
        "people": {appid: sorted(openids) for appid, openids in sim.logins.known.items()},
        "risky": sorted(sim.logins.risky),
        "templates": list(messages.templates.values()),
        "pages": None if messages.pages is None else sorted(messages.pages),
        "grants": [
            {"openid": openid, "template_id": template_id, "left": left}
            for (openid, template_id), left in messages.grants.items()
            if left
        ],
        "inbox": [shown(message) for message in messages.inbox[-100:]],
        "tokens": tokens_of(sim),
        "faults": sim.faults.waiting,
        "counts": sim.counts,
        "calls": sim.calls[-100:],
    }


def shown(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return fields | {"sent_at": utc_text(message.sent_at_s)}


def clock_of(sim: WeChat) -> dict[str, Any]:
    now_s = sim.clock.now_s()
    return {"now_s": now_s, "now": utc_text(now_s), "running": sim.clock.is_running}


def tokens_of(sim: WeChat) -> list[dict[str, Any]]:
    now_s = sim.clock.now_s()
    return [
        {
            "app": sim.apps[token.appid].name,
            "token": token.token,
            "born_at": utc_text(token.born_s),
            "dies_at": utc_text(token.dies_s),
            "is_live": not token.is_revoked and token.dies_s > now_s,
        }
        for tokens in sim.tokens.given.values()
        for token in tokens
    ]


HANDLERS: list[tuple[str, type[RequestHandler]]] = [
    (r"/sim/codes", Codes),
    (r"/sim/grants", Grants),
    (r"/sim/inbox", Inbox),
    (r"/sim/tokens", TokenList),
    (r"/sim/clock", Clock),
    (r"/sim/faults", Faults),
    (r"/sim/templates", Templates),
    (r"/sim/pages", Pages),
    (r"/sim/people", People),
    (r"/sim/reset", Reset),
    (r"/sim/state", State),
]
