"""Cabinets out of the settings: their vendors, the services about them, their jobs and routes.

Where no platform is set there are stores, goods and members all the same; no door opens.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from accounts.model import Session
from accounts.staff.permissions import Permission, allowed
from commerce.erp import Erp
from commerce.goods.service import Goods
from commerce.members.phones import Phones
from commerce.members.service import Members
from commerce.sales.model import SEND
from commerce.sales.service import Sales
from devices.desk.model import Action
from devices.desk.service import Complaints, Desk
from devices.fleet import store as fleet_store
from devices.fleet.model import CODES
from devices.fleet.qr import QrCodes
from devices.fleet.service import Fleet
from devices.flow.decisions import DECISIONS
from devices.flow.events import hear
from devices.flow.model import WAKE, Rules
from devices.flow.service import Cabinets
from devices.inbox.kept.service import KeptEvents
from devices.inbox.model import JOB as INBOX
from devices.inbox.model import LOOK_S as INBOX_LOOK_S
from devices.inbox.service import Inbox
from devices.orders.beside import CONFIRM
from devices.orders.films.service import Films
from devices.orders.model import Rules as OrderRules
from devices.orders.money import CANCEL, SETTLE
from devices.orders.service import Orders
from devices.presence import store as presence_store
from devices.presence.away.store import AWAY_ALERT
from devices.presence.model import Times
from devices.presence.service import Presence
from devices.presence.store import ASKS, FLAPPING_ALERT, LOOKS, OFFLINE_ALERT
from devices.reports.model import Gauges
from devices.reports.rules.store import KINDS
from devices.reports.service import Reports
from devices.sessions import store as session_store
from devices.sessions.model import SessionNotFound
from devices.stock.model import PUT
from devices.stock.service import Stock, beside
from devices.stock.store import EXPIRED
from devices.vendors.port import CabinetVendor
from devices.vendors.xiaomai.signing import Key
from devices.vendors.xiaomai.vendor import Xiaomai
from handlers import (
    callbacks,
    rest_cabinet_orders,
    rest_cabinets,
    rest_callbacks,
    rest_desk,
    rest_films,
    rest_fleet,
    rest_goods,
    rest_live,
    rest_reports,
)
from handlers.calls import ADMIN
from handlers.limits import Limit
from handlers.rest_cabinets import session_out
from handlers.routing import Route
from payments.scores.service import Scores
from payments.scores.store import STUCK
from payments.scores.store import WAKE as SCORES
from payments.service import Payments
from queueing.stalls.pictures import Pictures
from server.config import Config
from server.jobs import Watch
from server.outbox import TENACIOUS, Deliver, Rhythm
from server.schedule import PULL
from sql.database import Database, Tx
from sql.events import Head, heads
from sql.types import Millis

OpenidOf = Callable[[int], Awaitable[str]]

# Parcels that go on until they arrive: the vendors' and the ERP's books must agree with ours.
RHYTHMS: Mapping[str, Rhythm] = dict.fromkeys(
    (CONFIRM, SETTLE, CANCEL, PUT, SEND, CODES), TENACIOUS
)

# Alerts that end when what they tell of is over, and no sooner.
WATCHED = KINDS | {
    OFFLINE_ALERT,
    FLAPPING_ALERT,
    AWAY_ALERT,
    EXPIRED,
    session_store.DOOR_OPEN,
    STUCK,
}

DEVICES = ADMIN | allowed(Permission.DEVICES_READ)

# What is signed or hidden with the server's secret says what for, so that nothing of one use is
# of any use for another.
_SALT = b"callme cabinet user reference"


class CabinetSide:
    """The services about cabinets, made once; the app asks for their parts of everything."""

    def __init__(
        self,
        config: Config,
        db: Database,
        payments: Payments,
        scores: Scores,
        *,
        now: Callable[[], Millis],
        openid_of: OpenidOf,
    ) -> None:
        self._config = config
        self.db = db
        self._now = now
        self._openid_of = openid_of
        self.scores = scores
        self.vendors = vendors_of(config, now)
        self.erp = Erp(config.erp.url, config.erp.token) if config.erp.url else None
        secret = config.server.secret
        codes = QrCodes(secret, config.sticker_prefix)
        order_rules = OrderRules(
            review_limit_fen=config.cabinet.review_limit_fen,
            two_person_above_fen=config.payments.two_person_above_fen,
        )
        rules = Rules(
            orders=order_rules,
            heartbeat_s=config.cabinet.heartbeat_s,
            settling_ms=config.cabinet.settling_pause_min * 60_000,
            salt=hmac.new(secret.encode(), _SALT, hashlib.sha256).hexdigest(),
        )
        times = Times(config.cabinet.heartbeat_s, auto_unlock=config.cabinet.auto_unlock)
        self.members = Members(db, Phones(secret))
        self.fleet = Fleet(db, self.vendors, codes)
        self.presence = Presence(db, self.vendors, times=times)
        self.goods = Goods(db, self.erp)
        self.sales = Sales(db, self.erp)
        self.stock = Stock(db, self.vendors)
        self.orders = Orders(db, payments, order_rules, appid=config.wechat.diner_appid)
        self.films = Films(db, self.vendors)
        self.cabinets = Cabinets(
            db,
            self.vendors,
            codes,
            scores=scores,
            rules=rules,
            score_over=self.orders.score_over,
        )
        self.desk = Desk(db, actions=_actions(), for_orders=self.orders.action)
        self.complaints = Complaints(
            db,
            Pictures(Path(config.cabinet.complaints_dir)),
            self.orders.send_back,
        )
        self.reports = Reports(db)
        # As they were at the last look.
        self.gauges = Gauges()
        self.inbox = Inbox(
            db,
            self.vendors,
            self.films.beside(beside(self.cabinets.handle, self.stock)),
            hear=hear,
            pull=PULL,
        )

    # What the app is to do

    def routes(self) -> list[Route]:
        openings = self._config.limits.openings_per_min
        return [
            *callbacks.routes(self.inbox.receive, self.vendors, now=self._now),
            *rest_cabinets.routes(
                self.cabinets,
                self._openid_of,
                opening=Limit(per_s=openings / 60, burst=openings),
            ),
            *rest_cabinet_orders.routes(self.orders, self._openid_of),
            *rest_films.routes(self.films),
            *rest_fleet.routes(self.fleet),
            *rest_live.routes(self.presence),
            *rest_callbacks.routes(KeptEvents(self.db)),
            *rest_goods.routes(self.goods, self.stock, self.sales, now=self._now),
            *rest_desk.routes(self.desk, self.complaints, self.members),
            *rest_reports.routes(self.reports, self._now),
        ]

    def deliverers(self) -> Mapping[str, Deliver]:
        return {
            CONFIRM: self.cabinets.deliver_confirmation,
            SETTLE: self.orders.deliver_settle,
            CANCEL: self.orders.deliver_cancel,
            PUT: self.stock.put,
            SEND: self.sales.send,
            CODES: self.fleet.tell_codes,
        }

    def watches(self) -> list[Watch]:
        """Of the database alone: they are quick, and nothing of a vendor's holds them up."""
        return [
            Watch(LOOKS, self.presence.look, 1),
            Watch("thresholds", self._see_thresholds, 60),
            Watch("gauges", self.read_gauges, 15),
        ]

    async def _see_thresholds(self) -> None:
        await self.inbox.note_forged()
        await self.reports.watch()

    async def read_gauges(self) -> None:
        """For the metrics, which are told without waiting for anything."""
        self.gauges = await self.reports.gauges()

    def outward(self) -> list[tuple[Watch, ...]]:
        """Watches that speak with others, each tuple by a runner of its own."""
        return [
            (Watch(INBOX, self.inbox.work_due, INBOX_LOOK_S),),
            (Watch(WAKE, self.cabinets.run_due, 1),),
            (Watch(SCORES, self.scores.push_due, 2),),
            (Watch(ASKS, self.presence.ask_due, 5), Watch("goods", self.stock.push_goods, 60)),
        ]

    async def resume(self) -> None:
        """Doors that were being opened when a process ended are asked about at once."""
        await self.cabinets.resume()

    async def close(self) -> None:
        await self.presence.close()
        for vendor in self.vendors.values():
            await vendor.close()
        if self.erp is not None:
            await self.erp.close()

    # Who may hear what

    async def may_listen(self, session: Session | None, stream: str) -> bool:
        """A door is its person's and the back office's; the cabinets are the back office's."""
        return session is not None and await self.db.read(_may_listen, session, stream)

    async def snapshot(self, session: Session | None, stream: str) -> tuple[Head | None, Any]:
        assert session is not None
        return await self.db.read(_snapshot, session, stream)


