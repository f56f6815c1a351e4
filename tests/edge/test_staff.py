"""The back office over HTTP: signing in and out, what ends a session, and what is written down."""

import asyncio
from typing import Any

import msgspec
import pyotp
import pytest

from sql.alerts import record_incident
from tests.clock import Clock
from tests.edge.web import Answer, Web
from tests.edge.world import PASSWORD, STAFF_KEPT, World
from tests.handlers.live import Client

OTHER = "rice at night"
ACCOUNTS = "/api/v1/admin/accounts"
ME = "/api/v1/admin/me"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The accounts themselves are tried on each database where they are."""
    return sqlite_url


async def sign_in(web: Web, name: str = "clerk", password: str = PASSWORD, **more: str) -> Answer:
    body = {"login_name": name, "password": password, **more}
    return await web.ask("POST", "/api/v1/admin/sessions", body)


class Desk:
    """Somebody of the staff at a browser's developer tools."""

    def __init__(self, world: World, web: Web, name: str) -> None:
        self.world, self.web = world, web
        self.name = name

    async def ask(self, method: str, target: str, body: object = None) -> Answer:
        token = self.world.people[self.name].token
        return await self.web.ask(method, target, body, token=token)

    async def clerk(self, method: str, act: str = "", body: object = None) -> Answer:
        """Ask about the clerk's account."""
        return await self.ask(
            method, f"{ACCOUNTS}/{self.world.people['clerk'].account_id}{act}", body
        )


@pytest.fixture
def owner(world: World, web: Web) -> Desk:
    return Desk(world, web, "owner")


@pytest.fixture
def clerk(world: World, web: Web) -> Desk:
    return Desk(world, web, "clerk")


def codes(answers: list[Answer]) -> list[str]:
    return [answer.json["code"] for answer in answers]


# ---------------------------------------------------------------- signing in and out


async def test_the_right_pair_is_given_a_token_and_cookies(world: World, web: Web) -> None:
    answer = await sign_in(web, "Clerk")

    assert answer.status == 200
    assert answer.json["account"] == {
        "id": world.people["clerk"].account_id,
        "roles": ["staff", "support"],
    }
    session, xsrf = [value for name, value in answer.headers if name == "set-cookie"]
    assert session.startswith(f"callme_session={answer.json['token']}; ")
    assert "; HttpOnly" in session
    assert "; HttpOnly" not in xsrf
    for cookie in (session, xsrf):
        assert "SameSite=Strict" in cookie
        assert "Max-Age=43200" in cookie
        # The pages of this test come over HTTP.
        assert "Secure" not in cookie


