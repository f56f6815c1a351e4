"""What holds for any vendor behind the port: run against each one's platform over real HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from devices.vendors import port
from devices.vendors.port import (
    BadCallback,
    OpenAck,
    OpenCommand,
    Outcome,
    Reason,
    Slot,
    VendorRefused,
    VendorUnknown,
)
from sql.alerts import last_incidents
from tests.clock import Clock
from tests.devices.inbox.post import NOTE, Post
from tests.devices.vendors.parties import Party

SPOILT = ["hang_up", "http_502", "nonsense"]


def command(clock: Clock, request_id: str = "R1", **changes: Any) -> OpenCommand:
    usual = OpenCommand(
        request_id=request_id,
        session_no=f"S{request_id}",
        device_code="C1",
        door_no=1,
        purpose="shop",
        user_ref="u1",
        pull_ttl_s=30,
        max_open_s=600,
        amount_limit_fen=20_000,
        expires_at=clock.now() + 20_000,
    )
    return msgspec.structs.replace(usual, **changes)


# ---------------------------------------------------------------- opening


async def test_a_door_opens_once_however_often_the_command_is_sent(
    party: Party, clock: Clock
) -> None:
    party.add_cabinet("C1")

    acks = [await party.vendor.open_door(command(clock)) for _ in range(3)]
    await party.idle()

    assert [ack.outcome for ack in acks] == [Outcome.EXECUTED] * 3
    assert len({ack.vendor_order_no for ack in acks}) == 1
    assert party.unlocks("C1") == 1


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("is_done", [False, True])
async def test_without_a_clear_answer_nobody_knows_and_a_query_tells(
    party: Party, clock: Clock, how: str, is_done: bool
) -> None:
    party.add_cabinet("C1")
    party.spoil(how, is_done=is_done)

    ack = await party.vendor.open_door(command(clock))
    await party.idle()
    fact = await party.vendor.query_session("R1")

    assert ack == OpenAck(outcome=Outcome.UNKNOWN, reason=Reason.NO_ANSWER)
    assert party.unlocks("C1") == int(is_done)
    if is_done:
        assert fact.outcome is not Outcome.NOT_EXECUTED
        assert fact.state in {"pending", "unlocked"}
    else:
        # Whether it is too late for it to come yet is the caller's to know.
        assert (fact.outcome, fact.reason) == (Outcome.UNKNOWN, Reason.SESSION_UNKNOWN)


@pytest.mark.parametrize("how", SPOILT)
async def test_every_other_call_says_that_it_does_not_know(
    party: Party, clock: Clock, how: str
) -> None:
    party.add_cabinet("C1")
    vendor = party.vendor
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: vendor.status(["C1"]),
        lambda: vendor.query_session("R1"),
        lambda: vendor.query_order(session_no="S1"),
        lambda: vendor.list_orders(0, clock.now()),
        lambda: vendor.put_goods([]),
        lambda: vendor.unbind("C1", reason="moved"),
    ]

    for call in calls:
        party.spoil(how, is_done=False)
        with pytest.raises(VendorUnknown):
            await call()


async def test_a_platform_that_is_not_there_is_no_exception_of_an_opening(
    party: Party, clock: Clock
) -> None:
    await party.stop()

    ack = await party.vendor.open_door(command(clock))

    assert ack.outcome is Outcome.UNKNOWN
    with pytest.raises(VendorUnknown):
        await party.vendor.status(["C1"])
    await party.start()


async def test_a_clear_no_is_not_executed_and_says_why(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")
    party.add_cabinet("C2")
    party.disconnect("C2")

    nowhere = await party.vendor.open_door(command(clock, "R1", device_code="C9"))
    asleep = await party.vendor.open_door(command(clock, "R2", device_code="C2"))
    first = await party.vendor.open_door(command(clock, "R3"))
    busy = await party.vendor.open_door(command(clock, "R4"))
    await party.idle()

    assert nowhere == OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.DEVICE_UNKNOWN)
    assert asleep == OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.OFFLINE)
    assert first.outcome is Outcome.EXECUTED
    assert busy == OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.BUSY_SHOPPING)
    assert (party.unlocks("C1"), party.unlocks("C2")) == (1, 0)


async def test_a_command_that_has_expired_is_not_sent(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")

    ack = await party.vendor.open_door(command(clock, expires_at=clock.now()))

    assert ack == OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.EXPIRED)
    assert party.asked() == 0


async def test_a_shopping_ends_as_closed(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")
    await party.vendor.open_door(command(clock))
    await party.idle()

    party.shop("C1", {"cola": 1})
    await party.idle()
    fact = await party.vendor.query_session("R1")

    assert (fact.outcome, fact.state, fact.reason) == (Outcome.EXECUTED, "closed", Reason.NONE)
    assert fact.opened_at == fact.closed_at == clock.now()
    assert fact.vendor_order_no


async def test_an_unlocked_door_is_not_cancelled(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")
    await party.vendor.open_door(command(clock))
    await party.idle()
    party.shop("C1", {"cola": 1})

    assert await party.vendor.cancel_open("R1") is False


async def test_a_command_that_nobody_has_obeyed_is_cancelled(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")
    party.never_open()
    await party.vendor.open_door(command(clock))

    assert await party.vendor.cancel_open("R1") is True

    await party.idle()
    fact = await party.vendor.query_session("R1")
    assert (fact.outcome, fact.state) == (Outcome.NOT_EXECUTED, "failed")
    assert fact.unlocked_at is None


async def test_whether_a_door_may_be_opened_is_told_where_it_is_offered(party: Party) -> None:
    party.add_cabinet("C1")
    party.add_cabinet("C2")
    party.disconnect("C2")
    if not party.vendor.caps.can_open:
        with pytest.raises(VendorRefused, match="not offered"):
            await party.vendor.can_open("C1", 1, "shop")
        return

    assert await party.vendor.can_open("C1", 1, "shop") == port.CanOpen(can_open=True)
    assert await party.vendor.can_open("C2", 1, "shop") == port.CanOpen(
        can_open=False, reason=Reason.OFFLINE
    )


# ---------------------------------------------------------------- devices


async def test_a_device_is_shown_with_its_doors_and_one_unknown_is_left_out(
    party: Party, clock: Clock
) -> None:
    party.add_cabinet("C1", doors=2)
    party.add_cabinet("C2")
    party.disconnect("C2")
    await party.vendor.open_door(command(clock))
    await party.idle()

    one, two = await party.vendor.status(["C1", "C9", "C2"])

    assert (one.device_code, one.online, one.power) == ("C1", True, "mains")
    assert (two.device_code, two.online) == ("C2", False)
    assert isinstance(one.temp_c10, int)
    assert [(door.door_no, door.busy, door.door) for door in one.doors] == [
        (1, True, "closed"),
        (2, False, "closed"),
    ]
    assert one.doors[0].session_no == "SR1"
    assert await party.vendor.status(["C9"]) == []
    assert await party.vendor.status([]) == []


async def test_more_devices_than_one_request_takes_are_shown_all(party: Party) -> None:
    codes = [f"D{number}" for number in range(230)]
    for code in codes:
        party.add_cabinet(code)

    found = await party.vendor.status(codes)

    assert [fact.device_code for fact in found] == codes
    assert party.asked() == 3


async def test_a_device_is_bound_and_unbound(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1", doors=2)
    await party.vendor.unbind("C1", reason="moved")
    refused = await party.vendor.open_door(command(clock))

    bound = await party.vendor.bind(
        "C1", store_code="S2", name="Hall", doors={1: "q1", 2: "q2"}, contact_phone="10086"
    )

    assert refused == OpenAck(outcome=Outcome.NOT_EXECUTED, reason=Reason.DEVICE_NOT_BOUND)
    assert bound.doors == (1, 2)
    assert bound.bound_at == clock.now()
    assert (await party.vendor.open_door(command(clock))).outcome is Outcome.EXECUTED
    with pytest.raises(VendorRefused) as unknown:
        await party.vendor.bind("C9", store_code="S", name="", doors={1: "q"}, contact_phone="")
    assert unknown.value.reason is Reason.DEVICE_UNKNOWN


async def test_parameters_and_a_restart_are_passed_on(party: Party) -> None:
    party.add_cabinet("C1")

    await party.vendor.put_params(
        "C1", desired={"target_temp_c10": 55, "volume": 20, "colour": 3}, version=1
    )
    await party.vendor.put_params("C1", desired={}, version=2)
    await party.vendor.reboot("C1", reason="stuck")

    with pytest.raises(VendorRefused):
        await party.vendor.put_params("C9", desired={"volume": 1}, version=1)


# ---------------------------------------------------------------- orders


async def shopped(party: Party, clock: Clock, request_id: str = "R1") -> port.OrderFact:
    await party.vendor.open_door(command(clock, request_id))
    await party.idle()
    party.shop("C1", {"cola": 2, "tea": 1})
    await party.idle()
    order = await party.vendor.query_order(session_no=f"S{request_id}")
    assert order is not None
    return order


async def test_an_order_is_found_by_its_session_and_by_its_number(
    party: Party, clock: Clock
) -> None:
    party.add_cabinet("C1")

    order = await shopped(party, clock)

    assert (order.device_code, order.door_no, order.session_no) == ("C1", 1, "SR1")
    assert (order.request_id, order.rev, order.certainty) == ("R1", 1, port.Certainty.CERTAIN)
    assert {item.sku: (item.quantity, item.price_fen) for item in order.items} == {
        "cola": (2, 350),
        "tea": (1, 505),
    }
    assert order.total_fen == 1205
    assert order.closed_at == clock.now()
    by_number = await party.vendor.query_order(vendor_order_no=order.vendor_order_no)
    assert by_number == order
    assert await party.vendor.query_order(vendor_order_no="nothing") is None
    assert await party.vendor.query_order(session_no="nothing") is None


async def test_orders_are_listed_by_when_they_changed_page_after_page(
    party: Party, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.vendors.xiaomai.vendor.ORDERS_MAX", 2)
    if hasattr(party, "platform"):
        party.platform.page_size = 2
    party.add_cabinet("C1")
    numbers = [(await shopped(party, clock, f"R{n}")).vendor_order_no for n in range(3)]

    found, cursor, pages = [], "", 0
    while cursor or not pages:
        page = await party.vendor.list_orders(clock.now() - 1_000, clock.now() + 1_000, cursor)
        found += [order.vendor_order_no for order in page.orders]
        cursor, pages = page.next_cursor, pages + 1

    assert found == numbers
    assert pages == 2
    earlier = await party.vendor.list_orders(clock.now() - 2_000, clock.now() - 1_000)
    assert earlier == port.OrderPage(())


async def test_what_became_of_an_order_is_told_where_it_is_wanted(
    party: Party, clock: Clock
) -> None:
    party.add_cabinet("C1")
    order = await shopped(party, clock)
    result = port.OrderResult(
        vendor_order_no=order.vendor_order_no,
        order_no="O1",
        rev=1,
        result="paid",
        due_fen=1205,
        net_paid_fen=1205,
        items=order.items,
        at=clock.now(),
    )

    if party.vendor.caps.wants_confirm:
        await party.vendor.confirm_order(result)
        with pytest.raises(VendorRefused) as refused:
            await party.vendor.confirm_order(msgspec.structs.replace(result, vendor_order_no="no"))
        assert refused.value.reason is Reason.ORDER_UNKNOWN
    else:
        with pytest.raises(VendorRefused, match="not offered"):
            await party.vendor.confirm_order(result)


async def test_videos_are_fetched_where_they_are_offered(party: Party, clock: Clock) -> None:
    party.add_cabinet("C1")
    order = await shopped(party, clock)

    if party.vendor.caps.video_reupload:
        slices = await party.vendor.video_urls(order.vendor_order_no)
        await party.vendor.request_video(order.vendor_order_no, [1])
        assert slices
        assert all(one.url.startswith("http") and one.expires_at > clock.now() for one in slices)
    else:
        for call in (party.vendor.video_urls, party.vendor.request_video):
            with pytest.raises(VendorRefused, match="not offered"):
                await call(order.vendor_order_no)


# ---------------------------------------------------------------- goods


def good(sku: str) -> port.Good:
    return port.Good(sku=sku, barcode="69", name=sku, price_fen=300, weight_g=330, status=1)


async def test_each_of_the_goods_has_a_result_of_its_own(party: Party) -> None:
    party.refuse_good("beer")

    results = await party.vendor.put_goods([good("cola"), good("beer"), good("tea")])

    assert [(one.sku, one.reason) for one in results] == [
        ("cola", Reason.NONE),
        ("beer", Reason.GOODS_REJECTED),
        ("tea", Reason.NONE),
    ]
    assert results[1].text


async def test_a_layout_is_put_upon_the_one_it_was_made_from(party: Party) -> None:
    party.add_cabinet("C1")
    slot = Slot(
        door_no=1,
        layer=1,
        slot=1,
        sku="cola",
        price_fen=350,
        stock=5,
        capacity=9,
        expires_on=20261231,
    )

    await party.vendor.put_planogram("C1", version=5, base_version=0, slots=[slot])
    with pytest.raises(VendorRefused) as conflict:
        await party.vendor.put_planogram("C1", version=6, base_version=4, slots=[slot])

    assert (conflict.value.reason, conflict.value.detail) == (Reason.VERSION_CONFLICT, "5")
    with pytest.raises(VendorRefused) as unknown:
        await party.vendor.put_planogram("C9", version=1, base_version=0, slots=[])
    assert unknown.value.reason is Reason.DEVICE_UNKNOWN
    (device,) = await party.vendor.status(["C1"])
    assert device.planogram_version == 5


# ---------------------------------------------------------------- what it tells


async def handled(post: Post) -> list[tuple[str, dict[str, Any]]]:
    """What was handed on: the kind of each event, and the event."""
    await post.inbox.work_due()
    notes = await post.db.read(last_incidents, kind=NOTE)
    events = [msgspec.json.decode(note.raw) for note in reversed(notes)]
    return [(event["type"], event) for event in events]


async def test_a_shopping_is_told_in_order_and_kept(party: Party, post: Post, clock: Clock) -> None:
    party.add_cabinet("C1")

    order = await shopped(party, clock)

    events = await handled(post)
    kinds = [kind for kind, _ in events if kind in {"DoorOpened", "DoorClosed", "OrderPushed"}]
    assert kinds == ["DoorOpened", "DoorClosed", "OrderPushed"]
    for kind, event in events:
        assert event["device_code"] == "C1"
        if kind in kinds:
            assert (event["session_no"], event["request_id"]) == ("SR1", "R1")
            assert (event["door_no"], event["occurred_at"]) == (1, clock.now())
    told = msgspec.convert(dict(events)["OrderPushed"]["order"], port.OrderFact)
    known = msgspec.structs.replace(order, video=told.video)
    assert _plain(told) == _plain(known)
    assert set((await post.states()).values()) == {"done"}


def _plain(order: port.OrderFact) -> object:
    """Without what only one of an event and an answer says."""
    items = [(item.sku, item.quantity, item.price_fen) for item in order.items]
    return order.vendor_order_no, order.rev, order.certainty, order.total_fen, items


async def test_a_lie_about_an_order_is_worth_nothing(
    party: Party, post: Post, clock: Clock
) -> None:
    party.add_cabinet("C1")
    order = await shopped(party, clock)
    # Whoever knows all there is to know but what is never sent.
    lies = [
        party.event("order", "lie1", order_no=order.vendor_order_no, session_no="", total_fen=1),
        party.event("order", "lie2", order_no="none", session_no="none", total_fen=1),
    ]

    for lie in lies:
        headers = {"x-xm-sign": "0" * 64} if party.headers(lie) else {}
        await post.send(lie, party.headers(lie) | headers, path=party.path)

    orders = [event["order"] for kind, event in await handled(post) if kind == "OrderPushed"]
    assert orders
    assert {one["total_fen"] for one in orders} == {1205}
    states = await post.states()
    assert states.get("lie1", "done") == "done"
    assert states.get("lie2", "quarantined") == "quarantined"
    assert ("lie1" in states) is not party.vendor.caps.signed


async def test_a_hint_whose_vendor_does_not_answer_is_tried_again(
    party: Party, post: Post, clock: Clock
) -> None:
    if party.vendor.caps.signed:
        pytest.skip("its orders are taken as they are told")
    party.add_cabinet("C1")
    order = await shopped(party, clock)
    await handled(post)
    hint = party.event(
        "order", "hint", order_no=order.vendor_order_no, session_no="SR1", total_fen=1
    )
    await post.send(hint, {}, path=party.path)

    party.spoil("hang_up", is_done=False)
    await post.inbox.work_due()
    waiting = (await post.states())["hint"]
    clock.advance(seconds=1)
    await post.inbox.work_due()

    assert waiting == "new"
    assert (await post.states())["hint"] == "done"
    count = post.notes.handled
    await post.inbox.replay()
    assert post.notes.handled - count == len(await post.rows())


@pytest.mark.parametrize("wrong", ["path", "sign", "address"])
async def test_a_stranger_is_refused_and_leaves_nothing(
    party: Party, post: Post, wrong: str
) -> None:
    body = party.event("opened", "ev_1")
    path = party.path if wrong != "path" else party.path.replace("/events", "x/events")
    headers = party.headers(body)
    if wrong == "sign" and headers:
        headers["x-xm-sign"] = "0" * 64
    if (wrong == "sign") > party.vendor.caps.signed or (wrong == "address" and headers):
        pytest.skip("that is not what it is known by")

    if wrong == "address":
        with pytest.raises(BadCallback):
            verify(party, body, address="203.0.113.9")
        with pytest.raises(BadCallback):
            verify(party, body, address="unknown")
        return
    answer = await post.send(body, headers, path=path)

    assert answer.status in (401, 403)
    assert await post.rows() == []


def verify(party: Party, body: bytes, *, address: str = "127.0.0.1") -> port.Verified:
    return party.vendor.verify(
        endpoint_id=party.path.split("/")[3],
        headers=party.headers(body),
        path=party.path,
        query="",
        raw=body,
        now=1_795_147_200_000,
        address=address,
    )


async def test_no_secret_is_kept_with_an_event(party: Party) -> None:
    verified = verify(party, party.event("opened", "ev_1"))

    assert "secret" not in verified.endpoint_id
    assert verified.endpoint_id


async def test_a_type_nobody_knows_is_kept_and_quarantined(party: Party, post: Post) -> None:
    dance, known = party.event("dance", "ev_1"), party.event("opened", "ev_2")

    answers = [
        await post.send(body, party.headers(body), path=party.path)
        for body in (dance, known, dance)
    ]
    events = await handled(post)

    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].body == answers[2].body
    assert b"ev_1" in answers[0].body
    assert [kind for kind, _ in events] == ["DoorOpened"]
    assert await post.states() == {"ev_1": "quarantined", "ev_2": "done"}


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"{}", b'{"id":7,"event_id":7}'])
async def test_nonsense_is_kept_too(party: Party, post: Post, body: bytes) -> None:
    with pytest.raises(BadCallback):
        party.vendor.parse(body)

    answer = await post.send(body, party.headers(body), path=party.path)

    assert answer.status == 200
    assert set((await post.states()).values()) == {"quarantined"}


async def test_a_refusal_is_one_whatever_the_dialect(party: Party) -> None:
    vendor = party.vendor
    statuses = {
        kind.__name__: vendor.refuse(kind(), now=1)[0]
        for kind in (port.BadSignature, port.TooLarge, port.BadCallback)
    }
    busy, headers, _ = vendor.overloaded(retry_after_s=5)
    good, _, body = vendor.acknowledge("ev_1")

    assert statuses["BadSignature"] in (401, 403)
    assert (statuses["TooLarge"], statuses["BadCallback"]) == (413, 400)
    assert (busy, headers["Retry-After"]) == (503, "5")
    assert good == 200
    assert b"ev_1" in body
