"""Whatever is posted, in any order, the ledger and a tiny reference agree, and the books hold."""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from payments.ledger import store
from payments.ledger.history.replay import Replay
from payments.ledger.history.store import check_whole, read_page
from payments.ledger.model import LedgerError
from payments.ledger.service import Books
from sql.database import Database, Tx
from sql.tables import metadata
from sql.transaction import Memory
from sql.triggers import create_triggers
from tests.payments.history import Historian, Place, came

POSTINGS = 1_000_000
# So many are asked for between two looks at the books.
AT_A_TIME = 7_000


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_any_history_is_what_the_reference_says(chance: random.Random, steps: int) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect() as connection:
        metadata.create_all(connection)
        create_triggers(connection)
        historian = Historian(chance, users=2, most=5)

        for _ in range(steps):
            run, expected = historian.step()
            assert came(do(connection, run)) == expected

        tx = tx_on(connection)
        assert_as_in(historian, {user: store.balances(tx, user) for user in range(3)})
        chapter, accounts = read_page(tx, after=0, most=10_000, after_account=0)
        replay = Replay()
        replay.read(chapter)
        replay.compare(accounts)
        assert [*replay.violations, *check_whole(tx)] == []
    engine.dispose()


def tx_on(connection: Connection) -> Tx:
    return Tx(connection, now=0, dialect="sqlite", memory=Memory())


def do(connection: Connection, run: Callable[[Tx], Any]) -> list[Any]:
    """In a savepoint, as in a batch."""
    savepoint = connection.begin_nested()
    try:
        outcomes = run(tx_on(connection))
    except LedgerError as refusal:
        savepoint.rollback()
        return [refusal]
    savepoint.commit()
    return list(outcomes)


def assert_as_in(historian: Historian, found: Mapping[int, Mapping[Place, int]]) -> None:
    """Every balance is the reference's; an account made in vain may be there, with nothing."""
    balances = {place: balance for each in found.values() for place, balance in each.items()}
    assert {place: balance for place, balance in balances.items() if balance} == {
        place: balance for place, balance in historian.reference.balances.items() if balance
    }


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.torture
@pytest.mark.usefixtures("thawed")
@pytest.mark.timeout(0)
async def test_a_long_history_of_many_users_is_what_the_reference_says(
    db: Database,
    dice: random.Random,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Steps that wait together share a commit, as those of many callers do."""
    goal = round(POSTINGS * torture_share)
    historian = Historian(dice, users=50, most=min(500, 1 + goal // 20))
    books = Books(db)
    asked = 0

    while len(historian.reference.journals) < goal:
        before = asked
        while asked - before < AT_A_TIME and len(historian.reference.journals) < goal:
            steps = [historian.step() for _ in range(16)]
            waiting = [db.submit(run) for run, _ in steps]
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            for outcome, (_, expected) in zip(outcomes, steps, strict=True):
                came_out = came(outcome if isinstance(outcome, list) else [outcome])
                assert came_out == expected
                asked += len(came_out)
        assert await books.check(from_zero=False) == []
        # The reference grows by thousands of objects a round. Looking through a million of them
        # holds up this process for longer than a database is waited for.
        gc.freeze()

    record_property("asked", asked)
    record_property("journals", len(historian.reference.journals))
    assert await books.check() == []
    users = range(historian.users + 1)
    found = {user: await db.read(store.balances, user) for user in users}
    assert_as_in(historian, found)