async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(web: Web, world: World) -> None:
    answers = [
        await sign_in(web, "clerk", OTHER),
        await sign_in(web, "nobody", PASSWORD),
        await sign_in(web, "' OR '1'='1", "' OR '1'='1"),
    ]

    assert [answer.status for answer in answers] == [401] * 3
    bodies = [{**answer.json, "request_id": ""} for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "session.refused"
    assert not any(answer.header("set-cookie") for answer in answers)


async def test_a_page_acts_with_its_cookie_and_the_token_that_only_it_can_read(
    world: World, web: Web
) -> None:
    signed_in = await sign_in(web)
    pairs = [value.partition(";")[0] for name, value in signed_in.headers if name == "set-cookie"]
    cookie = ("Cookie", "; ".join(pairs))
    xsrf = ("X-XSRF-Token", pairs[1].partition("=")[2])

    looked = await web.ask("GET", ME, headers=[cookie])
    planted = await web.ask("PATCH", ME, {"nickname": "evil"}, [cookie])
    changed = await web.ask("PATCH", ME, {"nickname": "Li"}, [cookie, xsrf])

    assert (looked.status, planted.status, changed.status) == (200, 403, 200)
    assert planted.json["code"] == "xsrf.invalid"
    assert changed.json["nickname"] == "Li"


async def test_after_signing_out_token_and_cookie_are_dead(world: World, web: Web) -> None:
    token = (await sign_in(web)).json["token"]

    out = await web.ask("DELETE", "/api/v1/sessions/current", token=token)

    assert out.status == 204
    cookies = [value for name, value in out.headers if name == "set-cookie"]
    assert [cookie.partition(";")[0] for cookie in cookies] == ["callme_session=", "callme_xsrf="]
    assert all("Max-Age=0" in cookie for cookie in cookies)
    assert (await web.ask("GET", ME, token=token)).status == 401
    with_cookie = await web.ask("GET", ME, headers=[("Cookie", f"callme_session={token}")])
    assert with_cookie.status == 401


async def test_a_diner_who_signs_out_is_sent_no_cookies(world: World, web: Web) -> None:
    out = await web.ask("DELETE", "/api/v1/sessions/current", token=world.people["diner"].token)

    assert (out.status, out.header("set-cookie")) == (204, "")


# ---------------------------------------------------------------- what ends a session


async def test_a_deleted_account_is_refused_at_its_next_request(
    world: World, owner: Desk, clerk: Desk, web: Web
) -> None:
    assert (await clerk.ask("GET", ME)).status == 200
    client = await Client.connect(world.app.port)
    await client.message()
    assert (await client.ask("auth", token=world.people["clerk"].token))["ok"]

    deleted = await owner.clerk("DELETE", "?reason=left")

    assert (deleted.status, deleted.json["status"]) == (200, 0)
    refused = await clerk.ask("GET", ME)
    assert (refused.status, refused.json["code"]) == (401, "session.expired")
    assert await client.close_code() == 4401
    client.hang_up()
    assert codes([await sign_in(web)]) == ["session.refused"]


async def test_a_restored_account_works_again_with_its_history(
    world: World, owner: Desk, web: Web
) -> None:
    await owner.clerk("DELETE")
    restored = await owner.clerk("POST", "/restore", {"reason": "is back"})
    again = await owner.clerk("POST", "/restore")

    assert (restored.status, restored.json["status"]) == (200, 1)
    assert again.json == restored.json
    signed_in = await sign_in(web)
    assert signed_in.json["account"]["id"] == world.people["clerk"].account_id
    audit = await owner.ask(
        "GET", f"/api/v1/admin/audit?subject=staff:{world.people['clerk'].account_id}"
    )
    assert [line["action"] for line in audit.json["items"]] == [
        "session.open",
        "staff.restore",
        "staff.delete",
        "staff.create",
    ]
    assert [line["reason"] for line in audit.json["items"]] == ["", "is back", "", ""]


async def test_one_s_own_new_password_ends_the_other_sessions(
    world: World, clerk: Desk, web: Web
) -> None:
    elsewhere = (await sign_in(web)).json["token"]
    at = f"{ME}/password"

    wrong = await clerk.ask("POST", at, {"old_password": OTHER, "new_password": OTHER})
    weak = await clerk.ask("POST", at, {"old_password": PASSWORD, "new_password": "clerk"})
    done = await clerk.ask("POST", at, {"old_password": PASSWORD, "new_password": OTHER})

    assert codes([wrong, weak]) == ["staff.password_wrong", "staff.weak_password"]
    assert [wrong.status, weak.status, done.status] == [422, 422, 204]
    assert (await clerk.ask("GET", ME)).status == 200
    assert (await web.ask("GET", ME, token=elsewhere)).status == 401
    assert (await sign_in(web)).status == 401
    assert (await sign_in(web, password=OTHER)).status == 200


async def test_a_password_given_by_an_owner_ends_all_sessions(
    owner: Desk, clerk: Desk, web: Web
) -> None:
    reset = await owner.clerk("POST", "/password", {"new_password": OTHER, "reason": "forgot"})

    assert reset.status == 200
    assert "password" not in str(reset.json)
    assert (await clerk.ask("GET", ME)).status == 401
    assert (await sign_in(web, password=OTHER)).status == 200


# ---------------------------------------------------------------- one's own account


async def test_one_is_told_what_one_may_do(clerk: Desk, owner: Desk) -> None:
    mine, bosses = (await clerk.ask("GET", ME)).json, (await owner.ask("GET", ME)).json

    assert mine["login_name"] == "clerk"
    assert "stalls.read" in mine["permissions"]
    assert "stalls.change" not in mine["permissions"]
    assert "accounts.manage" in bosses["permissions"]


async def test_one_cannot_give_oneself_power(clerk: Desk) -> None:
    before = (await clerk.ask("GET", ME)).json

    answer = await clerk.ask(
        "PATCH", ME, {"role": "owner", "status": 0, "login_name": "boss", "sex": 2}
    )

    assert answer.json == {**before, "sex": 2}


async def test_updated_moves_with_every_edit_and_created_never(clerk: Desk, clock: Clock) -> None:
    before = (await clerk.ask("GET", ME)).json
    clock.advance(minutes=1)

    after = (await clerk.ask("PATCH", ME, {"mobile": "138"})).json

    assert after["created_at"] == before["created_at"] < after["updated_at"]


async def test_the_second_factor_from_its_first_day_to_its_last(
    owner: Desk, clerk: Desk, web: Web, clock: Clock
) -> None:
    begun = await clerk.ask("POST", f"{ME}/totp", {"password": PASSWORD})
    generator = pyotp.TOTP(begun.json["secret"])

    def code() -> str:
        clock.advance(seconds=30)
        return generator.generate_otp(clock.now() // 30_000)

    wrong = await clerk.ask("PUT", f"{ME}/totp", {"totp": "000000"})
    turned_on = await clerk.ask("PUT", f"{ME}/totp", {"totp": code()})
    again = await clerk.ask("POST", f"{ME}/totp", {"password": PASSWORD})
    without = await sign_in(web)
    used = code()
    with_it = await sign_in(web, totp=used)
    replayed = await sign_in(web, totp=used)
    lost = await owner.clerk("POST", "/password", {"new_password": OTHER, "remove_totp": True})

    assert begun.status == 201
    assert pyotp.parse_uri(begun.json["uri"]).secret == begun.json["secret"]
    assert (wrong.status, wrong.json["code"]) == (422, "staff.totp_wrong")
    assert (turned_on.status, turned_on.json["totp"]) == (200, True)
    assert (again.status, again.json["code"]) == (409, "staff.totp_is_on")
    assert (without.status, without.json["code"]) == (401, "session.totp_required")
    assert with_it.status == 200
    assert (replayed.status, replayed.json["code"]) == (401, "session.totp_refused")
    assert (lost.status, lost.json["totp"]) == (200, False)
    assert (await sign_in(web, password=OTHER)).status == 200


# ---------------------------------------------------------------- all accounts


async def test_a_new_account_is_made_changed_and_found(owner: Desk, web: Web, clock: Clock) -> None:
    given = {
        "login_name": "李明",
        "role": "finance",
        "nickname": "明",
        "mobile": "13800000000",
        "email": "li@canteen.example",
        "sex": 1,
        "avatar": "avatars/1.png",
        "status": 1,
    }

    made = await owner.ask("POST", ACCOUNTS, {**given, "password": PASSWORD})
    at = f"{ACCOUNTS}/{made.json['id']}"
    changed = await owner.ask("PATCH", at, {"nickname": "阿明", "password": ""})
    found = await owner.ask("GET", at)

    assert made.status == 201
    assert {name: made.json[name] for name in given} == given
    assert set(made.json) == {*given, "id", "totp", "created_at", "updated_at", "store_ids"}
    assert changed.json == {**made.json, "nickname": "阿明"} == found.json
    assert (await sign_in(web, "李明")).status == 200
    await owner.ask("PATCH", at, {"password": OTHER})
    assert (await sign_in(web, "李明")).status == 401
    assert (await sign_in(web, "李明", OTHER)).status == 200


async def test_of_many_who_add_a_name_at_once_one_does(world: World, owner: Desk) -> None:
    async def add(name: str) -> int:
        async with Web(world.app.port) as web:
            body = {"login_name": name, "role": "support", "password": PASSWORD}
            answer = await web.ask("POST", ACCOUNTS, body, token=world.people["owner"].token)
        return answer.status

    statuses = await asyncio.gather(*(add("Wang" if n % 2 else "wang") for n in range(10)))

    assert sorted(statuses) == [201] + [409] * 9
    listed = await owner.ask("GET", f"{ACCOUNTS}?keyword=wang")
    assert listed.json["total"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"login_name": "CLERK"}, 409, "staff.login_name_taken"),
        ({"login_name": "a b"}, 422, "staff.unfit_login_name"),
        ({"login_name": "x" * 21}, 400, "body.invalid"),
        ({"password": "short"}, 422, "staff.weak_password"),
        ({"role": "god"}, 400, "body.invalid"),
        ({"sex": 3}, 400, "body.invalid"),
        ({"status": 2}, 400, "body.invalid"),
        ({"nickname": "x" * 101}, 400, "body.invalid"),
    ],
)
async def test_what_will_not_do_is_refused_and_nothing_is_made(
    world: World, owner: Desk, body: dict[str, Any], status: int, code: str
) -> None:
    before = await world.rows()

    good = {"login_name": "wang", "role": "support", "password": PASSWORD}
    refused = await owner.ask("POST", ACCOUNTS, {**good, **body})

    assert (refused.status, refused.json["code"]) == (status, code)
    assert await world.rows() == before


