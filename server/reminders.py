"""From a called number nobody acknowledged to the message its diner granted."""

from collections.abc import Mapping
from typing import Any

from accounts.messages import SubscribeMessage
from queueing.calendar import beijing_minute


def reminder_message(
    payload: Mapping[str, Any], *, fields: Mapping[str, str], page: str, hint: str
) -> SubscribeMessage:
    """fields: the template's own names, each with what goes into it (see server/config.py)."""
    values = {
        "stall": payload["stall"],
        "number": f"{payload['number']:02d}",
        "note": payload["note"],
        "called_at": beijing_minute(payload["called_at"]),
        "hint": hint,
    }
    return SubscribeMessage(
        account_id=payload["account_id"],
        template=payload["template"],
        page=f"{page}?sellerId={payload['stall_id']}&ticketId={payload['ticket_id']}",
        data={name: values[source] for name, source in fields.items()},
    )
