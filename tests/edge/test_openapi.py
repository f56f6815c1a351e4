"""The OpenAPI document: valid, kept in docs/, and true of the server that serves it."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

import hypothesis
import jsonschema_rs
import msgspec
import pyotp
import pytest
import schemathesis
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from handlers.errors import REFUSALS
from server.app import openapi_text
from tests.edge.cabinet_tables import DOOR_BODIES, QUERIES_NEEDED
from tests.edge.cabinet_tables import Asked as Meant
from tests.edge.test_authorisation import DOORS, STAFF_DOORS, Target, nowhere, targets
from tests.edge.web import Answer, Web
from tests.edge.world import PASSWORD, World

TOP = Path(__file__).resolve().parent.parent.parent
KEPT = TOP / "docs" / "openapi.json"

# Where the back office looks after itself, and an openid administrator has no business.
STAFF_PATHS = tuple(f"/api/v1/admin/{area}" for area in ("sessions", "me", "accounts", "audit"))

# What needs money of its own to be asked for: tests/money asks it, with all that goes before.
MONEY = re.compile(
    r"/api/v1/(payments|admin/(payments|refunds|bill-differences)|sellers|stalls/\{stall_id\}/renewals)"
)

# What is asked at the doors: what it is about, and who may ask.
AT_DOORS = {row.name.replace(":text", ""): (row.given, who)
            for rows, who in ((STAFF_DOORS, "owner"), (DOORS, "diner"))
            for row in rows
            if any(cell.who == who and not cell.is_refused for cell in row.cells)}  # fmt: skip

# Of each operation so many messages are drawn that fit the document, and as many that do not.
EXAMPLES = 6


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is described is the same on each database."""
    return sqlite_url


@pytest.fixture
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(KEPT.read_text("utf-8"))
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


# ---------------------------------------------------------------- the document itself


def test_the_document_in_the_repository_is_what_the_program_writes(tmp_path: Path) -> None:
    target = tmp_path / "openapi.json"

    subprocess.run(
        [sys.executable, "run.py", "export-openapi", str(target)], cwd=TOP, timeout=60, check=True
    )

    assert target.read_text("utf-8") == KEPT.read_text("utf-8"), (
        "run.py export-openapi docs/openapi.json"
    )


async def test_the_server_serves_the_same_document(world: World, web: Web) -> None:
    served = await web.ask("GET", "/api/v1/openapi.json")

    assert served.json == json.loads(openapi_text())
    assert served.header("content-type") == "application/json"


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()


def test_every_schema_in_it_is_a_valid_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_code_a_route_names_has_a_status_in_its_document(
    world: World, document: dict[str, Any]
) -> None:
    for route in world.app.table.routes:
        if not route.in_document:
            continue
        path = route.path.replace(":text}", "}")
        responses = operations(document)[f"{route.method} {path}"]["responses"]
        for code in route.errors:
            assert str(REFUSALS.status_of(code)) in responses, (route.path, code)


# ---------------------------------------------------------------- each route once


