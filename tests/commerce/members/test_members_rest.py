"""Members over REST, as the console and the mini-program ask for them."""

from typing import Any

import pytest

from sql.database import Database
from tests.commerce.members.conftest import LI, WANG, shopped
from tests.devices.fleet.maker import Office

PHONE = "13800001234"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


async def get(office: Office, path: str, token: str = "boss") -> Any:
    answer = await office.ask("GET", path, token=token)
    assert answer.status == 200, answer.body
    return answer.json


async def test_one_changes_what_is_known_of_oneself(office: Office) -> None:
    changed = await office.ask(
        "PATCH", "/members/me", {"username": "Li", "phone": PHONE}, token="li"
    )
    assert changed.json == {"account_id": LI, "username": "Li", "phone": PHONE, "tickets": 0}
    named = await office.ask("PATCH", "/members/me", {"username": "Li Lei"}, token="li")
    assert (named.json["username"], named.json["phone"]) == ("Li Lei", PHONE)

    for body, status in (
        ({"username": "x" * 101}, 400),
        ({"username": "a\nb"}, 400),
        ({"phone": "1" * 21}, 400),
        ({"phone": "nobody"}, 422),
    ):
        assert (await office.ask("PATCH", "/members/me", body, token="li")).status == status
    assert await get(office, "/members/me", "li") == named.json


async def test_members_are_listed_with_masked_phones(office: Office) -> None:
    await office.ask("PATCH", "/members/me", {"username": "Li", "phone": PHONE}, token="li")

    listed = await get(office, "/admin/members?sort=id")

    assert listed["total"] == 2
    assert listed["items"][0] == {
        "id": LI,
        "username": "Li",
        "phone": "•••• 1234",
        "ticket_balance": 0,
        "barred_at": None,
        "barred_reason": "",
        "created_at": "2026-11-20T04:00:00.007Z",
    }
    assert (await get(office, "/admin/members?phone_tail=1234"))["total"] == 1
    assert (await get(office, "/admin/members?keyword=wang"))["total"] == 0
    assert [each["id"] for each in (await get(office, "/admin/members"))["items"]] == [WANG, LI]
    for query in ("sort=phone", "phone_tail=12", "is_barred=maybe"):
        assert (await office.ask("GET", f"/admin/members?{query}")).status == 400
    found = await office.ask("POST", "/admin/members/search", {"phone": f"+86{PHONE}"})
    assert [each["id"] for each in found.json] == [LI]
    assert await get(office, f"/admin/members/{LI}") == listed["items"][0]
    assert (await office.ask("GET", "/admin/members/99")).json["code"] == "members.not_found"


async def test_members_are_found_by_a_whole_number(office: Office) -> None:
    await office.ask("PATCH", "/members/me", {"phone": PHONE}, token="li")

    for phone, ids in (
        (PHONE, [LI]),
        (f"%2B86{PHONE}", [LI]),
        ("138%200000%201234", [LI]),
        ("13800001235", []),
        ("", [WANG, LI]),
    ):
        found = await get(office, f"/admin/members?phone={phone}")
        assert [each["id"] for each in found["items"]] == ids, phone
        assert found["total"] == len(ids)
    assert (await get(office, f"/admin/members?phone={PHONE}", "franchise"))["items"] == []
    for phone, status in (("nobody", 422), ("1234", 422), ("%20", 422), ("1" * 21, 400)):
        answer = await office.ask("GET", f"/admin/members?phone={phone}")
        assert answer.status == status, phone


async def test_a_number_has_twenty_digits_at_most(office: Office) -> None:
    longest = "12345678901234567890"
    for phone in (longest, "+1234567890123456789"):
        answer = await office.ask("PATCH", "/members/me", {"phone": phone}, token="li")
        assert (answer.status, answer.json["phone"]) == (200, phone)
    over = await office.ask("PATCH", "/members/me", {"phone": longest + "1"}, token="li")
    assert (over.status, over.json["code"]) == (400, "body.invalid")
    # The plus is one of the twenty.
    plus = await office.ask("PATCH", "/members/me", {"phone": f"+{longest}"}, token="li")
    assert plus.status == 400


async def test_the_whole_number_is_for_few_and_with_a_reason(office: Office) -> None:
    await office.ask("PATCH", "/members/me", {"phone": PHONE}, token="li")
    path, why = f"/admin/members/{LI}/phone", {"reason": "回电"}

    assert (await office.ask("POST", path, why, token="support")).json == {"phone": PHONE}
    for token in ("finance", "readonly", "li"):
        assert (await office.ask("POST", path, why, token=token)).status == 403
    assert (await office.ask("POST", path, {"reason": " "})).status == 400
    missing = await office.ask("POST", f"/admin/members/{WANG}/phone", why)
    assert (missing.status, missing.json["code"]) == (404, "members.phone_missing")


