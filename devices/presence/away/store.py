"""Since when a vendor has not answered, whichever process asked it, and the one alert about it.

While it is away its devices are judged by what they say themselves. Those of whom nothing is
heard are offline, and a person is told once of the vendor, not of each of them.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update

from devices.fleet.model import Device
from devices.fleet.store import load_devices
from devices.presence.model import Times
from sql.alerts import clear_alert, open_alerts, raise_alert
from sql.tables.commerce import sync_cursors
from sql.tables.devices import devices
from sql.transaction import Tx, insert_missing

AWAY_ALERT: Final = "cabinet.vendor_away"

# A mark is there from the first question that was not answered to the first that was.
_MARK: Final = "presence.away:"
_name, _asked_at = sync_cursors.c.name, sync_cursors.c.changed_at


def note(tx: Tx, vendor: str, *, times: Times) -> None:
    """It did not answer; after a full beat of that a person is told."""
    row = {"name": _MARK + vendor, "cursor": str(tx.now), "changed_at": tx.now}
    insert_missing(tx, sync_cursors, [row])
    mine = _name == _MARK + vendor
    since = int(
        tx.execute(select(sync_cursors.c.cursor).where(mine).with_for_update()).scalar_one()
    )
    tx.execute(update(sync_cursors).where(mine).values(changed_at=tx.now))
    if tx.now - since >= times.beat_ms:
        minutes = (tx.now - since) // 60_000
        text = f"{vendor} has not said for {minutes} min how its cabinets are"
        raise_alert(tx, AWAY_ALERT, vendor, text)


def forget(tx: Tx, vendor: str) -> None:
    """It has answered, or there is nothing any more to ask it about."""
    if tx.execute(delete(sync_cursors).where(_name == _MARK + vendor)).rowcount:
        clear_alert(tx, AWAY_ALERT, vendor)


def told(tx: Tx) -> set[str]:
    """The vendors of whom a person was told that they are away."""
    return {alert.subject for alert in open_alerts(tx, AWAY_ALERT)}


def unasked(tx: Tx, *, times: Times) -> Sequence[str]:
    """The vendors away that nobody has asked for a beat, as none of their devices is in doubt."""
    marks = select(_name).where(
        _name.startswith(_MARK, autoescape=True), _asked_at <= tx.now - times.beat_ms
    )
    return [name.removeprefix(_MARK) for name in tx.execute(marks).scalars()]


def claim(tx: Tx, vendor: str, *, times: Times) -> Device | None:
    """A device to ask such a vendor about, for the first process that wants to."""
    due = (_name == _MARK + vendor) & (_asked_at <= tx.now - times.beat_ms)
    if not tx.execute(update(sync_cursors).where(due).values(changed_at=tx.now)).rowcount:
        return None
    mine = devices.c.vendor == vendor, devices.c.status == "bound"
    first = select(devices.c.id).where(*mine).order_by(devices.c.id).limit(1)
    found = list(load_devices(tx, tx.execute(first).scalars()).values())
    if not found:
        forget(tx, vendor)
    return found[0] if found else None