async def test_the_list_is_in_pages_with_filters(world: World, owner: Desk) -> None:
    async def names(query: str) -> list[str]:
        answer = await owner.ask("GET", f"{ACCOUNTS}?{query}")
        return [account["login_name"] for account in answer.json["items"]]

    await owner.clerk("DELETE")

    others = ["owner", "operator", "finance", "support", "readonly"]
    everyone = [*others, "clerk", *STAFF_KEPT]
    assert await names("") == everyone
    assert await names("page=2&page_size=4") == everyone[4:8]
    assert await names("status=1") == [*others, *STAFF_KEPT]
    assert await names("status=0") == ["clerk"]
    assert await names("role=support&sort=-login_name") == ["support-a", "support", "clerk"]
    assert await names("keyword=ER") == ["owner", "operator", "clerk", "operator-a"]
    total = (await owner.ask("GET", f"{ACCOUNTS}?page_size=1&role=support")).json["total"]
    assert total == 3
    assert (await owner.ask("GET", f"{ACCOUNTS}?sort=password_hash")).status == 400
    assert (await owner.ask("GET", f"{ACCOUNTS}?status=2")).status == 400


async def test_nobody_removes_oneself_nor_the_last_owner(world: World, owner: Desk) -> None:
    at = f"{ACCOUNTS}/{world.people['owner'].account_id}"

    answers = [
        await owner.ask("DELETE", at),
        await owner.ask("PATCH", at, {"status": 0}),
        await owner.ask("PATCH", at, {"role": "readonly"}),
    ]

    assert [answer.status for answer in answers] == [409] * 3
    assert set(codes(answers)) == {"staff.not_oneself"}


