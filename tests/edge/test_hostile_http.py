"""Nonsense of every kind to every route: refused with a reason, and the next one is served.

Each round draws its requests from dice whose seed is printed with a failure.
"""

import random
import re
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from handlers.calls import DINER
from handlers.http import HEADER_MAX
from handlers.routing import RAW, Route
from handlers.wire import INTEGER_MAX
from tests.edge.cabinet_tables import DOOR_BODIES, Asked
from tests.edge.nonsense import MEDIA_TYPES, METHODS, SQL, Nonsense
from tests.edge.test_authorisation import DOORS, STAFF_DOORS, Target, targets
from tests.edge.web import Answer, HungUp, Web
from tests.edge.world import PASSWORD, World

FAST = 5_000
# A second length, or a second host: which one is meant is not guessed.
FRAMED_TWICE = b"X-Framed: twice"
FRAMINGS = [("Host", "other"), ("Content-Length", "7"), ("Transfer-Encoding", "chunked")]
# Of the torture's rounds each is so long.
ROUND = 2_000

# Where an openid administrator has no business.
STAFF_PATHS = tuple(f"/api/v1/admin/{area}" for area in ("sessions", "me", "accounts", "audit"))
# 502: the cabinets' platform refused, which a request by chance may bring about.
STATUSES = {
    200,
    201,
    202,
    204,
    304,
    400,
    401,
    403,
    404,
    405,
    409,
    413,
    415,
    417,
    422,
    501,
    502,
    505,
}
GOOD: dict[str, dict[str, Any]] = {
    "SessionNew": {"app": "diner", "code": "sim:guest:1"},
    "Follow": {"number": 1, "note": "noodles", "grant": ""},
    "StallNew": {"name": "n", "phone": "13700000000", "person": "p", "menu": ["a"], "months": 1,
                 "claim_code": "", "pick": "cyclic", "rest_s": 300, "double_tap_s": 1.5,
                 "remind_after_s": 20, "release_after_min": 120},
    "StallPatch": {"name": "n", "person": "p", "menu": ["a"], "claim_code": "", "pick": "lowest",
                   "rest_s": 0, "double_tap_s": 0.0, "remind_after_s": 20,
                   "release_after_min": 120},
    "Renewal": {"months": 1, "reason": "cash"},
    "SignIn": {"login_name": "clerk", "password": PASSWORD, "totp": ""},
    "OwnPatch": {"nickname": "n", "mobile": "1", "email": "a@b", "sex": 1, "avatar": "k"},
    "StaffNew": {"login_name": "wang", "password": PASSWORD, "role": "support", "nickname": "n",
                 "mobile": "1", "email": "a@b", "sex": 1, "avatar": "k", "status": 1,
                 "reason": ""},
    "StaffPatch": {"login_name": "clerk", "role": "support", "nickname": "n", "mobile": "1",
                   "email": "a@b", "sex": 1, "avatar": "k", "status": 1, "password": "",
                   "reason": ""},
    "PasswordChange": {"old_password": PASSWORD, "new_password": PASSWORD},
    "PasswordReset": {"new_password": PASSWORD, "remove_totp": False, "reason": ""},
    "Proof": {"password": PASSWORD},
    "TotpCode": {"totp": "000000"},
    "RenewalNew": {"months": 1, "trade_type": "NATIVE"},
    "RefundNew": {"amount_fen": 1, "reason": "no noodles", "refund_key": ""},
    "RefundDecision": {"reason": "seen"},
    "WithReason": {"reason": "seen"},
    "Explanation": {"text": "a night at WeChat"},
}  # fmt: skip
OLD_FIELDS = {
    "isseller": "yes", "code": "x", "sellerId": "1", "marchSn": "1", "noteContent": "noodles",
    "telNum": "13900000001", "sellerName": "n", "personName": "p", "term": "1", "menuList": "a,b",
    "grant": "", "signupCode": "",
}  # fmt: skip


def good_body(route: Route, target: Target | None = None, serial: int = 1) -> dict[str, Any]:
    """target: of a route of cabinets, what it is about."""
    if route.body is None:
        return {}
    name = f"{route.method} {route.path}"
    if name in DOOR_BODIES:
        body: dict[str, Any] = DOOR_BODIES[name](Asked(target or Target(), "", serial))
        return body
    # What is not named is asked with nothing in it but the nonsense.
    return GOOD.get(route.body.__name__, {}) if route.body is not RAW else OLD_FIELDS