def documented_routes() -> list[Route]:
    """The routes for people, with nothing behind them, in the order in which an app has them."""
    nothing: Any = None
    return [
        *rest_cabinets.routes(nothing, nothing),
        *rest_cabinet_orders.routes(nothing, nothing),
        *rest_films.routes(nothing),
        *rest_fleet.routes(nothing),
        *rest_live.routes(nothing),
        *rest_callbacks.routes(nothing),
        *rest_goods.routes(nothing, nothing, nothing, now=nothing),
        *rest_desk.routes(nothing, nothing, nothing),
        *rest_reports.routes(nothing, nothing),
    ]


def vendors_of(config: Config, now: Callable[[], Millis]) -> dict[str, CabinetVendor]:
    """By code, those that are set."""
    given = config.xiaomai
    if not given.url:
        return {}
    secrets = [given.callback_secret, given.callback_secret_old]
    return {
        "xiaomai": Xiaomai(
            given.url,
            Key(given.app_id, given.key_id, given.secret),
            endpoints={given.endpoint_id: [each for each in secrets if each]},
            now=now,
        )
    }


def _actions() -> dict[str, Action]:
    """What deciding means for exceptions that are about no order."""
    return {kind: Action(approve, reject) for kind, (approve, reject) in DECISIONS.items()}


def _may_listen(tx: Tx, session: Session, stream: str) -> bool:
    is_staff = bool(session.roles & DEVICES)
    scope = fleet_store.scope_of(tx, session.account_id)
    kind, _, number = stream.partition(":")
    if kind != "door":
        return is_staff and presence_store.may_listen(tx, stream, scope)
    try:
        door = session_store.load(tx, int(number))
    except SessionNotFound:
        return False
    if door.account_id == session.account_id:
        return True
    return is_staff and fleet_store.sees(scope, door.store_id)


def _snapshot(tx: Tx, session: Session, stream: str) -> tuple[Head | None, dict[str, Any]]:
    kind, _, number = stream.partition(":")
    if kind != "door":
        scope = fleet_store.scope_of(tx, session.account_id)
        return presence_store.snapshot_of(tx, stream, scope)
    door = session_store.load(tx, int(number))
    return heads(tx, [stream]).get(stream), {"session": msgspec.to_builtins(session_out(door))}
