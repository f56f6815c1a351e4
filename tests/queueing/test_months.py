"""Each month is charged once to each stall, whenever, how often and wherever the job runs."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing.calendar import month_of, months_between
from queueing.stalls import store
from sql.database import Tx
from tests.clock import Clock
from tests.queueing.canteen import ADMIN, Canteen, execute, private


async def charged(canteen: Canteen, stall_id: int) -> list[tuple[int | None, int, int]]:
    """The monthly lines of the stall's account, oldest first: period, months, balance after."""
    entries = await canteen.stalls.months(stall_id)
    return [(e.period, e.months, e.balance_after) for e in entries[::-1] if e.period]


async def unbalanced(canteen: Canteen) -> list[int]:
    return await canteen.db.read(store.unbalanced_stalls)


async def test_the_month_a_stall_was_made_in_is_free(canteen: Canteen) -> None:
    stall = await canteen.stall(months=2)
    canteen.clock.set("2026-11-30T23:59:59.999+08:00")

    assert await canteen.stalls.charge_months() == 0

    assert await charged(canteen, stall.id) == []


async def test_the_first_of_the_month_begins_in_beijing(canteen: Canteen) -> None:
    stall = await canteen.stall(months=2)
    canteen.clock.set("2026-12-01T00:00:00+08:00")

    assert await canteen.stalls.charge_months() == 1
    assert await canteen.stalls.charge_months() == 0

    assert await charged(canteen, stall.id) == [(202612, -1, 1)]
    event = (await canteen.stream(stall.id))[-1]
    assert (event.name, event.data) == ("stall.month_charged", b"")
    assert private(event) == {"period": 202612, "months": -1, "balance_months": 1}


async def test_months_missed_while_down_are_charged_together(canteen: Canteen) -> None:
    long, short = await canteen.stall(months=9), await canteen.stall(months=2)
    canteen.clock.set("2027-02-14T09:00:00+08:00")

    assert await canteen.stalls.charge_months() == 3 + 2

    assert await charged(canteen, long.id) == [(202612, -1, 8), (202701, -1, 7), (202702, -1, 6)]
    assert await charged(canteen, short.id) == [(202612, -1, 1), (202701, -1, 0), (202702, 0, 0)]
    assert [event.name for event in (await canteen.stream(short.id))[-4:]] == [
        "stall.month_charged",
        "stall.month_charged",
        "stall.month_charged",
        "stall.changed",
    ]
    assert [stall.id for stall in await canteen.stalls.open_stalls()] == [long.id]
    assert await unbalanced(canteen) == []


async def test_a_renewal_does_not_pay_for_months_without_balance(canteen: Canteen) -> None:
    stall = await canteen.stall(months=1)
    canteen.clock.set("2027-03-10T09:00:00+08:00")
    await canteen.stalls.charge_months()

    await canteen.stalls.renew(stall.id, months=2, reason="cash", by=ADMIN)

    assert await canteen.stalls.charge_months() == 0
    assert (await canteen.stalls.get(stall.id)).balance_months == 2
    canteen.clock.set("2027-04-01T00:00:00+08:00")
    assert await canteen.stalls.charge_months() == 1


async def test_a_clock_that_goes_back_takes_nothing_and_gives_nothing(canteen: Canteen) -> None:
    stall = await canteen.stall(months=5)
    canteen.clock.set("2027-01-01T00:00:01+08:00")
    await canteen.stalls.charge_months()

    for moment in ("2026-12-31T23:59:59+08:00", "2026-01-01T00:00:00+08:00",
                   "2027-01-01T00:00:01+08:00"):  # fmt: skip
        canteen.clock.set(moment)
        assert await canteen.stalls.charge_months() == 0

    assert await charged(canteen, stall.id) == [(202612, -1, 4), (202701, -1, 3)]


async def test_a_job_started_many_times_at_once_charges_once(canteen: Canteen) -> None:
    stalls = [await canteen.stall(months=3) for _ in range(4)]
    canteen.clock.set("2027-01-05T00:00:00+08:00")

    taken = await asyncio.gather(*(canteen.stalls.charge_months() for _ in range(5)))

    assert sum(taken) == 4 * 2
    for stall in stalls:
        assert await charged(canteen, stall.id) == [(202612, -1, 2), (202701, -1, 1)]


@pytest.mark.mariadb
async def test_two_processes_charge_once(two: tuple[Canteen, Canteen]) -> None:
    stalls = [await two[0].stall(months=3) for _ in range(4)]
    two[0].clock.set("2027-01-05T00:00:00+08:00")

    taken = await asyncio.gather(*(process.stalls.charge_months() for process in two))

    assert sum(taken) == 4 * 2
    for stall in stalls:
        assert await charged(two[0], stall.id) == [(202612, -1, 2), (202701, -1, 1)]
    assert await unbalanced(two[0]) == []