def somewhere(route: Route, stall_id: int) -> str:
    """The route's path at a stall that is there, and at nothing else that is."""
    path = route.path.replace("{stall_id}", str(stall_id))
    return re.sub(r"\{[a-z_]+\}", "999999", re.sub(r"\{[a-z_]+:text\}", "nobody", path))


class Attack:
    def __init__(self, world: World, web: Web, dice: random.Random) -> None:
        self.world, self.web, self.dice = world, web, dice
        self.nonsense = Nonsense(dice)
        self.routes = world.app.table.routes

    async def run(self, requests: int) -> None:
        for nth in range(requests):
            route = self.dice.choice(self.routes)
            request = self.request(route)
            try:
                answer = await self.web.send(request, has_body=not request.startswith(b"HEAD "))
            except HungUp:
                # A head beyond the bound, or a body whose end nobody knows, is not read.
                head = request[: request.index(b"\r\n\r\n")]
                assert len(head) > HEADER_MAX or FRAMED_TWICE in head, f"{nth}: {head!r}"
                continue
            self.judge(nth, request, answer)
            if nth % 100 == 0:
                await self.is_well()
            if answer.status == 204:
                for name in ("admin", "owner", "seller"):
                    await self.world.refresh(name)
        await self.is_well()

    def request(self, route: Route) -> bytes:
        nonsense, dice = self.nonsense, self.dice
        method = route.method if dice.random() < 0.9 else dice.choice(METHODS)
        body = b""
        headers = [("Host", "callme"), *nonsense.headers()]
        if route.body is not None or dice.random() < 0.05:
            body = self.body(route)
            kind = "application/json" if dice.random() < 0.85 else dice.choice(MEDIA_TYPES)
            headers.append(("Content-Type", kind))
        if body or method not in {"GET", "HEAD", "DELETE"}:
            headers.append(("Content-Length", str(len(body))))
        token = self.world.people[
            dice.choice(["admin", "admin", "owner", "seller", "diner", "none"])
        ].token
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        if body and dice.random() < 0.03:
            headers += [("X-Framed", "twice"), dice.choice(FRAMINGS)]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{method} {self.target(route)} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body

    def body(self, route: Route) -> bytes:
        good = good_body(route)
        if route.body is RAW:
            names = [*self.world.app.dialect._queries, "login", "accessToken", ""]
            who = self.world.people[self.dice.choice(["admin", "seller", "diner", "expired"])]
            good = {**good, "query": self.dice.choice(names), "sessionKey": who.key}
        return self.nonsense.body(route, good)

    def target(self, route: Route) -> str:
        path = re.sub(r"\{[a-z_]+(:text)?\}", lambda _: self.parameter(), route.path)
        query = self.nonsense.query(route)
        return f"{path}?{query}" if query else path

    def parameter(self) -> str:
        if self.dice.random() < 0.6:
            return str(self.dice.choice([1, 2, 999, INTEGER_MAX, self.world.stall_a << 32 | 3]))
        return self.nonsense.escaped(self.nonsense.text()) or "-"

    def judge(self, nth: int, request: bytes, answer: Answer) -> None:
        what = f"{nth}: {answer.status} {answer.body[:500]!r} to {request[:2000]!r}"
        assert answer.status in STATUSES, what
        assert b"Traceback" not in answer.body, what
        assert b'File "' not in answer.body, what
        assert b"sqlalchemy" not in answer.body.lower(), what
        if answer.body and answer.header("content-type") == "application/problem+json":
            assert answer.json["status"] == answer.status, what
            assert answer.json["code"], what

    async def is_well(self) -> None:
        """An ordinary client is served as ever."""
        seller = self.world.people["seller"].token
        health = await self.web.ask("GET", "/healthz")
        stall = await self.web.ask("GET", f"/api/v1/stalls/{self.world.stall_b}", token=seller)
        assert (health.status, stall.status) == (200, 200)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_nonsense_is_refused_and_the_next_request_is_served(
    world: World, web: Web, dice: random.Random
) -> None:
    await world.street.open_shop()
    await Attack(world, web, dice).run(FAST)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("size", [100_000, 300_000, 3_000_000])
async def test_a_large_body_to_no_address_is_refused_in_words(
    world: World, web: Web, size: int
) -> None:
    # No such path: the number is beyond any id.
    at = f"/api/v1/cabinet-orders/{10**34}/complaints"
    for path in (at, "/api/v1/nothing", "/nothing"):
        answer = await web.ask(
            "POST", path, {"text": "x" * size}, token=world.people["diner"].token
        )
        assert (answer.status, answer.json["code"]) == (413, "body.too_large"), path
    assert (await web.ask("GET", "/healthz")).status == 200