async def test_tickets_over_rest(office: Office) -> None:
    path, body = f"/admin/members/{LI}/tickets", {"tickets": 500, "reason": "礼物"}
    keyless = await office.ask("POST", path, body)
    assert keyless.json["code"] == "idempotency_key.missing"

    for _ in range(2):
        given = await office.ask("POST", path, body, token="finance", Idempotency_Key="g1")
        assert (given.status, given.json["tickets"], given.json["by"]) == (201, 500, 21)
    short = await office.ask(
        "POST", path, {"tickets": -501, "reason": "收回"}, Idempotency_Key="g2"
    )
    assert (short.status, short.json["code"]) == (409, "members.tickets_short")
    none = await office.ask("POST", path, {"tickets": 0, "reason": "x"}, Idempotency_Key="g3")
    assert (none.status, none.json["code"]) == (422, "members.no_tickets")
    other = await office.ask(
        "POST", path, {"tickets": 1, "reason": "礼物"}, token="finance", Idempotency_Key="g1"
    )
    assert other.json["code"] == "idempotency.key_reused"
    denied = await office.ask("POST", path, body, token="support", Idempotency_Key="g4")
    assert denied.status == 403

    shown = await get(office, path)
    assert [(line["amount"], line["biz"]) for line in shown["items"]] == [(500, "ticket.grant")]
    assert [grant["reason"] for grant in shown["grants"]] == ["礼物"]
    assert (await get(office, f"{path}?before=1"))["items"] == []


async def test_bar_and_unbar_over_rest(office: Office) -> None:
    path, why = f"/admin/members/{LI}", {"reason": "损坏柜门"}

    barred = await office.ask("POST", f"{path}/bar", why, token="support")
    assert barred.json["barred_reason"] == "损坏柜门"
    assert (await get(office, "/admin/members?is_barred=true"))["total"] == 1
    let_in = await office.ask("POST", f"{path}/unbar", why)
    assert let_in.json["barred_at"] is None
    assert (await office.ask("POST", f"{path}/bar", why, token="finance")).status == 403


async def test_a_franchise_sees_its_own_buyers(office: Office) -> None:
    listed = await get(office, "/admin/members", "franchise")

    assert [each["id"] for each in listed["items"]] == [WANG]
    for verb, path, body in (
        ("GET", "", None),
        ("POST", "/phone", {"reason": "x"}),
        ("GET", "/tickets", None),
    ):
        answer = await office.ask(verb, f"/admin/members/{LI}{path}", body, token="franchise")
        assert (answer.status, answer.json["code"]) == (404, "members.not_found")


async def test_what_counts_at_every_store_is_not_for_a_franchise(office: Office) -> None:
    """Neither by the session's role nor, were it given one by mistake, in the transaction."""
    why: dict[str, Any] = {"reason": "x"}

    for path, body in (("bar", why), ("unbar", why), ("tickets", {"tickets": 5, **why})):
        at = f"/admin/members/{WANG}/{path}"
        kept = await office.ask("POST", at, body, token="kept", Idempotency_Key="k1")
        answer = await office.ask("POST", at, body, token="franchise", Idempotency_Key="k2")
        assert (kept.status, kept.json["code"]) == (403, "forbidden")
        assert (answer.status, answer.json["code"]) == (403, "members.of_all_stores")
    assert (await get(office, f"/admin/members/{WANG}"))["ticket_balance"] == 0
    assert (await get(office, "/admin/members?is_barred=true"))["total"] == 0


async def test_a_franchise_sees_no_numbers_of_other_stores(office: Office, db: Database) -> None:
    given = {"tickets": 500, "reason": "礼物"}
    await office.ask("POST", f"/admin/members/{WANG}/tickets", given, Idempotency_Key="g1")
    await db.write(shopped, {"here": 2, "elsewhere": 3})

    whole = (await get(office, f"/admin/members/{WANG}/tickets"))["items"]
    shown = (await get(office, f"/admin/members/{WANG}/tickets", "franchise"))["items"]

    blank = {"biz_id": "", "memo": ""}
    assert [each["memo"] for each in whole] == [
        "C-elsewhere", "V-elsewhere", "C-here", "V-here", ""
    ]  # fmt: skip
    assert shown == [whole[0] | blank, whole[1] | blank, *whole[2:]]
