"""Two stalls, and everybody who may come to a canteen or should not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import argon2
from sqlalchemy import select

from accounts.audit.model import By
from accounts.model import App as MiniProgramApp
from accounts.staff import store as staff_store
from accounts.staff.permissions import ROLES
from queueing.model import Actor, Ticket
from server.app import App
from simulators.xiaomai import Xiaomai
from sql.database import Tx
from sql.tables import metadata
from tests.clock import Clock
from tests.edge.money import Money
from tests.edge.street import PHONES, SHOPPERS, Street

ADMIN_OPENID = "openid-of-the-admin-0001"

# Who asks. "none" has no session; "expired" is the administrator, an hour too late; "board" has
# a session without any role (and on the WebSocket says it is a board); "other" and "rival" are
# strangers to the diner and to the seller.
IDENTITIES = ("none", "expired", "board", "diner", "other", "seller", "rival", "admin")
# The back office, beside "clerk", to whom all this is done.
STAFF_ROLES = ROLES
# Kept to store A of the street.
STAFF_KEPT = {"operator-a": "operator", "finance-a": "finance", "support-a": "support"}
STAFF = (*STAFF_ROLES, *STAFF_KEPT)
MISSING_STALL = 999
MISSING_ACCOUNT = 999
MISSING_NUMBER = "20261120000000000000000000000000"

PASSWORD = "noodles at noon"
# At a cost that a test can bear.
CHEAP_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD_HASH = CHEAP_HASHER.hash(PASSWORD)

# Kept also when they are refused.
UNWATCHED = {"payment_notices"}


@dataclass
class Person:
    """token: of REST and the WebSocket; key: of the old dialect. Both mean one session."""

    name: str
    account_id: int = 0
    token: str = ""
    key: str = ""
    app: MiniProgramApp = "diner"

    @property
    def openid(self) -> str:
        return ADMIN_OPENID if self.name == "admin" else f"openid-of-the-{self.name}-0001"


@dataclass
class World:
    app: App
    clock: Clock
    people: dict[str, Person] = field(default_factory=dict)
    stall_a: int = 0
    stall_b: int = 0
    serial: int = 0
    money: Money = field(init=False)
    street: Street = field(init=False)

    @classmethod
    async def make(cls, app: App, clock: Clock, platform: Xiaomai) -> "World":
        world = cls(app, clock)
        app.passwords._hasher = CHEAP_HASHER
        world.money = Money(app)
        world.street = Street(app, platform)
        # What happens is what a test does, and no look of the server's in between.
        for runner in app.runners:
            await runner.stop()
        await world._sign_in("expired", "seller", ADMIN_OPENID)
        clock.advance(hours=1, seconds=1)
        platform.clock.set(clock.now() / 1000)
        world.people["none"] = Person("none")
        for name, program in (("diner", "diner"), ("other", "diner"), ("seller", "seller"),
                              ("rival", "seller"), ("admin", "seller")):  # fmt: skip
            await world._sign_in(name, program)  # type: ignore[arg-type]
        await world._sign_in("board", "diner")
        await world._open_again("board", "board")
        for role in STAFF_ROLES:
            await world._hire(role, role)
        await world._hire("clerk", "support")
        await world.street.build({a: world.people[who].account_id for a, who in SHOPPERS.items()})
        for name, role in STAFF_KEPT.items():
            await world._hire(name, role)
        world.stall_a = await world._open_stall("seller")
        world.stall_b = await world._open_stall("rival")
        return world

    # ------------------------------------------------------------ people

    async def _sign_in(self, name: str, program: MiniProgramApp, openid: str = "") -> None:
        person = self.people[name] = Person(name, app=program)
        opened = await self.app.people.sign_in(
            program, f"sim:{openid or person.openid}:{self.next()}"
        )
        person.account_id = opened.session.account_id
        person.token, person.key = opened.jwt, opened.key_hex

    async def _hire(self, name: str, role: str) -> None:
        person = self.people[name] = Person(name, app="staff")
        blank = {"nickname": "", "mobile": "", "email": "", "sex": 0, "avatar": "", "status": 1}
        values = {**blank, "login_name": name, "role": role, "password_hash": PASSWORD_HASH}
        made = await self.app.db.write(staff_store.create, values, by=By("system"))
        person.account_id = made.id
        if name in STAFF_KEPT:
            await self.street.keep(made.id)
        await self._open_again(name, "staff")

    async def _open_again(self, name: str, program: MiniProgramApp) -> Person:
        """Another session of the same person, which replaces the one known here."""
        person = self.people[name]
        opened = await self.app.sessions.open(person.account_id, program)
        person.token, person.key = opened.jwt, opened.key_hex
        return person

    async def refresh(self, name: str) -> None:
        """Whoever signed out signs in again."""
        if name not in {"none", "expired"}:
            person = self.people[name]
            await self._open_again(name, "board" if name == "board" else person.app)

    def next(self) -> int:
        self.serial += 1
        return self.serial

    # ------------------------------------------------------------ stalls

    async def _open_stall(self, seller: str) -> int:
        values = {"name": f"stall of the {seller}", "phone": self.phone_of(seller)}
        stall = await self.app.stalls.create(values, months=6, by=Actor("admin"))
        await self._claim(seller)
        return stall.id

    async def _claim(self, seller: str) -> None:
        by = Actor("seller", self.people[seller].account_id)
        await self.app.stalls.sign_up(by, phone=self.phone_of(seller))

    def phone_of(self, seller: str) -> str:
        return {"seller": "13900000001", "rival": "13900000002"}[seller]

    def stalls(self, who: str) -> dict[str, list[int]]:
        """The stalls that are own, foreign and missing from where somebody stands."""
        own, foreign = self.stall_a, self.stall_b
        if who == "rival":
            own, foreign = foreign, own
        return {"own": [own], "foreign": [foreign], "missing": [MISSING_STALL, 2**53 - 1]}

    # ------------------------------------------------------------ tickets

    def staff(self, stall_id: int) -> Actor:
        seller = "seller" if stall_id == self.stall_a else "rival"
        # Without a session: no two of these are taken for one tap.
        return Actor("seller", self.people[seller].account_id)

    async def ticket(self, stall_id: int, diner: str, state: str) -> Ticket:
        """A new ticket in that state; one that is noted is bound to the diner."""
        queues, by = self.app.queues, self.staff(stall_id)
        ticket = await queues.issue(stall_id, by)
        if state == "issued":
            return ticket
        ticket = await queues.follow(
            stall_id,
            ticket.number,
            Actor("diner", self.people[diner].account_id),
            note=self.note_of(diner, stall_id),
        )
        for verb in {"noted": (), "called": ("call",), "no_show": ("call", "no_show")}[state]:
            ticket = await queues.change(verb, ticket.id, by)
        return ticket

    def note_of(self, diner: str, stall_id: int) -> str:
        return f"note of the {diner} at {'A' if stall_id == self.stall_a else 'B'}"

    async def tickets(self, who: str, state: str) -> dict[str, list[Ticket | int]]:
        """Tickets that are own and foreign, and ids of missing ones, for somebody."""
        a, b = self.stall_a, self.stall_b
        own, foreign = {
            "diner": ((a, "diner"), (a, "other")),
            "other": ((a, "other"), (a, "diner")),
            "rival": ((b, "other"), (a, "diner")),
        }.get(who, ((a, "diner"), (b, "other")))
        return {
            "own": [await self.ticket(*own, state)],
            "foreign": [await self.ticket(*foreign, state)],
            "missing": [a << 32 | 0xFFFF, b << 32 | 0xFFFF, MISSING_STALL << 32 | 1, 5],
        }

    async def mend(self) -> None:
        """As it was before: nobody waits anywhere, and both sellers have their stalls."""
        await self.app.staff.restore(self.people["clerk"].account_id, by=By("system"))
        for stall_id, seller in ((self.stall_a, "seller"), (self.stall_b, "rival")):
            if not (await self.app.stalls.get(stall_id)).sellers:
                await self._claim(seller)
            for ticket in await self.app.queues.live_tickets(stall_id):
                await self.app.queues.change("cancel", ticket.id, self.staff(stall_id))
        await self.street.mend()

    # ------------------------------------------------------------ money

    async def payments(self, who: str, state: str) -> dict[str, list[str]]:
        """Numbers of payments that are own, foreign and missing for somebody, or of refunds."""
        own, foreign = ("rival", "seller") if who == "rival" else ("seller", "rival")
        return {
            "own": [await self._payment(own, state)],
            "foreign": [await self._payment(foreign, state)],
            "missing": [MISSING_NUMBER, "-"],
        }

    async def _payment(self, payer: str, state: str) -> str:
        payer_id, clerk = self.people[payer].account_id, self.people["clerk"].account_id
        if state == "order":
            return await self.money.order(payer_id)
        if state == "payment":
            return await self.money.payment(payer_id)
        return await self.money.refund(payer_id, clerk, is_failed=state == "failed")

    # ------------------------------------------------------------ what must not change or be told

    async def rows(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        return await self.app.db.read(_dump)

    def secrets_from(self, who: str, *, is_phone: bool = False) -> set[str]:
        """What nobody may tell this person: keys, openids, others' phones and notes.

        is_phone: a member's phone is what is asked for.
        """
        secrets = {each.openid for each in self.people.values()}
        secrets |= {each.token for each in self.people.values() if each.token}
        secrets |= {each.key for each in self.people.values() if each.key}
        secrets.add(PASSWORD_HASH)
        if not is_phone:
            secrets |= {PHONES[a] for a, shopper in SHOPPERS.items() if shopper != who}
        if who == "admin" or who in STAFF:
            return secrets
        secrets |= {self.phone_of(seller) for seller in ("seller", "rival") if seller != who}
        for diner in ("diner", "other"):
            for stall_id, seller in ((self.stall_a, "seller"), (self.stall_b, "rival")):
                if who not in {diner, seller}:
                    secrets.add(self.note_of(diner, stall_id))
        return secrets


def _dump(tx: Tx) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: [tuple(row) for row in tx.execute(select(table).order_by(*table.primary_key))]
        for table in metadata.sorted_tables
        if table.name not in UNWATCHED
    }