@pytest.mark.torture
@pytest.mark.timeout(0)
async def test_much_nonsense_is_refused_too(
    world: World, web: Web, dice: random.Random, torture_rounds: int
) -> None:
    for _ in range(torture_rounds):
        await Attack(world, web, dice).run(ROUND)


# ---------------------------------------------------------------- SQL in every text


# What a request that is taken may change; whatever else it changes, it was not asked to.
LEGIT = {
    "POST /api/v1/admin/stalls": {"stalls", "streams", "events", "stall_months"},
    "PATCH /api/v1/admin/stalls/{stall_id}": {"stalls", "streams", "events"},
    "POST /api/v1/admin/sessions": {"sessions"},
    "PATCH /api/v1/admin/me": {"staff"},
    "POST /api/v1/admin/me/password": {"staff", "sessions"},
    "POST /api/v1/admin/me/totp": {"staff"},
    "PUT /api/v1/admin/me/totp": {"staff"},
    "DELETE /api/v1/admin/me/totp": {"staff"},
    "POST /api/v1/admin/accounts": {"staff", "accounts"},
    "PATCH /api/v1/admin/accounts/{account_id}": {"staff", "sessions"},
    "POST /api/v1/admin/accounts/{account_id}/restore": {"staff"},
    "POST /api/v1/admin/accounts/{account_id}/password": {"staff", "sessions"},
    "POST /api/v1/admin/stalls/{stall_id}/renewals": {
        "stalls", "streams", "events", "stall_months", "idempotency",
    },
    "POST /api/v1/stalls/{stall_id}/follow": {"tickets", "diner_tickets", "streams", "events"},
    "POST /api/v1/sessions": {"accounts", "sessions"},
}  # fmt: skip


# The same at the doors. What is told to people is on streams.
TOLD = {"streams", "events"}
MONEY = {"ledger_accounts", "ledger_entries", "ledger_head", "ledger_journals"}
ORDER = {"cabinet_orders", "idempotency"}
SETTLED = ORDER | MONEY | {"order_charges", "order_revisions", "outbox", "sales"}
DEVICE = TOLD | {"devices"}
_STORES, _DEVICES = "/api/v1/admin/stores", "/api/v1/admin/devices"
_ONE, _ORDER = f"{_DEVICES}/{{device_id}}", "/api/v1/admin/cabinet-orders/{order_id}"
_EXCEPTION = "/api/v1/admin/exceptions/{exception_id}"
_MEMBER = "/api/v1/admin/members/{member_id}"
DOOR_LEGIT: dict[str, set[str]] = {
    "PATCH /api/v1/members/me": {"members"},
    "POST /api/v1/admin/callbacks/{event_id}/put-back": {"callback_inbox", "idempotency"},
    "POST /api/v1/cabinet-orders/{order_id}/complaints": TOLD | {"complaints", "idempotency"},
    f"POST {_STORES}": {"stores", "idempotency"},
    f"PATCH {_STORES}/{{store_id}}": {"stores"},
    f"POST {_STORES}/{{store_id}}/restore": {"stores"},
    f"POST {_DEVICES}": {"devices", "device_doors", "idempotency"},
    f"PATCH {_ONE}": DEVICE,
    f"PATCH {_ONE}/params": DEVICE | {"idempotency"},
    **{f"POST {_ONE}/{verb}": DEVICE | {"idempotency", "outbox"}
       for verb in ("maintenance", "retire", "restore", "replace-qr", "lock", "unlock")},
    f"POST {_ONE}/bind": DEVICE | {"device_bindings", "idempotency"},
    f"POST {_ONE}/unbind": DEVICE | {"device_bindings", "idempotency"},
    f"POST {_ONE}/reboot": {"idempotency"},
    f"POST {_ONE}/open": TOLD | {"door_sessions"},
    f"PUT {_ONE}/planogram": {"planograms", "outbox", "idempotency"},
    f"POST {_ONE}/stock-count": {"door_stock", "stock_moves", "idempotency"},
    f"POST {_ORDER}/corrections": SETTLED | {"door_stock", "stock_moves"},
    f"POST {_ORDER}/refunds": SETTLED,
    f"POST {_ORDER}/video/reupload": {"order_revisions", "idempotency"},
    f"POST {_ORDER}/waive": ORDER | TOLD | {"door_sessions"},
    **{f"POST {_EXCEPTION}/{verb}": TOLD | {"cabinet_exceptions", "door_sessions", "idempotency"}
       for verb in ("approve", "reject", "close")},
    "POST /api/v1/admin/complaints/{complaint_id}/resolve": TOLD | {"complaints", "idempotency"},
    f"POST {_MEMBER}/phone": set(),
    f"POST {_MEMBER}/bar": {"members"},
    f"POST {_MEMBER}/unbar": {"members"},
    f"POST {_MEMBER}/tickets": TOLD | MONEY | {"ticket_grants", "idempotency"},
}  # fmt: skip


