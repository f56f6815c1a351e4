"""Clients that issue, call and finish as fast as they are answered, and remember everything."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.cluster import Cluster, Node, all_of
from tests.chaos.database import Books
from tests.chaos.people import Person, Refused, Socket, Unknown, open_stall

# What the server says when it can do nothing just now; the same key is sent again.
NOT_NOW = {"database.unavailable", "database.overloaded", "database.commit_unknown"}

_keys = itertools.count(1)


@dataclass
class Wish:
    """One command with its key. answer: None while nobody knows what became of it."""

    verb: str
    fields: dict[str, Any]
    key: str = field(default_factory=lambda: f"key-{next(_keys)}")
    answer: dict[str, Any] | None = None
    sent: int = 0
    # The server said that nothing was changed.
    is_refused: bool = False

    async def send(self, socket: Socket) -> dict[str, Any]:
        """Raises Unknown, Refused."""
        self.sent += 1
        answer: dict[str, Any] = await socket.ask(
            f"ticket.{self.verb}", key=self.key, **self.fields
        )
        assert self.answer in (None, answer), f"one key, two answers: {self.answer}, {answer}"
        self.answer = answer
        return answer


class Load:
    """Four stalls, four tablets each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.sellers: list[tuple[int, Person]] = []
        self.sockets: list[Socket] = []
        self._held: set[tuple[int, int]] = set()
        self.wishes: list[Wish] = []
        self.twice_live: list[tuple[int, int]] = []
        self.refused: set[str] = set()

    async def open(self, node: Node, *, stalls: int = 4) -> None:
        for _ in range(stalls):
            self.sellers.append(await open_stall(self._cluster, node, double_tap_s=0))

    async def connect(self, node: Node, *, each: int = 4) -> None:
        """With the sessions they have had all along."""
        self.sockets = await all_of(
            person.socket(node) for _, person in self.sellers for _ in range(each)
        )

    def start(self) -> "asyncio.Task[list[None]]":
        """Go on until the server is gone, which ends the task."""
        places = [stall_id for stall_id in self._stall_ids() for _ in range(self._each())]
        return asyncio.create_task(
            all_of(
                self._serve(socket, stall_id)
                for socket, stall_id in zip(self.sockets, places, strict=True)
            )
        )

    async def _serve(self, socket: Socket, stall_id: int) -> None:
        try:
            while True:
                await self._one_customer(socket, stall_id)
        except Unknown:
            return

    async def _one_customer(self, socket: Socket, stall_id: int) -> None:
        ticket = await self._do(socket, Wish("issue", {"stall_id": stall_id}))
        if ticket is None:
            return
        place = (stall_id, ticket["number"])
        if place in self._held:
            self.twice_live.append(place)
        self._held.add(place)
        await self._do(socket, Wish("call", {"ticket_id": ticket["id"]}))
        # From here on the number may be given out again, whatever is answered.
        self._held.discard(place)
        await self._do(socket, Wish("finish", {"ticket_id": ticket["id"]}))

    async def _do(self, socket: Socket, wish: Wish) -> dict[str, Any] | None:
        self.wishes.append(wish)
        try:
            return await wish.send(socket)
        except Refused as refused:
            self.refused.add(refused.code)
            wish.is_refused = True
            return None

    @property
    def unknown(self) -> list[Wish]:
        return [wish for wish in self.wishes if wish.answer is None and not wish.is_refused]

    async def resend(self) -> None:
        """Ask again, with the same keys, for what nobody knows the outcome of."""
        of_stall = dict(zip(self._stall_ids(), self.sockets[:: self._each()], strict=True))
        for wish in self.unknown:
            stall_id = wish.fields.get("stall_id") or wish.fields["ticket_id"] >> 32
            await wish.send(of_stall[stall_id])
            await wish.send(of_stall[stall_id])
        self._held.clear()

    def _each(self) -> int:
        return len(self.sockets) // len(self.sellers)

    def _stall_ids(self) -> list[int]:
        return [stall_id for stall_id, _ in self.sellers]

    # ------------------------------------------------------------ what must be in the database

    def breaches(self, books: Books) -> Iterator[str]:
        """What was promised in an answer and is not there, or is there twice."""
        tickets = {row[0]: row[1:] for row in books.rows("SELECT id, number, status FROM tickets")}
        told = {
            (name, subject): count
            for name, subject, count in books.rows(
                "SELECT name, subject, COUNT(*) FROM events WHERE subject <> 0"
                " GROUP BY name, subject"
            )
        }
        names = {"issue": "ticket.issued", "call": "ticket.called", "finish": "ticket.finished"}
        for wish in self.wishes:
            if wish.answer is None:
                continue
            ticket_id = wish.answer["id"]
            if told.get((names[wish.verb], ticket_id), 0) != 1:
                yield f"{wish} is there {told.get((names[wish.verb], ticket_id), 0)} times"
            if tickets.get(ticket_id, (None,))[0] != wish.answer["number"]:
                yield f"{wish} has another number in the table"
            if wish.verb == "finish" and tickets[ticket_id][1] != "finished":
                yield f"{wish} is {tickets[ticket_id][1]}"
        yield from self._breaches_in_number(len(tickets))
        for name, what in (
            ("torn", books.torn_streams()),
            ("live twice", books.twice_live()),
            ("given out while live", self.twice_live),
        ):
            if what:
                yield f"{name}: {what}"

    def _breaches_in_number(self, tickets: int) -> Iterator[str]:
        issues = [wish for wish in self.wishes if wish.verb == "issue" and not wish.is_refused]
        answered = {wish.answer["id"] for wish in issues if wish.answer is not None}
        unknown = sum(wish.answer is None for wish in issues)
        if len(answered) != len(issues) - unknown:
            yield "two keys were given one ticket"
        if not len(answered) <= tickets <= len(answered) + unknown:
            yield f"{tickets} tickets for {len(answered)} answers and {unknown} unknown outcomes"
