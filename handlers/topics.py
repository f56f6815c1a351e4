"""Topics: names a client may listen to, each a view of one stream.

| topic           | stream         | sees                                             |
|-----------------|----------------|--------------------------------------------------|
| stall:7         | stall:7        | what everyone may see                            |
| stall:7:staff   | stall:7        | all of it, with notes and reached marks          |
| ticket:ID       | its stall's    | all of it, but only the events of this ticket    |
| me              | account:ID     | all of it                                        |
| cabinets        | cabinets       | all of it                                        |
| cabinet:ID      | cabinet:ID     | all of it                                        |
| door:ID         | door:ID        | all of it                                        |
| auction-item:ID | auction-item:ID| what everyone may see                            |
"""

import re
from typing import Final

import msgspec

from sql.events import Event


class TopicNotFound(Exception):
    """There is no such topic, or it is another's: the two look alike from outside."""

    code = "topic.not_found"
    title = "There is no such topic for you"


class Topic(msgspec.Struct, frozen=True):
    """What one subscription shows of which stream.

    subject: only events of it, when it is not 0. is_public: also for who has not signed in;
    what a public topic shows holds no person and no note.
    """

    name: str
    stream: str
    is_public: bool = False
    subject: int = 0


_TOPIC: Final = re.compile(
    r"(stall|ticket|cabinet|door|auction-item):([1-9][0-9]{0,17})(:staff)?", re.ASCII
)


def find_topic(name: str, account_id: int | None) -> Topic:
    """The topic of that name for that account (None: not signed in). Raises TopicNotFound.

    Says nothing about whether the account may listen to it.
    """
    if name == "me" and account_id is not None:
        return Topic(name, f"account:{account_id}")
    if name == "cabinets":
        return Topic(name, name)
    match = _TOPIC.fullmatch(name)
    if match is None:
        raise TopicNotFound(name[:64])
    kind, number, staff = match.groups()
    if kind == "stall":
        return Topic(name, f"stall:{number}", is_public=staff is None)
    if staff:
        raise TopicNotFound(name)
    if kind == "ticket":
        return _ticket(name, int(number))
    return Topic(name, name, is_public=kind == "auction-item")


def _ticket(name: str, ticket_id: int) -> Topic:
    # The upper half of a ticket's id is its stall, so no query is needed to find its stream.
    stall_id = ticket_id >> 32
    if not stall_id:
        raise TopicNotFound(name)
    return Topic(name, f"stall:{stall_id}", subject=ticket_id)


def redacted(event: Event, *, is_public: bool) -> tuple[str, bytes]:
    """Name and JSON data of an event as a view shows it.

    An event only staff may know of still takes its seq in the public view, as «quiet» and empty,
    so that the seq has no gap that a client would take for a loss.
    """
    if not is_public:
        return event.name, event.private or event.data or b"{}"
    if event.data:
        return event.name, event.data
    return f"{event.stream.partition(':')[0]}.quiet", b"{}"