# ---------------------------------------------------------------- the audit


async def test_what_is_done_to_stalls_is_written_down(world: World, web: Web) -> None:
    operator, auditor = Desk(world, web, "operator"), Desk(world, web, "finance")
    stalls = "/api/v1/admin/stalls"
    before = (await auditor.ask("GET", "/api/v1/admin/audit")).json["total"]

    made = await operator.ask(
        "POST", stalls, {"name": "面", "phone": "13700000001", "months": 2, "claim_code": "secret"}
    )
    at = f"{stalls}/{made.json['id']}"
    await operator.ask("PATCH", at, {"name": "粉", "claim_code": "hidden"})
    await operator.ask("POST", f"{at}/renewals", {"months": 3, "reason": "paid in cash"})
    await operator.ask("DELETE", f"{at}/sellers")
    await operator.ask("POST", stalls, {"name": "面", "phone": "13700000001"})

    answer = await auditor.ask("GET", "/api/v1/admin/audit")
    assert answer.json["total"] == before + 4
    lines = answer.json["items"][3::-1]
    assert [line["action"] for line in lines] == [
        "stall.create",
        "stall.change",
        "stall.renew",
        "stall.release_sellers",
    ]
    created, changed, renewed, released = lines
    assert {line["actor"] for line in lines} == {"operator"}
    assert {line["address"] for line in lines} == {"127.0.0.0/24"}
    assert {line["subject"] for line in lines} == {f"stall:{made.json['id']}"}
    assert created["after"]["claim_code"] == "****"
    assert created["after"]["balance_months"] == 2
    assert changed["before"] == {"name": "面", "claim_code": "****"}
    assert changed["after"] == {"name": "粉", "claim_code": "****"}
    assert (renewed["before"], renewed["after"]) == ({"balance_months": 2}, {"balance_months": 5})
    assert renewed["reason"] == "paid in cash"
    assert released["after"] == {"sellers": []}
    assert await world.app.audit.verify() is None