class Asked:
    """One good request to each route, as somebody who may."""

    def __init__(self, world: World, web: Web) -> None:
        self.world, self.web = world, web

    async def ask(self, name: str) -> Answer:
        await self.world.mend()
        method, path = name.split()
        if name in AT_DOORS:
            return await self._ask_at_doors(name)
        state = {"call": "noted", "requeue": "no_show", "cancel": "noted"}
        act = path.rpartition("/")[2]
        if path.startswith(STAFF_PATHS):
            return await self._ask_staff(method, path)
        ticket = await self.world.ticket(self.world.stall_b, "other", state.get(act, "called"))
        if act in {"call-next", "follow"}:
            await self.world.mend()
            ticket = await self.world.ticket(self.world.stall_b, "", "issued")
        alert_id = await self.world.money.alert("payment.mismatch") if "alert" in path else 0
        at = path.format(stall_id=self.world.stall_b, ticket_id=ticket.id, alert_id=alert_id)
        token = self.world.people["admin"].token
        answer = await self.web.ask(method, at, self.body(name, ticket.number), token=token)
        if act == "current":
            await self.world.refresh("admin")
        return answer

    async def _ask_at_doors(self, name: str) -> Answer:
        given, who = AT_DOORS[name]
        target = (await targets(self.world, who, given))["own"][0]
        return await self.ask_at(name, target)

    async def ask_at(self, name: str, target: Target) -> Answer:
        """With what the request needs, of somebody who may."""
        given, who = AT_DOORS[name]
        method, path = name.split()
        at = path.format_map(msgspec.structs.asdict(target)) + QUERIES_NEEDED.get(name, "")
        body = None
        if name in DOOR_BODIES:
            body = DOOR_BODIES[name](Meant(target, given, self.world.next()))
        key = [("Idempotency-Key", f"k-{self.world.next()}")] if method == "POST" else []
        return await self.web.ask(method, at, body, key, token=self.world.people[who].token)

    async def _ask_staff(self, method: str, path: str) -> Answer:
        """As an owner, about the clerk; before a second factor is turned on it is begun."""
        people, now = self.world.people, self.world.clock.now()
        token, at = people["owner"].token, path.format(account_id=people["clerk"].account_id)
        body: Any = self.body(f"{method} {path}", 0)
        if method == "PUT":
            begun = await self.web.ask("POST", at, {"password": PASSWORD}, token=token)
            body = {"totp": pyotp.TOTP(begun.json["secret"]).generate_otp(now // 30_000)}
        if method == "POST" and path.endswith("/me/totp"):
            # The operation before it may have turned one on.
            await self.web.ask("DELETE", at, {"password": PASSWORD}, token=token)
        return await self.web.ask(method, at, body, token=token)

    def body(self, name: str, number: int) -> Any:
        proof = {"password": PASSWORD}
        me, accounts = "/api/v1/admin/me", "/api/v1/admin/accounts"
        one = f"{accounts}/{{account_id}}"
        staff: dict[str, Any] = {
            "POST /api/v1/admin/sessions": {"login_name": "clerk", **proof},
            f"PATCH {me}": {"sex": 2},
            f"POST {me}/password": {"old_password": PASSWORD, "new_password": PASSWORD},
            f"POST {me}/totp": proof,
            f"PUT {me}/totp": {"totp": "000000"},
            f"DELETE {me}/totp": proof,
            f"POST {accounts}": {"login_name": "wang", "role": "support", **proof},
            f"PATCH {one}": {"status": 1},
            f"POST {one}/restore": {},
            f"POST {one}/password": {"new_password": PASSWORD},
        }
        return staff.get(name) or {
            "POST /api/v1/sessions": {"app": "seller", "code": f"sim:guest:{self.world.next()}"},
            "POST /api/v1/stalls/{stall_id}/follow": {"number": number, "note": "noodles"},
            "POST /api/v1/admin/stalls": {"name": "n", "phone": f"137{self.world.next():08d}"},
            "PATCH /api/v1/admin/stalls/{stall_id}": {"menu": ["noodles"], "disabled": False},
            "POST /api/v1/admin/stalls/{stall_id}/renewals": {"months": 1, "reason": "cash"},
            "POST /api/v1/admin/alerts/{alert_id}/clear": {"reason": "looked at"},
        }.get(name)


def check(document: dict[str, Any], name: str, answer: Answer) -> None:
    """The answer is one that the document tells of this operation, with the body it tells."""
    responses = operations(document)[name]["responses"]
    assert str(answer.status) in responses, (name, answer)
    told = responses[str(answer.status)]
    if "$ref" in told:
        told = document["components"]["responses"][told["$ref"].rpartition("/")[2]]
    if "content" not in told:
        assert not answer.body, (name, answer)
        return
    kind = answer.header("content-type")
    # A picture may be of one kind or another.
    fits = next((each for each in told["content"] if fnmatch(kind, each)), "")
    assert fits, (name, answer)
    schema = told["content"][fits].get("schema")
    if schema is not None:
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(whole).validate(answer.json)


async def test_every_documented_route_answers_as_documented(
    world: World, web: Web, document: dict[str, Any]
) -> None:
    asked = Asked(world, web)
    await world.street.open_shop()
    for name, operation in operations(document).items():
        method, path = name.split()
        if not MONEY.match(path):
            good = await asked.ask(name)
            check(document, name, good)
            assert 200 <= good.status < 300, (name, good)
        if operation["security"]:
            nobody = await web.ask(method, re.sub(r"\{[a-z_]+\}", "1", path), b"")
            assert nobody.status == 401
            check(document, name, nobody)


async def test_what_is_missing_is_answered_as_documented(
    world: World, web: Web, document: dict[str, Any]
) -> None:
    for name in operations(document):
        method, path = name.split()
        if "{" not in path or (MONEY.match(path) and method != "GET"):
            continue
        if name in AT_DOORS:
            answer = await Asked(world, web).ask_at(name, nowhere(world, AT_DOORS[name][0]))
            # The code of no door is none.
            assert answer.status == (422 if "{qr}" in path else 404), (name, answer)
            check(document, name, answer)
            continue
        token = world.people["owner" if path.startswith(STAFF_PATHS) else "admin"].token
        body = Asked(world, web).body(name, 1)
        at = re.sub(r"\{[a-z_]+\}", "999", path)
        answer = await web.ask(method, at, body, token=token)
        assert answer.status == 404, (name, answer)
        check(document, name, answer)


# ---------------------------------------------------------------- drawn from the document


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", ["admin", "owner", "diner"])
async def test_messages_drawn_from_the_document_find_nothing_undocumented(
    world: World, document: dict[str, Any], base_url: str, who: str
) -> None:
    # Signing out would end the session that all others ask with.
    document["paths"].pop("/api/v1/sessions/current", None)
    schema = schemathesis.openapi.from_dict(document)
    token = world.people[who].token

    for result in schema.get_all_operations():
        operation = cast("Ok[Any]", result).ok()
        await asyncio.to_thread(drawn(operation, document, base_url, token))


def drawn(
    operation: Any, document: dict[str, Any], base_url: str, token: str
) -> Callable[[], None]:
    """A test of one operation with messages good and bad, for a thread of its own."""
    mode = schemathesis.GenerationMode
    cases = operation.as_strategy(generation_mode=mode.POSITIVE) | operation.as_strategy(
        generation_mode=mode.NEGATIVE
    )

    @hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def run(case: Any) -> None:
        response = case.call(base_url=base_url, headers={"Authorization": f"Bearer {token}"})
        responses = operations(document)[operation.label]["responses"]
        assert response.status_code < 500, response.text
        assert str(response.status_code) in {*responses, "405"}, response.text
        if response.status_code != 405:
            case.validate_response(
                response, checks=[content_type_conformance, response_schema_conformance]
            )

    return run
