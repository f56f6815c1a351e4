"""Doors in use at cabinets that fell silent: a person knows of them until they are heard again.

A vendor that says so itself is heeded at once (events.py); this is for silence that we have found
out ourselves, and for cabinets that speak again without a word of having been away.
"""

from typing import Final

from devices.desk import store as desk
from devices.fleet.store import load_device
from devices.flow import steps
from devices.flow.store import InUse, doors_in_use
from devices.sessions import store as sessions
from devices.sessions.model import State
from sql.database import Database, Tx

KIND: Final = "offline"
IN_USE: Final = (State.OPENING, State.OPEN)


class Links:
    """What this process has put on the desk already: whoever closes it there is not told again."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._told: set[InUse] = set()

    async def look(self) -> None:
        doors, on_desk = await self._db.read(_look)
        self._told &= set(doors)
        for each in doors:
            if each.link == "offline" and each not in self._told:
                await self._db.write(_put_on_desk, each.session_id)
                self._told.add(each)
            elif each.link == "online" and each.session_id in on_desk:
                await self._db.write(_clear, each.session_id)


def _look(tx: Tx) -> tuple[list[InUse], set[int]]:
    """The doors in use, and which of the sessions are on the desk for their cabinets' silence."""
    doors = doors_in_use(tx, IN_USE)
    there = {f"session:{each.session_id}": each.session_id for each in doors}
    return doors, {there[subject] for subject in desk.are_open(tx, KIND, there)}


def _put_on_desk(tx: Tx, session_id: int) -> None:
    session = sessions.load(tx, session_id, lock=True)
    device = load_device(tx, session.device_id)
    if session.state in IN_USE and device.link == "offline":
        text = f"{device.code} is silent while door {session.door_no} is {session.state}"
        steps.put_on_desk(tx, session, KIND, text, severity="medium")


def _clear(tx: Tx, session_id: int) -> None:
    steps.clear(tx, sessions.load(tx, session_id, lock=True), KIND)