async def test_a_renewal_repeated_with_its_key_is_one_line(world: World, web: Web) -> None:
    at, token = f"/api/v1/admin/stalls/{world.stall_a}/renewals", world.people["admin"].token
    key = [("Idempotency-Key", "k1")]

    for _ in range(3):
        await web.ask("POST", at, {"months": 1, "reason": "cash"}, key, token=token)

    audit = await Desk(world, web, "owner").ask("GET", "/api/v1/admin/audit?action=stall.renew")
    assert audit.json["total"] == 1
    assert audit.json["items"][0]["actor"] == "admin"
    assert audit.json["items"][0]["actor_id"] == world.people["admin"].account_id


async def test_the_audit_is_in_pages_with_filters(world: World, owner: Desk, clock: Clock) -> None:
    noon = "2026-11-20T06:00:00Z"
    clock.set("2026-11-20T14:00:00+08:00")
    # A clock that was turned leaves the session where it was.
    await world.refresh("owner")
    await owner.clerk("PATCH", "", {"nickname": "Li"})

    async def total(query: str) -> int:
        answer = await owner.ask("GET", f"/api/v1/admin/audit?{query}")
        found: int = answer.json["total"]
        return found

    me, everything = world.people["owner"].account_id, await total("")
    assert await total(f"actor_id={me}") == 1
    assert await total("action=staff.change") == 1
    assert await total(f"from={noon}") == 1
    assert await total(f"before={noon}") == everything - 1
    page = await owner.ask("GET", "/api/v1/admin/audit?page=2&page_size=1")
    assert len(page.json["items"]) == 1
    assert (await owner.ask("GET", "/api/v1/admin/audit?from=yesterday")).status == 400


async def test_no_answer_tells_a_hash_or_a_salt(owner: Desk, clerk: Desk) -> None:
    answers = [
        await owner.ask("GET", ACCOUNTS),
        await owner.clerk("GET"),
        await owner.clerk("PATCH", "", {"password": OTHER}),
        await owner.ask("GET", "/api/v1/admin/audit?page_size=100"),
        await owner.ask("GET", ME),
    ]

    for answer in answers:
        assert answer.status == 200
        text = msgspec.json.encode(answer.json).decode()
        assert "argon2" not in text
        assert "salt" not in text
        assert OTHER not in text


# ---------------------------------------------------------------- incidents


async def test_what_was_received_is_shown_to_those_who_handle_money_alone(
    world: World, web: Web
) -> None:
    raw = '{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o","amount_fen":1}'
    await world.app.db.write(record_incident, "payment.mismatch", "4200", "1 CNY", raw)

    shown = {
        who: (await Desk(world, web, who).ask("GET", "/api/v1/admin/incidents")).json["items"][0]
        for who in ("owner", "finance", "operator", "readonly")
    }

    assert {who: incident["raw"] for who, incident in shown.items()} == {
        "owner": '{"openid":"oUpF…","amount_fen":1}',
        "finance": '{"openid":"oUpF…","amount_fen":1}',
        "operator": None,
        "readonly": None,
    }
