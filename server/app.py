"""The wiring: every part is made here, given what it needs, started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import Rule

from accounts.alerts.service import Alerts
from accounts.audit.service import Audit
from accounts.audit.store import BROKEN
from accounts.model import Session
from accounts.service import Messages, People, Sessions
from accounts.staff.passwords import Passwords
from accounts.staff.service import Staff
from accounts.wechat import MiniProgram
from devices.flow.store import parcel_arrived, parcel_stuck
from handlers import (
    notices,
    old_route,
    openapi,
    operations,
    rest_admin,
    rest_alerts,
    rest_payments,
    rest_queue,
    rest_renewals,
    rest_sessions,
    rest_staff,
)
from handlers.actors import actor_of
from handlers.address import TrustedProxies
from handlers.channel import UNWRITTEN
from handlers.commands import commands
from handlers.connection import Desk
from handlers.http import Front, http_server
from handlers.hub import Hub
from handlers.limits import Limit, Limits
from handlers.old_dialect import Dialect
from handlers.old_socket import OldSocket, UpgradeOf
from handlers.operations import Readiness
from handlers.pulse import Pulse
from handlers.request import Edge
from handlers.routing import Route, Table
from handlers.socket import LiveSocket
from handlers.static import application, page_rules
from handlers.topics import Topic
from handlers.upgrade import Door
from payments.bills.store import BILL
from payments.checks.store import CHECKS
from payments.ledger.model import Violation
from payments.ledger.service import Books
from payments.ledger.store import BOOKS
from payments.refunds.store import MANUAL
from payments.scores.service import Scores
from payments.service import Payments
from queueing.renewals.service import Renewals
from queueing.service import Queues
from queueing.stalls.pictures import Pictures
from queueing.stalls.service import Defaults, Stalls
from queueing.store import REMINDER
from server.cabinets import RHYTHMS, CabinetSide, documented_routes
from server.cabinets import WATCHED as CABINETS_WATCHED
from server.clock import now as system_now
from server.config import Config
from server.jobs import Runner, Watch
from server.metrics import Figures, HttpFigures, exposition
from server.outbox import Outbox
from server.reminders import reminder_message
from server.schedule import AWAY, cabinet_jobs, schedule
from server.wechatpay import NOTICE_PATHS, WeChatPay
from sql import jobs as job_rows
from sql.database import open_database
from sql.errors import DatabaseError
from sql.events import Event, Head, heads
from sql.revision import require_head
from sql.types import Millis

if TYPE_CHECKING:
    from server.doorbell import Doorbell

log = logging.getLogger("callme.server")

WEB = Path(__file__).parent.parent / "web"

# On the doorbell, beside the names of streams: a session that has ended.
ENDED = "ended"

# Alerts that end when what they tell of is well: a check, a last explanation or a refund's end
# clears them, and nobody by hand.
WATCHED = CABINETS_WATCHED | {BOOKS, BROKEN, BILL, MANUAL}

CABINET_STREAMS = frozenset({"cabinets", "cabinet", "door"})

# What is in hand at a stop may end; a socket's client comes back anyway.
STOP_WAIT_S = 5.0
BACKLOG = 4096

# The cyclic collector walks every connection's objects: with ten thousand of them open it took
# half of the processor at its default of 700.
GC_THRESHOLD = 50_000

# The writer's thread and the loop's take turns; at Python's 5 ms each waits for the other that
# long. Measured under load: the loop is late by 5 ms instead of 11 (p99), at equal throughput.
SWITCH_S = 0.0005


class App:
    """A running server. Made by `start`."""

    def __init__(self, config: Config, now: Callable[[], Millis]) -> None:
        self.config = config
        self.now = now
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.port = 0
        self._stopped = False

    async def _build(self, *, migrate: bool) -> None:
        config = self.config
        self.db = await open_database(config.database.url, now=self.now, told=self._told)
        try:
            await (self.db.migrate() if migrate else self.db.read(require_head))
        except BaseException:
            await self.db.close()
            raise
        self._build_accounts()
        self._build_payments()
        self._build_queueing()
        self._build_cabinets()
        self._build_live()
        self._build_jobs()
        self._build_http()

    # Parts

    def _build_accounts(self) -> None:
        config, wechat = self.config, self.config.wechat
        self.sessions = Sessions(
            self.db,
            secret=config.server.secret,
            now=self.now,
            idle_s=config.session.idle_s,
            max_s=config.session.max_s,
            admins=config.admins,
            shared=config.is_shared,
        )
        self.wechat = MiniProgram(
            wechat.api_url,
            {
                "diner": (wechat.diner_appid, wechat.diner_secret),
                "seller": (wechat.seller_appid, wechat.seller_secret),
            },
            db=self.db,
            now=self.now,
        )
        self.people = People(self.db, self.wechat, self.sessions)
        self.messages = Messages(self.db, self.wechat)
        self.passwords = Passwords()
        self.staff = Staff(self.db, self.sessions, self.passwords)
        self.audit = Audit(self.db)
        self.alerts = Alerts(self.db, watched=WATCHED)

    def _build_payments(self) -> None:
        config = self.config
        self.wechatpay = WeChatPay(config, now=self.now)
        self.payments = Payments(
            self.db,
            self.wechatpay.gateway,
            merchant=self.wechatpay.who_we_are,
            two_person_above_fen=config.payments.two_person_above_fen,
            readers=self.wechatpay.readers,
            codes=self.wechatpay.codes,
        )
        self.books = self.payments.books
        self.scores = Scores(self.db, self.payments, self.wechatpay.payscore)

    def _build_queueing(self) -> None:
        queue = self.config.queue
        self.queues = Queues(
            self.db,
            now=self.now,
            send_reminder=self._send_reminder,
            shared=self.config.is_shared,
        )
        self.renewals = Renewals(
            self.db, self.payments, now=self.now, price_fen=queue.month_price_fen
        )
        self.pictures = Pictures(Path(self.config.server.media_dir))
        self.stalls = Stalls(
            self.db,
            pictures=self.pictures,
            make_code=self._make_code,
            defaults=Defaults(
                pick=queue.pick,
                rest_s=queue.rest_s,
                double_tap_s=queue.double_tap_s,
                remind_after_s=queue.remind_after_s,
                release_after_min=queue.release_after_min,
            ),
            sellers_changed=self.queues.forget_sellers,
            base_url=self.config.base_url,
        )

    def _build_cabinets(self) -> None:
        self.cabinets = CabinetSide(
            self.config,
            self.db,
            self.payments,
            self.scores,
            now=self.now,
            openid_of=self._openid_of,
        )

    async def _send_reminder(self, payload: dict[str, Any]) -> object:
        wechat = self.config.wechat
        message = reminder_message(
            payload,
            fields=self.config.call_fields,
            page=wechat.call_page,
            hint=wechat.call_hint,
        )
        return await self.messages.deliver_subscribe_message(msgspec.to_builtins(message))

    async def _make_code(self, scene: str, page: str) -> bytes:
        return await self.wechat.mini_program_code("diner", scene=scene, page=page, width=430)

    def _build_live(self) -> None:
        self.hub = Hub(missed=self.queues.missed, snapshot=self._snapshot, now=self.now)
        self.sessions.on_end(self._session_ended)
        # Sessions of which another process said that they have ended.
        self._ended_elsewhere: set[int] = set()
        self.pulse = Pulse()
        self.limits = _limits(self.config)
        self.proxies = TrustedProxies(self.config.trusted_proxies)
        self.desk = Desk(
            hub=self.hub,
            pulse=self.pulse,
            now=self.now,
            authenticate=self._authenticate,
            still_valid=self.sessions.still,
            may_listen=self._may_listen,
            acknowledge=self._acknowledge,
            commands=commands(self.queues, self.limits, self.now),
            limits=self.limits,
            proxies=self.proxies,
        )
        self.door = Door(
            self.pulse,
            base_url=self.config.base_url,
            origins=self.config.allowed_origins,
            counters=self.hub.counters,
        )
        self.doorbell: Doorbell | None = None
        if self.config.redis.url:
            # Its client takes a tenth of a start, and most have no Redis.
            from server.doorbell import Doorbell  # noqa: PLC0415

            self.doorbell = Doorbell(self.config.redis.url, name=self.name, rung=self._rung)

    def _build_jobs(self) -> None:
        self.outbox = Outbox(
            self.db,
            {REMINDER: self.queues.deliver_reminder, **self.cabinets.deliverers()},
            now=self.now,
            runner=self.name,
            rhythms=RHYTHMS,
            asked=parcel_stuck,
            relieved=parcel_arrived,
        )
        watches = [
            Watch("reminders", self.queues.mark_unreached, 2),
            Watch("sockets", self._rejudge, 30),
            Watch(ENDED, self._review_ended, 30),
            *self.cabinets.watches(),
        ]
        self.jobs = Runner(
            self.db,
            jobs=[
                *schedule(
                    self.db,
                    self.sessions,
                    self.queues,
                    self.stalls,
                    self.payments,
                    self.audit,
                    sweep_s=self.config.session.sweep_s,
                ),
                *cabinet_jobs(self.cabinets),
            ],
            watches=watches,
            now=self.now,
            name=self.name,
            shared=self.config.is_shared,
            away=AWAY,
        )
        # Apart from the jobs: WeChat may take its time, and calls must not wait for it.
        self.deliveries = self._runner(Watch("outbox", self.outbox.deliver_due, 2))
        self.settling = self._runner(
            Watch("payments", self.payments.settle_due, 5),
            Watch("platform keys", self.wechatpay.refresh_keys, 600),
        )
        outward = [self._runner(*watches) for watches in self.cabinets.outward()]
        self.runners = [self.jobs, self.deliveries, self.settling, *outward]
        if self.config.is_shared:
            self.runners.append(self._runner(Watch("streams", self._look_at_streams, 1)))

    def _runner(self, *watches: Watch) -> Runner:
        return Runner(self.db, jobs=(), watches=watches, now=self.now, name=self.name)

    def _build_http(self) -> None:
        config = self.config
        self.http_figures = HttpFigures()
        self.figures = Figures(
            self.db, self.hub, self.runners, self.outbox, self.http_figures, self.cabinets
        )
        self.dialect = Dialect(
            people=self.people,
            sessions=self.sessions,
            queues=self.queues,
            stalls=self.stalls,
            limits=self.limits,
            sign_up=_sign_up_limit(config),
            now=self.now,
        )
        self.table = Table(self._routes())
        live = {"desk": self.desk, "door": self.door}
        rules = [
            Rule(UpgradeOf(r"/(?:ws)?"), OldSocket, {**live, "dialect": self.dialect}),
            (r"/api/v1/ws", LiveSocket, live),
            *page_rules(WEB, base_url=config.base_url, media=self.pictures.folder),
        ]
        edge = Edge(
            now=self.now,
            authenticate=self._authenticate,
            limits=self.limits,
            proxies=self.proxies,
            fallback=application(rules, proxies=self.proxies, access_log=config.server.access_log),
            observe=self.http_figures.observe,
            access_log=config.server.access_log,
        )
        self.front = Front(self.table, edge)
        self.http: HTTPServer = http_server(self.front)

    def _routes(self) -> list[Route]:
        secure = self.config.base_url.startswith("https:")
        routes = [
            *old_route.routes(self.dialect),
            *rest_sessions.routes(self.people, self.sessions, self.limits, secure=secure),
            *rest_staff.routes(
                self.staff,
                self.audit,
                self.limits,
                max_age_s=self.config.session.max_s,
                secure=secure,
            ),
            *rest_queue.routes(self.queues, self.stalls, self.limits),
            *rest_renewals.routes(self.renewals, self.stalls, self._openid_of),
            *rest_payments.routes(self.payments),
            *notices.routes(self.payments.receive, self.payments.scans.receive, NOTICE_PATHS),
            *rest_admin.routes(self.queues, self.stalls, self._read_runs),
            *rest_alerts.routes(self.alerts),
            *self.cabinets.routes(),
            *operations.routes(self._readiness, exposition(self.figures)),
        ]
        return [*routes, openapi.route(routes)]

    # Life

    async def start(self, *, migrate: bool = True) -> None:
        """Listen. Raises DatabaseError (also for tables of another version), OSError (the port
        is taken).
        """
        await self._build(migrate=migrate)
        server = self.config.server
        try:
            sockets = bind_sockets(server.port, server.host, backlog=BACKLOG)
        except OSError as error:
            await self.db.close()
            where = f"{server.host}:{server.port}"
            raise OSError(f"cannot listen on {where}: {error.strerror}") from error
        self.port = sockets[0].getsockname()[1]
        self.pulse.start()
        await self.cabinets.resume()
        for runner in self.runners:
            await runner.start()
        if self.doorbell is not None:
            self.doorbell.start()
        self.http.add_sockets(sockets)
        log.info("listening on %s:%d", server.host, self.port)

    async def stop(self) -> None:
        """Take nothing new, let what is in hand end, then let go of everything in order."""
        if self._stopped:
            return
        self._stopped = True
        self.http.stop()
        self.front.is_stopping = True
        self.hub.close()
        await self.hub.clients.finish_work(STOP_WAIT_S)
        await self.front.stop(STOP_WAIT_S)
        # Who was still knocking when the door was closed.
        self.hub.close()
        for runner in self.runners:
            await runner.stop(STOP_WAIT_S)
        if self.doorbell is not None:
            await self.doorbell.stop()
        await self.http.close_all_connections()
        self.pulse.stop()
        await self.sessions.close()
        await self.cabinets.close()
        await self.wechatpay.close()
        await self.wechat.close()
        self.passwords.close()
        await self.db.close()
        log.info("stopped")

    # What the parts ask of each other

    def _told(self, events: list[Event], wakes: set[str]) -> None:
        """After each commit, in order: to memory, to listeners, to the other processes."""
        if events:
            self.queues.told(events)
            self.hub.tell(events)
            self.figures.told(events)
            if self.doorbell is not None:
                self.doorbell.told(events)
        if wakes:
            for runner in self.runners:
                runner.wake(wakes)

    async def _openid_of(self, account_id: int) -> str:
        """Whom WeChat Pay is to ask for the money."""
        account = await self.people.account(account_id)
        assert account is not None
        return account.openid

    def _authenticate(self, token: str) -> Session | Awaitable[Session]:
        return self.sessions.peek(token) or self.sessions.get(token)

    async def _may_listen(self, session: Session | None, topic: Topic) -> bool:
        kind, _, number = topic.stream.partition(":")
        if kind == "account":
            return session is not None
        if kind in CABINET_STREAMS:
            return await self.cabinets.may_listen(session, topic.stream)
        if kind != "stall":
            return False
        if topic.is_public:
            return bool(await self.queues.version(int(number)))
        if session is None:
            return False
        if topic.subject:
            return await self.queues.may_follow(topic.subject, actor_of(session))
        return await self.queues.is_staff(actor_of(session), int(number))

    async def _snapshot(self, topic: Topic, session: Session | None) -> tuple[Head, dict[str, Any]]:
        kind = topic.stream.partition(":")[0]
        if kind == "account":
            found = await self.db.read(heads, [topic.stream])
            return found.get(topic.stream) or Head(0, topic.stream, UNWRITTEN, 0), {}
        if kind in CABINET_STREAMS:
            written, picture = await self.cabinets.snapshot(session, topic.stream)
            return written or Head(0, topic.stream, UNWRITTEN, 0), picture
        stall_id = int(topic.stream.partition(":")[2])
        head, queue = await self.queues.snapshot(stall_id, staff=not topic.is_public)
        if topic.subject and session is not None:
            ticket = await self.queues.ticket(topic.subject, actor_of(session))
            return head, {"ticket": msgspec.to_builtins(ticket)}
        return head, msgspec.to_builtins(queue)

    async def _acknowledge(self, session: Session, topic: Topic, seq: int) -> None:
        if topic.subject:
            await self.queues.acknowledge(topic.subject, actor_of(session), seq=seq)

    async def _rejudge(self) -> None:
        """Close the sockets of sessions that ended elsewhere or by themselves."""
        ids = self.hub.clients.session_ids()
        if ids:
            # Who has ended is told to the hub, see on_end.
            await self.sessions.review(ids)
        self.hub.sweep()

    def _session_ended(self, session_id: int) -> None:
        self.hub.end_session(session_id)
        if self.doorbell is not None and session_id not in self._ended_elsewhere:
            self.doorbell.ring(f"{ENDED}:{session_id}", 0)

    def _rung(self, name: str, seq: int) -> None:
        """Another process says that a stream is at seq, or that a session has ended."""
        kind, _, number = name.partition(":")
        if kind == ENDED and number.isdecimal():
            self._ended_elsewhere.add(int(number))
            self.jobs.wake({ENDED})
        else:
            self.hub.doorbell(name, seq)

    async def _review_ended(self) -> None:
        """See for ourselves whether those sessions have ended; the doorbell proves nothing."""
        ids = set(self._ended_elsewhere)
        if ids:
            await self.sessions.review(ids)
            self._ended_elsewhere -= ids

    async def _look_at_streams(self) -> None:
        """What no doorbell told: another process may have written to a stream."""
        names = self.hub.streams()
        if names:
            self.hub.check(await self.db.read(heads, names))

    async def _read_runs(self, job: str, offset: int, most: int) -> tuple[int, list[job_rows.Run]]:
        return await self.db.read(job_rows.runs, job=job, offset=offset, most=most)

    async def _readiness(self) -> Readiness:
        parts = {"database": "ok"}
        try:
            await self.db.read(heads, ["readiness"])
        except DatabaseError as error:
            parts["database"] = error.title
        if self.doorbell is not None:
            parts["redis"] = "ok" if self.doorbell.is_up else "away: calls arrive a second later"
        return Readiness("ok" if parts["database"] == "ok" else "unavailable", parts)


def tune_process() -> None:
    """For a process that does nothing but serve, once it has started.

    What is frozen is never collected, so a process that starts and stops servers must not. A
    start leaves next to no garbage, which is not worth a look at a hundred thousand objects.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