# Each change by an administrator or staff is written down as well.
WRITTEN_DOWN = {"staff_audit", "staff_audit_head"}
# What is kept as a hash, or compared and forgotten.
NOT_KEPT = {"password", "new_password", "old_password", "totp", "reason", "role", "remove_totp"}


@pytest.mark.parametrize(("is_staff", "kept"), [(False, 8), (True, 3)], ids=["counter", "staff"])
async def test_sql_in_any_field_of_a_body_is_only_a_text(
    world: World, web: Web, is_staff: bool, kept: int, dice: random.Random
) -> None:
    """kept: how many fields at least take most of the texts.

    All of them on SQLite; a look at all rows takes long on MariaDB, where each field gets others.
    """
    taken, each = 0, len(SQL) if world.app.db.dialect == "sqlite" else 3
    for route in world.app.table.routes:
        if route.body in (None, RAW) or route.path.startswith(STAFF_PATHS) != is_staff:
            continue
        if f"{route.method} {route.path}" in DOOR_BODIES:
            continue
        clerk = str(world.people["clerk"].account_id)
        at = somewhere(route, world.stall_b).replace("accounts/999999", f"accounts/{clerk}")
        before = None
        for field in msgspec.structs.fields(route.body):
            for text in dice.sample(SQL, each):
                body = {**good_body(route), "phone": f"137{world.next():08d}"}
                if route.path == "/api/v1/admin/accounts":
                    body["login_name"] = f"wang{world.next()}"
                if at.endswith("/follow"):
                    body["number"] = (await world.ticket(world.stall_b, "", "issued")).number
                    before = None
                body[field.name] = [text] if field.name == "menu" else text
                # While nothing is committed, one look at all rows serves many requests.
                before, commits = before or await world.rows(), world.app.db.commits
                token = world.people["owner" if is_staff else "admin"].token
                answer = await web.ask(route.method, at, body, token=token)
                if world.app.db.commits == commits:
                    continue
                after = await world.rows()

                changed = {name for name in after if after[name] != before[name]}
                allowed = LEGIT[f"{route.method} {route.path}"] if answer.status < 400 else set()
                allowed = allowed | WRITTEN_DOWN if answer.status < 400 else allowed
                assert changed <= allowed, (route.path, field.name, text, answer)
                if changed and not (is_staff and field.name in NOT_KEPT):
                    taken += 1
                    assert text in new_values(before, after), (route.path, field.name, text)
                before = None if changed else after
                if changed:
                    await world.refresh("owner")
                    await world.mend()
    assert taken > kept * each // 2


# Of what a text may be put into: the SKU of one of them.
LISTS = {"slots", "counts", "items"}


@pytest.mark.parametrize("who", ["owner", "diner"])
async def test_sql_at_the_doors_is_only_a_text(
    world: World, web: Web, who: str, dice: random.Random
) -> None:
    """As above, for the routes of cabinets, with others each time: whatever is changed is made
    anew, which takes long."""
    taken, each = 0, 6 if world.app.db.dialect == "sqlite" else 1
    await world.street.open_shop()
    given = {row.name: row.given for row in (DOORS if who == "diner" else STAFF_DOORS)}
    for route in world.app.cabinets.routes():
        name = f"{route.method} {route.path}"
        if name not in DOOR_BODIES or (route.who == DINER) != (who == "diner"):
            continue
        target, before = Target(), None
        for field in msgspec.structs.fields(route.body):
            for text in dice.sample(SQL, each):
                if before is None:
                    target = (await targets(world, who, given[name]))["own"][0]
                    before = await world.rows()
                at = route.path.format_map(msgspec.structs.asdict(target))
                body = good_body(route, target, world.next())
                wire = field.encode_name
                body[wire] = [{**body[wire][0], "sku": text}] if wire in body and (
                    wire in LISTS) else text  # fmt: skip
                commits = world.app.db.commits
                key = [("Idempotency-Key", f"k-{world.next()}")]
                answer = await web.ask(route.method, at, body, key, world.people[who].token)
                if world.app.db.commits == commits:
                    continue
                after = await world.rows()

                changed = {table for table in after if after[table] != before[table]}
                allowed = DOOR_LEGIT[name] | WRITTEN_DOWN if answer.status < 400 else set()
                assert changed <= allowed, (name, field.name, text, answer)
                # Of what is so already only the answer is kept.
                if changed - {"idempotency"}:
                    taken += 1
                    assert text in new_values(before, after), (name, field.name, text)
                before = None
                await world.mend()
    assert taken > each * (3 if who == "diner" else 20) // 2


