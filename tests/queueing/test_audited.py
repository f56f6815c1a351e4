"""What administrators do with stalls is written down, in the transaction that does it."""

from typing import Any

import msgspec
import pytest

from accounts.audit.model import Entry, Filter
from accounts.audit.service import Audit
from queueing.model import Actor, StallNotFound
from queueing.stalls.model import PhoneTaken
from tests.queueing.canteen import ADMIN, Canteen

BOSS = Actor("admin", account_id=900, session_id=90, address="203.0.113.9")
PHONE = "13800000001"


async def lines(canteen: Canteen) -> list[Entry]:
    """Oldest first."""
    _, found = await Audit(canteen.db).page(Filter(), offset=0, most=100)
    assert await Audit(canteen.db).verify() is None
    return found[::-1]


def told(entry: Entry) -> tuple[str, dict[str, Any], dict[str, Any]]:
    return entry.action, msgspec.json.decode(entry.before), msgspec.json.decode(entry.after)


async def test_each_act_is_a_line_with_before_and_after(canteen: Canteen) -> None:
    stalls = canteen.stalls
    made = await stalls.create({"name": "面", "phone": PHONE, "claim_code": "1"}, months=2, by=BOSS)
    await stalls.change(made.id, {"name": "粉", "claim_code": "2", "menu": ("粉",)}, by=BOSS)
    await stalls.renew(made.id, months=3, reason="cash", by=BOSS)
    await stalls.sign_up(Actor("seller", account_id=101), phone=PHONE, code="2")
    await stalls.release_sellers(made.id, by=BOSS)

    found = await lines(canteen)

    created, *others = map(told, found)
    assert created[:2] == ("stall.create", {})
    assert created[2]["claim_code"] == "****"
    assert (created[2]["phone"], created[2]["balance_months"]) == (PHONE, 2)
    assert others == [
        (
            "stall.change",
            {"claim_code": "****", "menu": [], "name": "面"},
            {"claim_code": "****", "menu": ["粉"], "name": "粉"},
        ),
        ("stall.renew", {"balance_months": 2}, {"balance_months": 5}),
        ("stall.release_sellers", {"sellers": [101]}, {"sellers": []}),
    ]
    assert {(each.actor, each.actor_id, each.address) for each in found} == {
        ("admin", 900, "203.0.113.0/24")
    }
    assert {each.subject for each in found} == {f"stall:{made.id}"}
    assert [each.reason for each in found] == ["", "", "cash", ""]


async def test_the_old_renewal_is_a_line_and_its_repeat_is_none(canteen: Canteen) -> None:
    for months in (3, 3, 2):
        await canteen.stalls.renew_by_phone(PHONE, months=months, by=ADMIN)

    found = [told(each) for each in await lines(canteen)]

    assert found == [
        ("stall.create", {}, {"balance_months": 3, "phone": PHONE}),
        ("stall.renew", {"balance_months": 3}, {"balance_months": 5}),
    ]


async def test_a_renewal_repeated_with_its_key_is_one_line(canteen: Canteen) -> None:
    made = await canteen.stalls.create({"phone": PHONE}, months=1, by=ADMIN)

    for _ in range(3):
        await canteen.stalls.renew(made.id, months=1, reason="cash", by=ADMIN, key="k")

    assert [each.action for each in await lines(canteen)] == ["stall.create", "stall.renew"]


async def test_what_is_refused_leaves_no_line(canteen: Canteen) -> None:
    await canteen.stalls.create({"phone": PHONE}, months=1, by=ADMIN)

    with pytest.raises(PhoneTaken):
        await canteen.stalls.create({"phone": PHONE}, months=1, by=ADMIN)
    with pytest.raises(StallNotFound):
        await canteen.stalls.change(77, {"name": "x"}, by=ADMIN)
    with pytest.raises(StallNotFound):
        await canteen.stalls.renew(77, months=1, reason="x", by=ADMIN)
    with pytest.raises(StallNotFound):
        await canteen.stalls.release_sellers(77, by=ADMIN)

    assert [each.action for each in await lines(canteen)] == ["stall.create"]


async def test_what_a_seller_does_is_no_line(canteen: Canteen) -> None:
    made = await canteen.stalls.create({"phone": PHONE}, months=1, by=ADMIN)
    seller = Actor("seller", account_id=101)
    await canteen.stalls.sign_up(seller, phone=PHONE)

    await canteen.stalls.change_own(seller, {"name": "粉"})

    assert [each.subject for each in await lines(canteen)] == [f"stall:{made.id}"]
