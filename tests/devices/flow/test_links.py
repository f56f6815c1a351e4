"""A door that is open while its cabinet is silent."""

from devices.desk import store as desk
from devices.flow.links import KIND, _put_on_desk
from devices.flow.service import Cabinets
from devices.sessions.model import State
from tests.devices.flow.town import CODES, RULES, Town, set_device


async def opened(town: Town) -> int:
    await town.grant(500)
    session = (await town.open()).session
    await town.hear()
    town.sim.cabinet("XM-1").pull()
    await town.hear()
    assert await town.state(session) is State.OPEN
    return session.id


async def fall_silent(town: Town) -> None:
    await town.db.write(set_device, 1, link="offline", link_since=town.clock.now())


async def test_silence_that_we_found_out_is_on_the_desk_until_it_ends(town: Town) -> None:
    session_id = await opened(town)
    await fall_silent(town)

    await town.cabinets.run_due()
    await town.cabinets.run_due()

    assert await town.desk() == [(KIND, f"session:{session_id}")]
    assert await town.held() > 0
    await town.db.write(set_device, 1, link="online", link_since=town.clock.now())
    await town.cabinets.run_due()
    assert await town.desk() == []
    assert await town.state(session_id) is State.OPEN


async def test_whoever_has_closed_it_is_not_told_again_of_the_same_silence(one_town: Town) -> None:
    session_id = await opened(one_town)
    await fall_silent(one_town)
    await one_town.cabinets.run_due()
    await one_town.db.write(desk.clear_exception, KIND, f"session:{session_id}", "seen")

    await one_town.cabinets.run_due()
    assert await one_town.desk() == []

    one_town.clock.advance(seconds=60)
    await fall_silent(one_town)
    await one_town.cabinets.run_due()
    assert await one_town.desk() == [(KIND, f"session:{session_id}")]


async def test_a_process_that_begins_later_clears_what_another_has_put_there(
    one_town: Town,
) -> None:
    await opened(one_town)
    await fall_silent(one_town)
    await one_town.cabinets.run_due()
    await one_town.db.write(set_device, 1, link="online", link_since=one_town.clock.now())

    later = Cabinets(one_town.db, one_town.vendors, CODES, scores=one_town.scores, rules=RULES)
    await later.run_due()

    assert await one_town.desk() == []


async def test_what_has_changed_meanwhile_is_left_alone(one_town: Town) -> None:
    session_id = await opened(one_town)

    await one_town.db.write(_put_on_desk, session_id)

    assert await one_town.desk() == []