def new_values(before: Any, after: Any) -> set[Any]:
    """All that stands in rows that were not there before; no row went."""
    assert all(len(after[name]) >= len(before[name]) for name in after)
    values = {
        value for name in after for row in set(after[name]) - set(before[name]) for value in row
    }
    menus = [value for value in values if isinstance(value, str) and value.startswith("[")]
    return values.union(*(msgspec.json.decode(menu) for menu in menus if menu.endswith('"]')))


async def test_sql_in_a_query_or_a_path_changes_nothing(world: World, web: Web) -> None:
    before = await world.rows()
    for route in world.app.table.routes:
        if route.method != "GET":
            continue
        who = "owner" if route.path.startswith(STAFF_PATHS) else "admin"
        token = world.people["diner" if route.who == DINER else who].token
        fields = msgspec.structs.fields(route.query) if route.query else ()
        for text in SQL:
            escaped = urlencode({"": text})[1:]
            targets = [re.sub(r"\{[a-z_]+(:text)?\}", escaped, route.path)]
            plain = re.sub(r"\{[a-z_]+(:text)?\}", "1", route.path)
            targets += [f"{plain}?{urlencode({f.encode_name: text})}" for f in fields]
            for target in targets:
                answer = await web.ask("GET", target, token=token)
                # 422: the code of no cabinet.
                assert answer.status in {200, 400, 404, 422}, (target, answer)

    after = await world.rows()
    # Who takes data out is written down, with the filter as it was given.
    assert {name for name in after if after[name] != before[name]} <= WRITTEN_DOWN


# What each query reads of a request; update and sign-up keep texts, and are tried elsewhere.
OLD_READS = {
    "menu": ["sellerId"],
    "push": ["sellerId", "marchSn", "grant"],
    "hungry": ["sellerId", "marchSn"],
    "done": ["sellerId", "marchSn", "isseller"],
    "call": ["marchSn"],
    "note": ["marchSn"],
    "signup": ["telNum", "signupCode"],
    "renew": ["telNum", "term"],
}


@pytest.mark.parametrize("who", ["diner", "seller", "admin"])
async def test_sql_in_the_old_dialect_is_only_a_text(world: World, web: Web, who: str) -> None:
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    for query, names in OLD_READS.items():
        for name in names:
            before = await world.rows()
            for text in SQL:
                fields = {**OLD_FIELDS, "query": query, name: text}
                fields["sessionKey"] = world.people[who].key
                answer = await web.ask("POST", "/", urlencode(fields).encode(), form)
                assert answer.status == 200, (fields, answer)
            assert await world.rows() == before, (query, name)


async def test_sql_that_a_seller_writes_is_kept_as_it_is(world: World, web: Web) -> None:
    key = world.people["seller"].key
    for text in SQL:
        fields = {"sellerName": text, "personName": text, "menuList": [text]}
        changed = await web.ask("POST", "/", {"query": "update", "sessionKey": key, **fields})
        info = (await web.ask("POST", "/", {"query": "info", "sessionKey": key})).json

        assert changed.json["updateSuccess"] == "success"
        assert (info["sellerName"], info["personName"], info["menuList"]) == (text, text, [text])


async def test_sql_as_a_key_opens_nothing(world: World, web: Web) -> None:
    before = await world.rows()
    for text in SQL:
        spoken = await web.ask("POST", "/", {"query": "info", "sessionKey": text})
        asked = await web.ask("GET", "/api/v1/admin/stalls", token=text.replace("\n", ""))
        assert spoken.json == {"queryErr": "Session Time Out"}
        assert asked.status == 401

    assert await world.rows() == before
