"""Stalls, sellers, diners and their sessions, put straight into a new database.

The one place where the benchmarks know how these are stored.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import insert

from accounts.model import App, Opened
from accounts.service import Sessions
from accounts.store import find_or_make_account
from bench.orders import make_orders
from queueing.store import stream_of
from sql.database import Database, Tx, open_database
from sql.events import lock_streams
from sql.tables.queueing import stall_sellers, stalls

# So many sessions are opened at once; each batch is one commit.
BATCH = 500
# Orders are rows only.
ORDERS_BATCH = 5_000


class Login(msgspec.Struct):
    """The two faces of a session: for the old dialect, and for everything else."""

    key: str
    token: str


class SeededStall(msgspec.Struct):
    id: int
    sellers: list[Login]


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """orders: payments that are waited for; month_orders: of which each is for a stall's month.

    The sellers of a stall are accounts of their own: one account has few connections at a time.
    """

    stalls: int
    sellers_each: int
    diners: int = 0
    orders: int = 0
    month_orders: int = 0


class Seeded(msgspec.Struct):
    """orders, month_orders: their numbers at WeChat."""

    stalls: list[SeededStall]
    diners: list[Login]
    orders: list[str]
    month_orders: list[str]


def seed(url: str, secret: str, sizes: Sizes) -> Seeded:
    """Migrate the database and fill it."""
    return asyncio.run(_seed(url, secret, sizes))


async def _seed(url: str, secret: str, sizes: Sizes) -> Seeded:
    db = await open_database(url, now=_now)
    try:
        await db.migrate()
        sessions = Sessions(db, secret=secret, now=_now)
        seeded = Seeded([], [], [], [])
        payers: list[tuple[int, int]] = []
        each = sizes.sellers_each
        for number in range(1, sizes.stalls + 1):
            numbers = range(number * each, (number + 1) * each)
            sellers = await asyncio.gather(*(_account(db, "seller", n) for n in numbers))
            stall_id = await db.write(_make_stall, number, sellers)
            logins = await _log_in(sessions, "seller", sellers)
            seeded.stalls.append(SeededStall(stall_id, logins))
            payers.append((stall_id, sellers[0]))
        for first in range(0, sizes.diners, BATCH):
            numbers = range(first, min(first + BATCH, sizes.diners))
            accounts = await asyncio.gather(*(_account(db, "diner", n) for n in numbers))
            seeded.diners += await _log_in(sessions, "diner", accounts)
        await sessions.close()
        seeded.orders = await _orders(db, sizes.orders, payers, months=False)
        seeded.month_orders = await _orders(db, sizes.month_orders, payers, months=True)
        return seeded
    finally:
        await db.close()


async def _orders(
    db: Database, count: int, payers: Sequence[tuple[int, int]], *, months: bool
) -> list[str]:
    made: list[str] = []
    while len(made) < count:
        some = min(ORDERS_BATCH, count - len(made))
        made += await db.write(make_orders, some, payers, months=months)
    return made


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _account(db: Database, app: App, number: int) -> int:
    account = await db.write(find_or_make_account, app, f"bench-{app}-{number:06}")
    return account.id


async def _log_in(sessions: Sessions, app: App, accounts: Iterable[int]) -> list[Login]:
    opened: list[Opened] = await asyncio.gather(
        *(sessions.open(account, app) for account in accounts)
    )
    return [Login(one.key_hex, one.jwt) for one in opened]


def _make_stall(tx: Tx, number: int, sellers: list[int]) -> int:
    """A stall that is never in the way: two taps are two numbers, nobody is reminded."""
    row = {
        "name": f"Stall {number}",
        "person": "",
        "phone": f"138{number:08}",
        "claim_code": "",
        "menu": "[]",
        "image": "",
        "balance_months": 12,
        "charged_month": 999_912,
        "disabled": False,
        "pick": "cyclic",
        "rest_s": 300,
        "double_tap_s": 0.0,
        "remind_after_s": 3600,
        "release_after_min": 1440,
        "created_at": tx.now,
    }
    key = tx.execute(insert(stalls), row).inserted_primary_key
    assert key is not None
    stall_id = int(key[0])
    rows = [{"account_id": seller, "stall_id": stall_id, "since": tx.now} for seller in sellers]
    tx.execute(insert(stall_sellers), rows)
    lock_streams(tx, [stream_of(stall_id)])
    return stall_id