async def start(
    config: Config, now: Callable[[], Millis] = system_now, *, migrate: bool = True
) -> App:
    """A server that listens. Raises DatabaseError, OSError."""
    app = App(config, now)
    await app.start(migrate=migrate)
    return app


def _limits(config: Config) -> Limits:
    given = config.limits
    limits = Limits(enabled=given.enabled)
    limits.session = Limit(per_s=given.session_per_s, burst=given.session_burst)
    limits.address = Limit(per_s=given.address_per_s, burst=given.address_burst)
    limits.sign_in = Limit(per_s=given.sign_in_per_min / 60, burst=given.sign_in_per_min)
    limits.wrong_numbers = Limit(
        per_s=given.wrong_numbers_per_min / 60, burst=given.wrong_numbers_per_min
    )
    return limits


async def check_books(config: Config) -> list[Violation]:
    """Check the books without serving. Raises DatabaseError."""
    db = await open_database(config.database.url, now=system_now)
    try:
        await db.migrate()
        books = Books(db)
        for check in CHECKS:
            books.also(check)
        return await books.check()
    finally:
        await db.close()


def _sign_up_limit(config: Config) -> Limit:
    """Attempts to claim a stall, per account: a phone number is easily guessed."""
    per_hour = config.limits.sign_up_per_hour
    return Limit(per_s=per_hour / 3600, burst=per_hour)


def openapi_text() -> str:
    """The OpenAPI document of this program. The routes are made, but nothing behind them."""
    nothing: Any = None
    routes = [
        *rest_sessions.routes(nothing, nothing, nothing),
        *rest_staff.routes(nothing, nothing, nothing),
        *rest_queue.routes(nothing, nothing, nothing),
        *rest_renewals.routes(nothing, nothing, nothing),
        *rest_payments.routes(nothing),
        *rest_admin.routes(nothing, nothing, nothing),
        *rest_alerts.routes(nothing),
        *documented_routes(),
        *operations.routes(nothing, nothing),
    ]
    text = msgspec.json.format(msgspec.json.encode(openapi.document(routes)), indent=2)
    return text.decode()


async def serve(config: Config, stop: asyncio.Event, *, migrate: bool = True) -> None:
    """Run until told to stop."""
    app = await start(config, migrate=migrate)
    tune_process()
    try:
        await stop.wait()
    finally:
        await app.stop()
