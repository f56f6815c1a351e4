"""How often one may ask, with the limits as they are delivered and the clock turned by hand."""

import asyncio
from urllib.parse import urlencode

import pytest

from tests.clock import Clock
from tests.edge.web import Answer, Web
from tests.edge.world import PASSWORD, World
from tests.handlers.live import Client

FORM = [("Content-Type", "application/x-www-form-urlencoded")]
TOO_MANY = {"queryErr": "Too Many Requests"}


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return {**settings, "CALLME_LIMITS__ENABLED": "true"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The limits are in memory: one database is as good as the other."""
    return sqlite_url


def assert_is_told_to_wait(answer: Answer, *, at_most_s: int) -> None:
    assert answer.status == 429
    assert answer.json["code"] == "rate.limited"
    assert 1 <= int(answer.header("retry-after")) <= at_most_s


async def ask(world: World, web: Web, who: str, times: int) -> list[int]:
    token, at = world.people[who].token, f"/api/v1/stalls/{world.stall_a}"
    return [(await web.ask("GET", at, token=token)).status for _ in range(times)]


async def query(world: World, web: Web, who: str, **fields: str) -> object:
    body = urlencode({"sessionKey": world.people[who].key, **fields}).encode()
    answer = await web.ask("POST", "/", body, FORM)
    assert answer.status == 200
    return answer.json


# ---------------------------------------------------------------- sessions and addresses


async def test_a_session_may_ask_200_times_at_once_and_50_times_a_second(
    world: World, web: Web, clock: Clock
) -> None:
    first = await ask(world, web, "diner", 200)
    token = world.people["diner"].token
    refused = await web.ask("GET", "/api/v1/stalls", token=token)

    assert set(first) == {200}
    assert_is_told_to_wait(refused, at_most_s=1)
    assert await ask(world, web, "seller", 1) == [200]

    clock.advance(seconds=1)

    assert await ask(world, web, "diner", 51) == [200] * 50 + [429]


async def test_what_is_refused_for_its_pace_changes_nothing(world: World, web: Web) -> None:
    await ask(world, web, "seller", 200)
    before, token = await world.rows(), world.people["seller"].token

    refused = await web.ask("POST", f"/api/v1/stalls/{world.stall_a}/tickets", token=token)

    assert refused.status == 429
    assert await world.rows() == before


async def test_an_address_may_ask_1500_times_at_once_and_300_times_a_second(
    world: World, web: Web, clock: Clock
) -> None:
    first = [(await web.ask("GET", "/healthz")).status for _ in range(1500)]
    refused = await web.ask("GET", "/healthz")

    assert set(first) == {200}
    assert_is_told_to_wait(refused, at_most_s=1)

    clock.advance(seconds=1)
    second = [(await web.ask("GET", "/healthz")).status for _ in range(301)]

    assert second == [200] * 300 + [429]


# ---------------------------------------------------------------- signing in


async def test_a_person_may_sign_in_ten_times_a_minute(
    world: World, web: Web, clock: Clock
) -> None:
    async def sign_in(who: str = "guest") -> Answer:
        code = f"sim:{who}:{world.next()}"
        return await web.ask("POST", "/api/v1/sessions", {"app": "diner", "code": code})

    first = [(await sign_in()).status for _ in range(10)]
    refused = await sign_in()

    assert first == [200] * 10
    assert_is_told_to_wait(refused, at_most_s=6)
    assert (await sign_in("another-guest")).status == 200, "phones share an address at noon"

    clock.advance(seconds=int(refused.header("retry-after")))

    assert [(await sign_in()).status for _ in range(2)] == [200, 429]


async def test_signing_in_is_counted_together_in_both_dialects(world: World, web: Web) -> None:
    for _ in range(5):
        await web.ask("POST", "/api/v1/sessions", {"app": "diner", "code": "used up"})
        await query(world, web, "none", query="login", code="used up")

    refused = await web.ask("POST", "/api/v1/sessions", {"app": "diner", "code": "sim:guest:1"})

    assert refused.status == 429
    assert await query(world, web, "none", query="login", code="sim:guest:1") == TOO_MANY


# ---------------------------------------------------------------- doors


async def test_a_session_may_ask_for_ten_doors_a_minute(
    world: World, web: Web, clock: Clock
) -> None:
    body = {"qr": "C1.D.1.1.1.AAAAAAAAAAAAAAAAAAAAAA", "pay_with": "ticket"}

    async def open_door(who: str) -> Answer:
        return await web.ask("POST", "/api/v1/cabinets/open", body, token=world.people[who].token)

    first = [(await open_door("diner")).status for _ in range(10)]
    before = await world.rows()
    refused = await open_door("diner")

    assert first == [422] * 10
    assert_is_told_to_wait(refused, at_most_s=6)
    assert await world.rows() == before
    assert (await open_door("other")).status == 422
    clock.advance(seconds=int(refused.header("retry-after")))
    assert [(await open_door("diner")).status for _ in range(2)] == [422, 429]


# ---------------------------------------------------------------- wrong numbers


async def test_a_session_may_guess_ten_numbers_a_minute(
    world: World, web: Web, clock: Clock
) -> None:
    ticket = await world.ticket(world.stall_a, "", "issued")
    token, at = world.people["diner"].token, f"/api/v1/stalls/{world.stall_a}/follow"

    async def follow(number: int) -> Answer:
        return await web.ask("POST", at, {"number": number, "note": "noodles"}, token=token)

    wrong = [number for number in range(1, 100) if number != ticket.number][:10]
    guesses = [(await follow(number)).status for number in wrong]
    refused = await follow(ticket.number)

    assert guesses == [422] * 10
    assert_is_told_to_wait(refused, at_most_s=6)

    clock.advance(seconds=6)

    assert (await follow(ticket.number)).status == 200
    assert (await follow(ticket.number)).status == 200, "a right number is no guess"


async def test_guesses_count_together_wherever_they_are_made(world: World, web: Web) -> None:
    ticket = await world.ticket(world.stall_a, "", "issued")
    wrong, token = ticket.number % 99 + 1, world.people["diner"].token
    stall = {"stall_id": world.stall_a}
    client = await (await Client.connect(world.app.port)).sign_in(token)
    old = {"sellerId": str(world.stall_a), "noteContent": "noodles"}

    for _ in range(4):
        await web.ask(
            "POST", f"/api/v1/stalls/{world.stall_a}/follow", {"number": wrong, "note": "x"},
            token=token,
        )  # fmt: skip
    for _ in range(3):
        await client.ask("ticket.follow", number=wrong, note="x", **stall)
        await query(world, web, "diner", query="push", marchSn=str(wrong), **old)
    framed = await client.ask("ticket.follow", number=ticket.number, note="x", **stall)
    pushed = await query(world, web, "diner", query="push", marchSn=str(ticket.number), **old)

    assert framed["error"]["code"] == "rate.limited"
    assert pushed == TOO_MANY
    client.hang_up()


# ---------------------------------------------------------------- the WebSocket


async def test_who_sends_frames_too_fast_is_told_and_then_closed(
    world: World, clock: Clock
) -> None:
    client = await (await Client.connect(world.app.port)).sign_in(world.people["diner"].token)

    for _ in range(200):
        assert (await client.ask("ping"))["type"] == "pong"
    refused = await client.ask("ping")
    for _ in range(30):
        client.send(type="ping")

    assert refused["error"]["code"] == "rate.limited"
    assert await client.close_code() == 4429
    client.hang_up()
    clock.advance(seconds=1)
    again = await (await Client.connect(world.app.port)).sign_in(world.people["diner"].token)
    assert (await again.ask("ping"))["type"] == "pong"
    again.hang_up()


async def test_a_board_is_counted_with_its_address(world: World) -> None:
    boards = [await (await Client.connect(world.app.port)).as_board() for _ in range(2)]

    answers = [await boards[nth % 2].ask("ping") for nth in range(1500)]

    assert answers[-1]["error"]["code"] == "rate.limited"
    for board in boards:
        board.hang_up()


# ---------------------------------------------------------------- the old dialect


async def test_an_old_client_that_asks_too_fast_hears_it_in_its_own_words(
    world: World, web: Web, clock: Clock
) -> None:
    first = [await query(world, web, "diner", query="seller_list") for _ in range(200)]
    before = await world.rows()
    refused = await query(world, web, "diner", query="seller_list")

    assert all(answer != TOO_MANY for answer in first)
    assert refused == TOO_MANY
    assert await world.rows() == before

    clock.advance(seconds=1)

    assert await query(world, web, "diner", query="seller_list") != TOO_MANY


async def test_an_old_client_on_its_socket_hears_it_too(world: World) -> None:
    client = await Client.connect(world.app.port, path="/ws")
    client.send(query="login", sessionKey=world.people["diner"].key)
    assert (await client.message())["state"] == "success"

    for _ in range(200):
        client.send(query="seller_list")
        assert "queryErr" not in await client.message()
    client.send(query="seller_list")

    assert (await client.message())["queryErr"] == "Too Many Requests"
    client.hang_up()


async def test_an_account_may_try_five_phones_an_hour(world: World, web: Web, clock: Clock) -> None:
    tries = [
        await query(world, web, "admin", query="signup", telNum=f"1370000000{nth}")
        for nth in range(6)
    ]

    assert tries[:5] == [{"signupSuccess": "fail", "failMsg": "Invalid Tel Error"}] * 5
    assert tries[5] == TOO_MANY

    clock.advance(minutes=12)

    assert await query(world, web, "admin", query="signup", telNum="13700000009") == tries[0]


async def test_two_sessions_of_one_account_have_one_try_between_them(
    world: World, web: Web
) -> None:
    for nth in range(5):
        await query(world, web, "admin", query="signup", telNum=f"1370000000{nth}")

    await world.refresh("admin")

    assert await query(world, web, "admin", query="signup", telNum="13700000009") == TOO_MANY


# ---------------------------------------------------------------- passwords


async def staff(web: Web, password: str, name: str = "clerk", **headers: str) -> Answer:
    given = [(key.replace("_", "-"), value) for key, value in headers.items()]
    body = {"login_name": name, "password": password}
    return await web.ask("POST", "/api/v1/admin/sessions", body, given)


async def test_a_password_is_guessed_ten_times_at_once_and_then_every_six_seconds(
    world: World, web: Web, clock: Clock
) -> None:
    guesses = [(await staff(web, "wrong")).status for _ in range(10)]
    refused = await staff(web, PASSWORD)

    assert guesses == [401] * 10
    assert_is_told_to_wait(refused, at_most_s=6)

    clock.advance(seconds=6)

    assert (await staff(web, PASSWORD)).status == 200


async def test_many_guesses_at_once_are_many(world: World) -> None:
    async def guess() -> int:
        async with Web(world.app.port) as web:
            return (await staff(web, "wrong")).status

    statuses = await asyncio.gather(*(guess() for _ in range(30)))

    assert statuses.count(401) == 10
    assert statuses.count(429) == 20


async def test_guesses_are_counted_for_the_name_and_for_the_address(
    world: World, web: Web, clock: Clock
) -> None:
    for number in range(10):
        await staff(web, "wrong", f"nobody{number}")

    assert (await staff(web, PASSWORD)).status == 429

    clock.advance(minutes=1)
    for number in range(10):
        # One name in whatever case is one name.
        await staff(web, "wrong", "clerk" if number % 2 else "CLERK")
    clock.advance(seconds=5)

    assert (await staff(web, PASSWORD)).status == 429


async def test_who_signs_in_rightly_is_not_counted(world: World, web: Web) -> None:
    statuses = [(await staff(web, PASSWORD)).status for _ in range(15)]

    assert statuses == [200] * 15


async def test_a_session_left_open_is_no_place_to_guess_its_password(
    world: World, web: Web, clock: Clock
) -> None:
    token = world.people["clerk"].token
    body = {"old_password": "wrong", "new_password": "rice at night"}

    async def guess() -> int:
        return (await web.ask("POST", "/api/v1/admin/me/password", body, token=token)).status

    assert [await guess() for _ in range(11)] == [422] * 10 + [429]

    clock.advance(seconds=6)

    assert await guess() == 422
