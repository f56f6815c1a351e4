"""Doors that are opened first and paid for later, by Payscore."""

import pytest

from devices.sessions.model import DoorBusy, State
from payments.scores.model import ScoreOver, ScoreRefused
from payments.scores.store import want_cancel
from simulators.wechat.pay.faults import PayFault
from simulators.xiaomai import Fault
from tests.devices.flow.town import BEN, OPENID, Town


async def test_nothing_is_sent_before_the_person_has_confirmed(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")

    assert opened.session.state is State.REQUESTED
    assert opened.view is not None
    assert pay_town.asked("door/open") == 0
    await pay_town.confirm(opened)
    await pay_town.cabinets.run_due()
    session = await pay_town.session(opened)
    assert (session.state, session.sent_at) == (State.OPENING, pay_town.clock.now())
    assert pay_town.unlocked() == [session.no]


async def test_a_tap_before_the_confirmation_shows_the_same_again(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")

    again = await pay_town.open(pay_with="wechat")

    assert (again.session.id, again.session.state) == (opened.session.id, State.REQUESTED)
    assert again.view is not None
    assert again.view["businessType"] == opened.view["businessType"]  # type: ignore[index]


async def test_a_tap_after_a_confirmation_that_was_not_told_opens(pay_town: Town) -> None:
    assert pay_town.wechat is not None
    pay_town.wechat.pay.settings.is_blocked = True
    opened = await pay_town.open(pay_with="wechat")
    await pay_town.confirm(opened)
    assert await pay_town.state(opened) is State.REQUESTED

    again = await pay_town.open(pay_with="wechat")

    assert (again.session.id, again.session.state) == (opened.session.id, State.OPENING)
    assert again.view is None
    assert len(pay_town.unlocked()) == 1


async def test_who_does_not_confirm_in_two_minutes_is_let_go(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")
    await pay_town.pass_by(115)
    assert await pay_town.state(opened) is State.REQUESTED

    await pay_town.pass_by(10)

    found = await pay_town.session(opened)
    assert (found.state, found.fail_code) == (State.REJECTED, "not_confirmed")
    await pay_town.pass_by(200, step=50)
    assert (await pay_town.rows("payscore_orders"))[0]["phase"] == "cancelled"
    assert pay_town.unlocked() == []


async def test_who_needs_no_confirming_goes_straight_through(pay_town: Town) -> None:
    await permit(pay_town)

    opened = await pay_town.open(pay_with="wechat")

    assert (opened.session.state, opened.view) == (State.OPENING, None)
    assert pay_town.unlocked() == [opened.session.no]


async def test_who_is_not_trusted_is_refused_and_the_door_is_free(pay_town: Town) -> None:
    assert pay_town.wechat is not None
    await permit(pay_town)
    pay_town.wechat.pay.score.unfit.add(OPENID)

    with pytest.raises(ScoreRefused):
        await pay_town.open(pay_with="wechat")

    assert [row["state"] for row in await pay_town.rows("door_sessions")] == ["rejected"]
    await pay_town.grant(500, BEN)
    assert (await pay_town.open(BEN)).session.state is State.OPENING


async def test_when_wechat_does_not_answer_the_person_may_tap_again(pay_town: Town) -> None:
    assert pay_town.wechat is not None
    pay_town.wechat.pay.faults.add(PayFault(endpoint="*", kind="http_502", times=None))
    first = await pay_town.open(pay_with="wechat")
    assert (first.session.state, first.view) == (State.REQUESTED, None)

    pay_town.wechat.pay.faults.clear()
    await pay_town.turn(20)
    again = await pay_town.open(pay_with="wechat")

    assert again.session.id == first.session.id
    assert again.view is not None


async def test_a_score_that_is_over_opens_nothing(pay_town: Town) -> None:
    opened = await pay_town.open(pay_with="wechat")
    session = await pay_town.session(opened)
    await pay_town.db.write(want_cancel, session.score_no, "by hand")

    with pytest.raises(ScoreOver):
        await pay_town.open(pay_with="wechat")

    assert await pay_town.state(opened) is State.REJECTED


async def test_a_no_of_the_vendor_cancels_the_score(pay_town: Town) -> None:
    await permit(pay_town)
    pay_town.sim.dial.add(Fault(at="door/open", kind="code", code=2008))

    opened = await pay_town.open(pay_with="wechat")
    assert opened.session.state is State.REJECTED
    await pay_town.pass_by(30)

    assert (await pay_town.rows("payscore_orders"))[0]["phase"] == "cancelled"


async def test_a_door_is_one_person_s_while_the_other_confirms(pay_town: Town) -> None:
    await pay_town.open(pay_with="wechat")
    await pay_town.grant(500, BEN)

    with pytest.raises(DoorBusy):
        await pay_town.open(BEN)

    assert await pay_town.held(BEN) == 0


async def permit(town: Town) -> None:
    """The person lets us open Payscore orders without confirming each."""
    assert town.wechat is not None
    asked = await town.scores.ask_permission(7, openid=OPENID)
    permissions = town.wechat.pay.permissions
    permission = permissions.of_token(asked.view["extraData"]["apply_permissions_token"])
    permissions.grant(permission, OPENID)
    town.wechat.pay.permission_told(permission)
    await town.wechat.pay.notifier.idle()
