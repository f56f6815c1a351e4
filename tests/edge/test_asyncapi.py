"""docs/asyncapi.yaml, written by hand, held against the program it describes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from devices.orders.model import OrderState
from devices.presence.store import LINK, REPORTED
from devices.sessions import store as sessions
from devices.sessions.model import State as DoorState
from handlers import clients, connection, framing, transport
from handlers.frames import read_envelope
from queueing.model import SYSTEM, Actor
from sql.database import Tx
from sql.events import heads
from tests.clock import Clock
from tests.edge.money import FEN, MUCH_FEN
from tests.edge.street import SYSTEM as BY
from tests.edge.test_authorisation import SUBSCRIPTIONS
from tests.edge.world import World
from tests.handlers.live import Client

TOP = Path(__file__).resolve().parent.parent.parent
DOCUMENT: dict[str, Any] = yaml.safe_load((TOP / "docs" / "asyncapi.yaml").read_text("utf-8"))
LIVE = DOCUMENT["channels"]["live"]
MESSAGES = DOCUMENT["components"]["messages"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What is described is the same on each database."""
    return sqlite_url


def messages_of(operation: str) -> list[str]:
    """The names of an operation's messages, in components."""
    references = [each["$ref"] for each in DOCUMENT["operations"][operation]["messages"]]
    return [reference.rpartition("/")[2] for reference in references]


def resolved(reference: str) -> Any:
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def payload(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = MESSAGES[name]["payload"]
    return resolved(schema["$ref"]) if "$ref" in schema else schema


def validate(schema: dict[str, Any], value: object) -> None:
    jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}).validate(value)


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from nodes(child)


# ---------------------------------------------------------------- the document itself


def test_every_reference_leads_somewhere() -> None:
    references = [node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node]

    assert len(references) > 100
    assert all(resolved(reference) for reference in references)


def test_every_schema_is_a_valid_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_message_is_sent_by_an_operation_and_is_in_its_channel() -> None:
    assert DOCUMENT["asyncapi"].startswith("3.")
    sent = {name for operation in DOCUMENT["operations"] for name in messages_of(operation)}
    sent |= {
        reference["$ref"].rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for reference in operation.get("reply", {}).get("messages", ())
    }
    in_channels = {
        name for channel in DOCUMENT["channels"].values() for name in channel["messages"]
    }

    assert sent == in_channels == set(MESSAGES)


@pytest.mark.parametrize("name", [name for name in MESSAGES if MESSAGES[name].get("examples")])
def test_an_example_is_one(name: str) -> None:
    for example in MESSAGES[name]["examples"]:
        validate(payload(name), example["payload"])


# ---------------------------------------------------------------- what a client may send


def test_every_frame_a_client_may_send_is_described(world: World) -> None:
    assert set(messages_of("ask")) == set(world.app.desk._readers) | {"ping"}


def test_every_example_is_read_by_the_program(world: World) -> None:
    for name in messages_of("ask"):
        for example in MESSAGES[name]["examples"]:
            text = msgspec.json.encode(example["payload"])
            envelope = read_envelope(text)
            assert envelope.type == name
            if name != "ping":
                world.app.desk.read(envelope, text)


def test_every_field_is_described_with_its_bounds(world: World) -> None:
    for name, (decoder, _) in world.app.desk._readers.items():
        _, components = msgspec.json.schema_components([decoder.type])
        real = components[decoder.type.__name__]
        told = payload(name)

        assert set(told["required"]) == {"type", *real.get("required", ())}, name
        assert set(told["properties"]) == {"type", "id", *real["properties"]}, name
        for field, schema in real["properties"].items():
            if "anyOf" not in schema:
                assert bounds(told["properties"][field]) == bounds(schema), (name, field)


def bounds(schema: dict[str, Any]) -> dict[str, Any]:
    found = resolved(schema["$ref"]) if "$ref" in schema else schema
    return {key: found[key] for key in found if key not in {"description", "title"}}


# ---------------------------------------------------------------- topics, codes, the old dialect


def test_every_topic_is_described() -> None:
    assert set(LIVE["x-topics"]) == {row.name for row in SUBSCRIPTIONS}


def test_every_close_code_is_described() -> None:
    modules = (clients, connection, framing, transport)
    given = {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int) and 1002 <= value < 5000
    }
    given -= {framing.NO_CODE, framing.ABNORMAL, connection.STRIKES_MS}

    assert set(LIVE["x-close-codes"]) == given


def test_every_query_of_the_old_dialect_is_described(world: World) -> None:
    told = payload("oldQuery")["properties"]["query"]["enum"]

    assert set(told) == {*world.app.dialect._queries, "login", "hello"}
    assert len(told) == len(set(told))