@pytest.mark.parametrize("after", range(4))
async def test_a_job_killed_between_stalls_goes_on_where_it_stopped(
    canteen: Canteen, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    stalls = [await canteen.stall(months=3) for _ in range(4)]
    canteen.clock.set("2027-01-05T00:00:00+08:00")
    done = 0

    def charge_until_killed(tx: Tx, stall_id: int) -> int:
        nonlocal done
        taken = charge(tx, stall_id)
        if done == after:
            raise KilledError
        done += 1
        return taken

    charge = store.charge_months
    monkeypatch.setattr(store, "charge_months", charge_until_killed)
    with pytest.raises(KilledError):
        await canteen.stalls.charge_months()
    monkeypatch.undo()
    await canteen.restart()

    assert await canteen.stalls.charge_months() == (4 - after) * 2

    for stall in stalls:
        assert await charged(canteen, stall.id) == [(202612, -1, 2), (202701, -1, 1)]
    assert await unbalanced(canteen) == []


class KilledError(Exception):
    """Stands for a kill: the transaction under way is rolled back."""


async def test_a_month_cannot_be_entered_twice_even_by_code_that_forgot(canteen: Canteen) -> None:
    stall = await canteen.stall(months=5)
    canteen.clock.set("2027-01-05T00:00:00+08:00")
    await canteen.stalls.charge_months()
    await canteen.db.write(execute, "UPDATE stalls SET charged_month = 202611")
    before = await canteen.rows()

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await canteen.stalls.charge_months()

    assert await canteen.rows() == before
    assert (await canteen.stalls.get(stall.id)).balance_months == 3


async def test_a_balance_that_is_not_its_entries_is_found(canteen: Canteen) -> None:
    first, second = await canteen.stall(), await canteen.stall()
    third = await canteen.stalls.create({"phone": "1"}, months=0, by=ADMIN)
    assert await unbalanced(canteen) == []

    await canteen.db.write(
        execute, f"UPDATE stalls SET balance_months = 7 WHERE id IN ({first.id}, {third.id})"
    )

    assert set(await unbalanced(canteen)) == {first.id, third.id}
    assert second.id not in await unbalanced(canteen)


async def test_the_account_shows_its_last_hundred_lines(canteen: Canteen) -> None:
    stall = await canteen.stall(months=1)

    for _ in range(120):
        await canteen.stalls.renew(stall.id, months=1, reason="x", by=ADMIN)

    entries = await canteen.stalls.months(stall.id)
    assert [entry.balance_after for entry in entries] == list(range(121, 21, -1))


# Whatever the order of things

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 80)),
        st.tuples(st.just("back"), st.integers(1, 80)),
        st.tuples(st.just("renew"), st.integers(1, 3)),
        st.tuples(st.just("renew by phone"), st.integers(1, 3)),
        st.tuples(st.just("charge"), st.integers(1, 3)),
        st.tuples(st.just("make"), st.integers(0, 3)),
    ),
    max_size=25,
)


async def play(canteen: Canteen, moves: list[tuple[str, int]]) -> None:
    """Do the moves, holding a book of our own beside."""
    clock = canteen.clock
    made: dict[int, int] = {}  # stall → the last month settled
    balance: dict[int, int] = {}
    for move, count in moves:
        if move == "pass":
            clock.advance(days=count)
        elif move == "back":
            clock.advance(days=-count)
        elif move == "make":
            phone = f"1380000{len(made):04d}"
            stall = await canteen.stalls.create({"phone": phone}, months=count, by=ADMIN)
            made[stall.id], balance[stall.id] = month_of(clock.now()), count
        elif move == "renew" and made:
            await canteen.stalls.renew(max(made), months=count, reason="x", by=ADMIN)
            balance[max(made)] += count
        elif move == "renew by phone" and made:
            phone = (await canteen.stalls.get(min(made))).phone
            renewed = await canteen.stalls.renew_by_phone(phone, months=count, by=ADMIN)
            balance[min(made)] += renewed.added
        elif move == "charge":
            await asyncio.gather(*(canteen.stalls.charge_months() for _ in range(count)))
            for stall_id, last in made.items():
                due = months_between(last, month_of(clock.now()))
                balance[stall_id] = max(0, balance[stall_id] - len(due))
                made[stall_id] = max(last, month_of(clock.now()))
        await check(canteen, made, balance)


async def check(canteen: Canteen, made: dict[int, int], balance: dict[int, int]) -> None:
    assert await unbalanced(canteen) == []
    for stall_id, last in made.items():
        assert (await canteen.stalls.get(stall_id)).balance_months == balance[stall_id] >= 0
        lines = await charged(canteen, stall_id)
        periods = [period for period, _, _ in lines if period is not None]
        if periods:
            assert periods == [periods[0], *months_between(periods[0], last)]
        assert all(months in (0, -1) and after >= 0 for _, months, after in lines)


@settings(max_examples=25, deadline=None)
@given(moves=MOVES)
def test_the_account_of_months_holds_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("months")

    async def run() -> None:
        canteen = Canteen(f"sqlite:///{folder}/callme.db", Clock(), folder)
        await canteen.open()
        try:
            await canteen.db.migrate()
            await play(canteen, moves)
        finally:
            await canteen.close()

    asyncio.run(run())
