"""Years of history cost nothing: every query finds its rows by an index, on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import BindParameter, Executable, insert, text
from sqlalchemy.sql.visitors import cloned_traverse

from queueing import store
from queueing.acts import Act
from queueing.stalls import store as stalls_store
from sql.database import Tx
from sql.tables.queueing import diner_tickets, stall_months, tickets
from tests.queueing.canteen import ADMIN, DINER, SYSTEM, Canteen

HISTORY = 6_000  # Tickets that have ended, at the one stall.
STALLS = 12

# What may be read through: it holds a row a stall, or is made up by the query itself.
SMALL = {"stalls", "stall_sellers", "numbers", "CONSTANT", "(subquery-1)"}


class Watched:
    """A transaction that asks the database, before each statement, how it will be done."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self.scans: list[str] = []
        self.used: list[str] = []
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def execute(self, statement: Executable, parameters: Any = None) -> Any:
        self.statements += 1
        if not isinstance(parameters, list) and not getattr(statement, "is_insert", False):
            self._explain(self._written_out(statement, parameters))
        return self._tx.execute(statement, parameters)

    def _written_out(self, statement: Any, parameters: dict[str, Any] | None) -> str:
        def give(mark: BindParameter[Any]) -> None:
            if parameters and mark.key in parameters:
                mark.value, mark.required = parameters[mark.key], False

        # What statement.params() does, which an UPDATE does not have.
        given = cloned_traverse(statement, {}, {"bindparam": give})
        compiled = given.compile(
            dialect=self._tx._connection.dialect,
            compile_kwargs={"literal_binds": True, "render_postcompile": True},
        )
        return str(compiled).replace(":", "\\:").replace("%%", "%")

    def _explain(self, sql: str) -> None:
        if self._tx.dialect == "sqlite":
            for row in self._tx.execute(text(f"EXPLAIN QUERY PLAN {sql}")):
                self.used += re.findall(r"INDEX (\w+)", row.detail)
                if row.detail.startswith("SCAN") and row.detail.split()[1] not in SMALL:
                    self.scans.append(f"{row.detail}: {sql}")
        else:
            for step in self._tx.execute(text(f"EXPLAIN {sql}")).mappings():
                table, kind = step["table"], step["type"]
                self.used.append(step["key"])
                if kind in ("ALL", "index") and table and table not in SMALL and table[0] != "<":
                    self.scans.append(f"{kind} of {table} ({step['rows']} rows): {sql}")


class Cost(msgspec.Struct):
    scans: list[str]
    rows_read: int
    statements: int


async def cost_of(canteen: Canteen, run: Callable[[Any], Any], *, write: bool = False) -> Cost:
    """How a function reads; rows_read is what MariaDB counted, 0 on SQLite."""

    def explained(tx: Tx) -> tuple[list[str], int]:
        watched = Watched(tx)
        run(watched)
        return watched.scans, watched.statements

    def counted(tx: Tx) -> int:
        if tx.dialect == "sqlite":
            run(tx)
            return 0
        before = _handler_reads(tx)
        run(tx)
        return _handler_reads(tx) - before

    do = canteen.db.write if write else canteen.db.read
    scans, statements = await do(explained)
    return Cost(scans, await do(counted), statements)


def _handler_reads(tx: Tx) -> int:
    status: Any = tx.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'"))
    # The tables of a status command itself are counted, but not under these names.
    return sum(int(row[1]) for row in status if "tmp" not in row[0] and "rnd" not in row[0])


@pytest.fixture
async def old(canteen: Canteen) -> Canteen:
    """A canteen whose first stall has served thousands, mostly one faithful diner, and where
    thirty wait at each stall now."""
    made = [await canteen.stall() for _ in range(STALLS)]
    await canteen.db.write(_fill, made[0].id, canteen.clock.now())
    for stall in made:
        await canteen.issue_many(stall.id, 30)
        await canteen.act("call_next", stall_id=stall.id)
    await canteen.act("follow", DINER, stall_id=made[0].id, number=65, note="面")
    if canteen.db.dialect == "mysql":
        for table in ("tickets", "diner_tickets", "stalls", "stall_sellers", "stall_months"):
            await canteen.db.write(_analyze, table)
    return canteen