# ---------------------------------------------------------------- what is told


# What is told on the account's own stream, and not on a stall's.
PAYMENTS = {"payment.succeeded", "payment.returned", "payment.refunded"}
# The doors, those who were at them, and the back office.
CABINETS = {
    *(f"door.{state}" for state in DoorState),
    *(f"cabinet_order.{state}" for state in OrderState),
    *("door.reminder", LINK, REPORTED, "device.changed"),
    *("complaint.opened", "complaint.resolved", "tickets.changed"),
}


def told_in_the_source(package: str = "queueing") -> set[str]:
    """The names of events: the texts that are given to whatever drafts one."""
    drafting = {"_tell", "announce", "_staff_line", "_tell_changed", "Line", "News", "tell", "say"}
    drafting |= {"tell_accounts", "tell_office"}
    names = set()
    for path in (TOP / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in drafting:
                given = [*node.args, *(keyword.value for keyword in node.keywords)]
                inner = [each for arg in given for each in ast.walk(arg)]
                texts = [str(arg.value) for arg in inner if isinstance(arg, ast.Constant)]
                names |= {text for text in texts if re.fullmatch(r"[a-z]+\.[a-z_]+", text)}
    return names


def event_name(message: str) -> str:
    return str(MESSAGES[message]["name"])


def test_every_event_is_described() -> None:
    told = {event_name(message) for message in messages_of("tell")}

    assert told_in_the_source("payments") == PAYMENTS
    assert "door.reminder" in told_in_the_source("devices") <= CABINETS
    assert told_in_the_source("commerce") == {"tickets.changed"}
    assert told == told_in_the_source() | PAYMENTS | CABINETS | {"stall.quiet"}


async def live_through_everything(world: World, clock: Clock) -> None:
    """A stall's life in which every event happens that can."""
    queues, stall, staff = world.app.queues, world.stall_a, world.staff(world.stall_a)
    admin, diner = Actor("admin"), Actor("diner", world.people["diner"].account_id)
    ticket = await world.ticket(stall, "diner", "called")
    await queues.acknowledge(ticket.id, diner)
    for verb in ("recall", "no_show", "requeue", "call", "undo", "call", "finish"):
        await queues.change(verb, ticket.id, staff)
    await world.ticket(stall, "other", "called")
    clock.advance(seconds=25)
    await queues.mark_unreached()
    for _ in range(90):
        await world.ticket(stall, "", "issued")
    await queues.clear(stall, staff)
    clock.advance(hours=2, minutes=1)
    await queues.release_overdue()
    await world.app.stalls.renew(stall, months=1, reason="cash", by=admin)
    clock.set("2026-12-01T00:00:01+08:00")
    await world.app.stalls.charge_months()
    await world.app.stalls.release_sellers(stall)
    await world.mend()
    assert SYSTEM.kind == "system"


async def test_every_event_is_told_as_described_and_nobody_hears_a_note(
    world: World, clock: Clock
) -> None:
    board = await (await Client.connect(world.app.port)).as_board()
    await board.listen(f"stall:{world.stall_a}")
    staff = await (await Client.connect(world.app.port)).sign_in(world.people["admin"].token)
    await staff.listen(f"stall:{world.stall_a}:staff")

    await live_through_everything(world, clock)
    head = int((await world.app.queues.version(world.stall_a)).partition(".")[2])
    schemas = {event_name(message): payload(message) for message in messages_of("tell")}
    heard: dict[Client, set[str]] = {board: set(), staff: set()}
    for client, names in heard.items():
        seq = 0
        while seq < head:
            event = await client.event()
            seq = event["seq"]
            names.add(event["name"])
            validate(schemas[event["name"]], event)
            if client is board:
                assert "note" not in event["data"], event
                assert not {"by", "reached", "balance_months"} & set(event["data"]), event

    assert heard[staff] == told_in_the_source()
    hidden = {"ticket.reached", "ticket.unreached", "pool.low", "stall.renewed"}
    hidden |= {"stall.month_charged", "stall.signed_up", "stall.sellers_released"}
    assert heard[board] == (told_in_the_source() - hidden) | {"stall.quiet"}
    board.hang_up()
    staff.hang_up()


async def shop_for_a_day(world: World) -> None:
    """Cabinets and those at them, of whom all is told that can be without much ado."""
    street, side, app = world.street, world.app.cabinets, world.app
    await street.open_shop()
    device = await street.device("A")
    await side.presence.lock(device.id, by=BY, reason="a look")
    await side.fleet.set_service(device.id, "maintenance", by=BY, reason="a look")
    await street.session("A")
    order_id = await street.order("A", is_paid=False)
    await side.orders.waive(order_id, reason="sorry", by=BY)
    complaint_id, _ = await street.complaint("A")
    await side.complaints.resolve(complaint_id, refund_fen=1, reason="sorry", by=BY)
    await street.mend()
    await app.db.write(remind, world.people["diner"].account_id)


def remind(tx: Tx, account_id: int) -> None:
    session = sessions.last_of(tx, account_id)
    assert session is not None
    sessions.say(tx, session, "door.reminder", "the door is open")


async def test_doors_are_told_as_described_and_to_whom_they_concern(world: World) -> None:
    office = await (await Client.connect(world.app.port)).sign_in(world.people["owner"].token)
    shopper = await (await Client.connect(world.app.port)).sign_in(world.people["diner"].token)
    stranger = await (await Client.connect(world.app.port)).sign_in(world.people["rival"].token)
    for client, topic in ((office, "cabinets"), (shopper, "me"), (stranger, "me")):
        await client.listen(topic)

    await shop_for_a_day(world)

    heard: dict[Client, set[str]] = {office: set(), shopper: set()}
    ends = {office: "cabinets", shopper: f"account:{world.people['diner'].account_id}"}
    for client, stream in ends.items():
        found = await world.app.db.read(heads, [stream])
        seq = 0
        while seq < found[stream].seq:
            event = await client.event()
            seq = event["seq"]
            heard[client].add(event["name"])
            validate(payload(event["name"]), event)
    doors = {"door.requested", "door.opening", "door.open", "door.closed", "door.settling"}
    ended = {"door.paid", "door.unpaid", "door.no_purchase"}
    assert heard[office] - ended == doors | {LINK, "device.changed", "complaint.opened"}
    bought = {"cabinet_order.paid", "cabinet_order.unpaid", "cabinet_order.waived"}
    told = {"complaint.resolved", "tickets.changed", "door.reminder"}
    assert heard[shopper] - ended == doors | bought | told
    assert (await stranger.ask("ping"))["type"] == "pong"
    for client in (office, shopper, stranger):
        client.hang_up()


async def test_an_account_is_told_of_its_payments(world: World) -> None:
    payer = world.people["seller"]
    client = await (await Client.connect(world.app.port)).sign_in(payer.token)
    await client.listen("me")
    stranger = await (await Client.connect(world.app.port)).sign_in(world.people["rival"].token)
    await stranger.listen("me")

    paid = await world.money.payment(payer.account_id)
    await world.money.pay_again(paid)
    number = await world.money.refund(payer.account_id, by=1)
    await world.money.send_back(number)

    heard = [await client.event() for _ in range(4)]
    for event in heard:
        validate(payload(event["name"]), event)
        assert event["topic"] == "me"
    assert [event["seq"] for event in heard] == [1, 2, 3, 4]
    assert [event["name"] for event in heard] == [
        "payment.succeeded", "payment.returned", "payment.succeeded", "payment.refunded",
    ]  # fmt: skip
    assert heard[0]["data"] == {"out_trade_no": paid, "amount_fen": FEN}
    assert heard[3]["data"]["amount_fen"] == MUCH_FEN
    assert (await stranger.ask("ping"))["type"] == "pong"
    client.hang_up()
    stranger.hang_up()


async def test_every_answer_is_as_described(world: World) -> None:
    stall, ticket = world.stall_a, await world.ticket(world.stall_a, "diner", "called")
    client = await Client.connect(world.app.port)
    validate(payload("hello"), await client.message())
    good = [
        await client.ask("auth", token=world.people["seller"].token),
        await client.ask("subscribe", topic=f"stall:{stall}:staff"),
        await client.ask("subscribe", topic=f"ticket:{ticket.id}"),
        await client.ask("subscribe", topic="me"),
        await client.ask("unsubscribe", topic="me"),
        await client.ask("ticket.issue", stall_id=stall),
        await client.ask("ticket.finish", ticket_id=ticket.id),
    ]
    epoch, _, seq = (await world.app.queues.version(stall)).partition(".")
    since = {"epoch": epoch, "seq": int(seq) - 2}
    good.append(await client.ask("subscribe", topic=f"stall:{stall}", since=since))
    bad = [
        await client.ask("ticket.finish", ticket_id=1),
        await client.ask("ticket.finish", ticket_id="x"),
        await client.ask("no such type"),
    ]

    for answer in good:
        validate(payload("result"), answer)
    for answer in bad:
        validate(payload("refusal"), answer)
    validate(payload("pong"), await client.ask("ping"))
    assert len(good[-1]["data"]["events"]) == 2
    client.hang_up()
