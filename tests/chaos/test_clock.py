"""Months and sessions across down-time, with a clock turned by hand."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from queueing.model import Actor
from queueing.stalls.store import charge_months, unbalanced_stalls
from server.app import App, start
from server.config import load
from simulators.wechat import WeChat
from sql import jobs as job_rows
from tests.chaos.cluster import ADMIN, settings
from tests.clock import Clock

_serial = itertools.count(1)

Starter = Callable[[], Awaitable[App]]


@pytest.fixture
async def wechat_here() -> AsyncIterator[WeChat]:
    running = WeChat()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def launch(
    wechat_here: WeChat, database_url: str, tmp_path: Path, clock: Clock
) -> AsyncIterator[Starter]:
    """Start a server whose jobs run when the test says so: `app.jobs.run_due()`."""
    running: list[App] = []
    given = settings(wechat_here, database_url, tmp_path)
    given |= {"CALLME_SERVER__PORT": "0", "CALLME_SESSION__SWEEP_S": "600"}

    async def launch_one() -> App:
        app = await start(load(environment=given), clock.now)
        running.append(app)
        await app.jobs.stop()
        await app.jobs.run_due()
        return app

    yield launch_one
    for app in running:
        await app.stop()


async def open_stalls(app: App, months: list[int]) -> list[int]:
    return [
        (
            await app.stalls.create(
                {"name": f"stall {number}", "phone": f"1390000{number:04d}"},
                months=count,
                by=Actor("admin"),
            )
        ).id
        for number, count in enumerate(months)
    ]


async def balances(app: App, ids: list[int]) -> list[int]:
    assert await app.db.read(unbalanced_stalls) == []
    return [(await app.stalls.get(stall_id)).balance_months for stall_id in ids]


async def runs_shown(app: App, job: str) -> list[dict[str, object]]:
    """As the administrator sees them, newest first."""
    opened = await app.people.sign_in("seller", f"sim:{ADMIN}:{next(_serial)}")
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"http://127.0.0.1:{app.port}/api/v1/admin/jobs?job={job}",
            headers={"Authorization": f"Bearer {opened.jwt}"},
        )
    items: list[dict[str, object]] = answer.json()["items"]
    return items


@pytest.mark.parametrize(
    ("back_at", "left"),
    [
        # Not a month has ended; one; three, of which the poorer stalls pay what they have.
        ("2026-11-30T23:59:59.999+08:00", [0, 1, 2, 6]),
        ("2026-12-01T00:00:00+08:00", [0, 0, 1, 5]),
        ("2026-12-31T23:59:59+08:00", [0, 0, 1, 5]),
        ("2027-02-14T12:00:00+08:00", [0, 0, 0, 3]),
        ("2030-01-01T00:00:00+08:00", [0, 0, 0, 0]),
    ],
)
async def test_months_that_ended_while_the_server_was_down_are_charged_once(
    launch: Starter, clock: Clock, back_at: str, left: list[int]
) -> None:
    app = await launch()
    ids = await open_stalls(app, [0, 1, 2, 6])
    await app.stop()
    clock.set(back_at)

    app = await launch()
    assert await balances(app, ids) == left
    await app.stop()
    # Started again, and looked at again: nothing more is taken.
    app = await launch()
    await app.jobs.run_due()

    assert await balances(app, ids) == left


async def test_while_it_runs_the_month_is_charged_at_its_first_moment(
    launch: Starter, clock: Clock
) -> None:
    app = await launch()
    ids = await open_stalls(app, [3])

    for moment, left in (
        ("2026-11-30T23:59:59.999+08:00", [3]),
        ("2026-12-01T00:00:00+08:00", [2]),
        ("2026-12-15T00:00:00+08:00", [2]),
        # The clock is set back over the end of the month, and comes there once more.
        ("2026-11-30T12:00:00+08:00", [2]),
        ("2026-12-01T00:00:00+08:00", [2]),
        ("2027-01-01T00:00:00+08:00", [1]),
    ):
        clock.set(moment)
        await app.jobs.run_due()
        assert await balances(app, ids) == left


async def test_a_renewal_after_unpaid_months_is_not_eaten_by_them(
    launch: Starter, clock: Clock
) -> None:
    app = await launch()
    ids = await open_stalls(app, [1])
    clock.set("2027-03-05T00:00:00+08:00")
    await app.jobs.run_due()
    await app.stalls.renew(ids[0], months=2, reason="paid", by=Actor("admin"))
    await app.stop()

    app = await launch()

    assert await balances(app, ids) == [2]
    entries = await app.stalls.months(ids[0])
    assert [(entry.period, entry.months) for entry in entries] == [
        *((None, 2), (202703, 0), (202702, 0), (202701, 0), (202612, -1), (None, 1))
    ]


async def test_what_a_server_killed_between_two_stalls_had_charged_stays_charged(
    launch: Starter, clock: Clock
) -> None:
    app = await launch()
    ids = await open_stalls(app, [2, 2, 2, 2])
    clock.set("2026-12-01T00:00:00+08:00")
    # What one leaves that is killed after the second of four: a lease, and two months taken.
    await app.db.write(job_rows.begin, "months", "killed", lease_s=600, record=True)
    for stall_id in ids[:2]:
        await app.db.write(charge_months, stall_id)
    await app.stop()

    app = await launch()
    clock.advance(seconds=600)
    await app.jobs.run_due()

    assert await balances(app, ids) == [1, 1, 1, 1]
    done, killed = (await runs_shown(app, "months"))[:2]
    assert killed["finished_at"] is None
    assert (done["result"], done["error"]) == ("2", "")


@pytest.mark.mariadb
@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
async def test_two_servers_that_wake_to_the_same_month_charge_it_once(
    launch: Starter, clock: Clock
) -> None:
    one, two = await launch(), await launch()
    ids = await open_stalls(one, [3, 3])
    clock.set("2026-12-01T00:00:00+08:00")

    await one.jobs.run_due()
    await two.jobs.run_due()

    assert await balances(two, ids) == [2, 2]


async def test_each_run_is_recorded_and_shown_to_the_administrator(
    launch: Starter, clock: Clock
) -> None:
    app = await launch()
    await open_stalls(app, [2])
    clock.set("2026-12-03T10:00:00+08:00")
    await app.jobs.run_due()

    charged, first = await runs_shown(app, "months")
    names = {run["job"] for run in await runs_shown(app, "")}

    assert charged["due_at"] == "2026-11-30T16:00:00.000Z"
    assert charged["started_at"] == charged["finished_at"] == "2026-12-03T02:00:00.000Z"
    assert (charged["result"], first["result"]) == ("1", "0")
    assert names == set(await app.db.read(job_rows.due_times))
    assert names > {"months", "sessions", "release", "books", "audit", "bill", "tidy"}


@pytest.mark.parametrize("phase_s", [0, 1, 299, 599])
async def test_a_session_lives_an_hour_to_the_second_and_is_swept_within_ten_minutes(
    launch: Starter, clock: Clock, phase_s: int
) -> None:
    app = await launch()
    clock.advance(seconds=phase_s)
    opened = {
        face: await app.people.sign_in("diner", f"sim:openid-{face}:{phase_s}")
        for face in ("key", "jwt", "over")
    }
    url = f"http://127.0.0.1:{app.port}"

    async with httpx.AsyncClient(trust_env=False, base_url=url) as client:

        async def old_answer(key: str) -> object:
            form = {"query": "seller_list", "sessionKey": key}
            return (await client.post("/", data=form)).json()

        async def new_status(token: str) -> int:
            return (
                await client.get("/api/v1/tickets/1", headers={"Authorization": f"Bearer {token}"})
            ).status_code

        for second in range(3599):
            # The sweep comes at its times, as it does beside whoever asks nothing.
            clock.advance(seconds=1)
            if (phase_s + second + 1) % 600 == 0:
                await app.jobs.run_due()
        assert await old_answer(opened["key"].key_hex) != {"queryErr": "Session Time Out"}
        assert await new_status(opened["jwt"].jwt) == 404

        clock.advance(seconds=2)
        assert await new_status(opened["over"].jwt) == 401
        assert await old_answer(opened["over"].key_hex) == {"queryErr": "Session Time Out"}
        # Whoever asked goes on for another hour.
        assert await new_status(opened["jwt"].jwt) == 404

    before = (await runs_shown(app, "sessions"))[0]
    clock.advance(seconds=600)
    await app.jobs.run_due()
    after = (await runs_shown(app, "sessions"))[0]
    assert after["id"] != before["id"]
    swept = int(str(after["result"])) + int(str(before["result"]))
    assert swept == 1, msgspec.json.encode([before, after])