def _analyze(tx: Tx, table: str) -> None:
    tx.execute(text(f"ANALYZE TABLE {table}")).all()


def _fill(tx: Tx, stall_id: int, now: int) -> None:
    day = 86_400_000
    rows = [
        {
            "id": (stall_id << 32) + 1000 + n,
            "stall_id": stall_id,
            "number": n % 99 + 1,
            "live_number": None,
            "status": "finished",
            "note": "面",
            # One diner eats here every day; most numbers nobody bound.
            "diner_id": DINER.account_id if n % 3 == 0 else 0,
            "diner_session": 0,
            "grant_template": "",
            "issued_by": 1,
            "issued_session": 0,
            "issued_at": now - (HISTORY - n) * day // 100,
            "queued_at": now - (HISTORY - n) * day // 100,
            "noted_at": None,
            "called_at": now - (HISTORY - n) * day // 100,
            "first_called_at": now - (HISTORY - n) * day // 100,
            "calls": 1,
            "reached_at": None,
            "unreached": False,
            "ended_at": now - (HISTORY - n) * day // 100,
            "ahead": 3,
            "business_date": 20260101 + n // 1000,
            "changed_at": now - (HISTORY - n) * day // 100,
            "undo_memory": "",
        }
        for n in range(HISTORY)
    ]
    tx.execute(insert(tickets), rows)
    bound = [
        {
            "diner_id": row["diner_id"],
            "bound_at": row["issued_at"],
            "ticket_id": row["id"],
            "number": row["number"],
        }
        for row in rows
        if row["diner_id"]
    ]
    tx.execute(insert(diner_tickets), bound)
    tx.execute(
        text("UPDATE streams SET seq = seq + :by WHERE name = :name"),
        {"by": 1000 + HISTORY, "name": store.stream_of(stall_id)},
    )
    months = [
        {"stall_id": stall_id, "period": 100000 + n, "months": 0, "balance_after": 3,
         "reason": "month", "by_account": 0, "at": now}
        for n in range(120)
    ]  # fmt: skip
    tx.execute(insert(stall_months), months)


# What is asked, and how many rows it may touch at most.
READS: list[tuple[str, Callable[[Any], Any], int]] = [
    ("a pool", lambda tx: store.read_pool(tx, 1), 1800),
    ("live tickets", lambda tx: store.live_tickets(tx, 1), 120),
    ("a live ticket", lambda tx: store.live_ticket(tx, 1, number=65), 5),
    ("tickets by id", lambda tx: store.load_tickets(tx, [1 << 32 | 1005, 1 << 32 | 9]), 10),
    ("a stall", lambda tx: store.load_stalls(tx, [1]), 20),
    ("all stalls", store.load_stalls, 80),
    ("a ticket", lambda tx: store.ticket_with_stall(tx, 1 << 32 | 1005), 20),
    ("a place", lambda tx: store.ticket_in_queue(tx, 1 << 32 | 7010), 600),
    ("an open ticket", lambda tx: store.open_ticket_of(tx, DINER.account_id), 60),
    ("no open ticket", lambda tx: store.open_ticket_of(tx, 4711), 5),
    (
        "the diner's last ticket of a number",
        lambda tx: store.last_ticket_of(tx, stall_id=1, number=7, diner_id=DINER.account_id),
        150,
    ),
    (
        "a stranger's last ticket of a number",
        lambda tx: store.last_ticket_of(tx, stall_id=1, number=5, diner_id=4711),
        5,
    ),
    ("unreached tickets", store.unreached_tickets, 1000),
    ("stalls to release", store.stalls_to_release, 1000),
    (
        "visits of a day",
        lambda tx: store.visits(tx, from_date=20261120, to_date=20261120, stall_id=None),
        900,
    ),
    (
        "visits of a day at a stall",
        lambda tx: store.visits(tx, from_date=20261120, to_date=20261120, stall_id=2),
        900,
    ),
    ("a seller's stall", lambda tx: stalls_store.stall_of_seller(tx, 101), 5),
    ("a page of stalls", lambda tx: stalls_store.list_stalls(tx, open_only=False, most=5), 80),
    ("open stalls", lambda tx: stalls_store.list_stalls(tx, open_only=True), 160),
    ("months", lambda tx: stalls_store.month_entries(tx, 1, most=24), 150),
    ("stalls to charge", stalls_store.stalls_to_charge, 40),
]


async def test_no_query_reads_through_history(old: Canteen) -> None:
    costs = {name: await cost_of(old, run) for name, run, _ in READS}

    assert {name: cost.scans for name, cost in costs.items() if cost.scans} == {}
    most = {name: most for name, _, most in READS}
    assert {n: c.rows_read for n, c in costs.items() if c.rows_read > most[n]} == {}


async def test_the_reads_above_find_something(old: Canteen) -> None:
    found = {name: await old.db.read(run) for name, run, _ in READS}

    nothing = {name for name, value in found.items() if not value}
    assert nothing == {
        "no open ticket",
        "a stranger's last ticket of a number",
        "unreached tickets",
        "stalls to release",
        "stalls to charge",
    }


async def test_a_diner_who_asks_costs_his_own_history_not_the_stalls(old: Canteen) -> None:
    def indexes_used(tx: Tx) -> list[str]:
        watched: Any = Watched(tx)
        store.last_ticket_of(watched, stall_id=1, number=7, diner_id=DINER.account_id)
        used: list[str] = watched.used
        return used

    assert await old.db.read(indexes_used) in (["PRIMARY", "PRIMARY"], [])


async def test_an_act_does_not_read_through_history(old: Canteen) -> None:
    acts = [
        Act(verb="issue", by=ADMIN, stall_id=1, key="k"),
        Act(verb="call_next", by=ADMIN, stall_id=2),
        Act(verb="undo", by=ADMIN, ticket_id=1 << 32 | 1005),
        Act(verb="release_overdue", by=SYSTEM, stall_id=1),
    ]
    old.db.memory.clear()

    cost = await cost_of(old, lambda tx: store.perform(tx, acts), write=True)

    assert cost.scans == []
    assert cost.rows_read < 2500


async def test_a_batch_costs_a_handful_of_statements(old: Canteen) -> None:
    acts = [Act(verb="issue", by=ADMIN, stall_id=n % STALLS + 1, key=str(n)) for n in range(200)]
    acts += [Act(verb="call_next", by=ADMIN, stall_id=n % STALLS + 1) for n in range(100)]
    for stall_id in range(1, STALLS + 1):
        await old.act("call_next", stall_id=stall_id)

    cost = await cost_of(old, lambda tx: store.perform(tx, acts), write=True)

    assert cost.statements <= 10


async def test_a_stalls_own_transactions_do_not_read_through_history(old: Canteen) -> None:
    verbs: list[Callable[[Any], Any]] = [
        lambda tx: stalls_store.change_stall(tx, 1, {"name": "新窗口", "phone": "13899999999"}),
        lambda tx: stalls_store.change_own_stall(tx, 1, {"menu": ["面"]}, seller=101),
        lambda tx: stalls_store.renew(tx, 1, months=1, reason="cash", by=900),
        lambda tx: stalls_store.renew_by_phone(
            tx, phone="13899999999", months=2, by=900, reason="x", new={}
        ),
        lambda tx: stalls_store.charge_months(tx, 1),
        lambda tx: stalls_store.release_sellers(tx, 1),
        lambda tx: stalls_store.claim_stall(
            tx, account_id=4711, phone="13899999999", code="", values={}
        ),
    ]

    def and_back(verb: Callable[[Any], Any]) -> Callable[[Any], None]:
        def run(tx: Any) -> None:
            verb(tx)
            tx.execute(text("DELETE FROM stall_sellers WHERE account_id = 4711"))

        return run

    for verb in verbs:
        cost = await cost_of(old, and_back(verb), write=True)
        assert cost.scans == []
        assert cost.rows_read < 300
