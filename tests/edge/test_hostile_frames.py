"""Frames of every kind to both sockets: answered or closed, and the next connection works.

Each round draws its frames from dice whose seed is printed with a failure.
"""

import random
from typing import Any

import pytest

from handlers.framing import text_frame, unmasked
from tests.edge.nonsense import BROKEN, Nonsense
from tests.edge.test_hostile_http import OLD_FIELDS
from tests.edge.world import World
from tests.handlers.live import Client, Closed, masked

FAST = 600
ROUND = 200

# What a connection may be closed with by a frame of its client.
# 1006: reset, where more was on its way when we had closed; 0: a close frame without a code.
CODES = {1000, 1001, 1002, 1003, 1006, 1007, 1008, 1009, 4401, 4429, 0}

GOOD: dict[str, dict[str, Any]] = {
    "auth": {"token": "x", "board": False},
    "subscribe": {"topic": "stall:1", "since": {"epoch": "e", "seq": 1}},
    "unsubscribe": {"topic": "stall:1"},
    "ack": {"topic": "ticket:4294967297", "seq": 1},
    "ping": {},
    "ticket.follow": {"stall_id": 1, "number": 1, "note": "noodles", "grant": "", "key": "k"},
    "ticket.issue": {"stall_id": 1, "key": "k"},
    "ticket.call_next": {"stall_id": 1, "key": "k"},
}
OF_TICKET = {"ticket_id": 4294967297, "key": "k"}


def check_code(closed: Closed, what: str) -> None:
    # A client's own goodbye is answered in kind.
    assert closed.code in CODES or 3000 <= closed.code <= 4999, f"{closed.code}: {what}"


class Attack:
    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.nonsense = Nonsense(dice)
        self.types = [*world.app.desk._readers, "ping"]
        self.queries = [*world.app.dialect._queries, "login", "hello", "accessToken", ""]

    async def run(self, connections: int) -> None:
        for nth in range(connections):
            attack = self.attack_new if self.dice.random() < 0.75 else self.attack_old
            await attack(nth)
            if nth % 50 == 0:
                await self.is_well()
        await self.is_well()

    # ------------------------------------------------------------ our own socket

    async def attack_new(self, nth: int) -> None:
        client = await Client.connect(self.world.app.port)
        try:
            await self.introduce(client)
            sent = [self.frame() for _ in range(self.dice.randrange(1, 8))]
            for frame in sent:
                client.send_bytes(frame)
            client.send(id="the end", type="ping")
            await self.until_end(client, f"{nth}: {[frame[:400] for frame in sent]}")
        finally:
            client.hang_up()

    async def introduce(self, client: Client) -> None:
        who = self.dice.choice(["admin", "seller", "diner", "board", "expired", "none"])
        if who == "board":
            client.send(id=0, type="auth", board=True)
        elif who != "none":
            client.send(id=0, type="auth", token=self.world.people[who].token)

    async def until_end(self, client: Client, what: str) -> None:
        """Answered to the end, or closed; what begins and does not end is for the other to end."""
        try:
            while (message := await client.message()).get("id") != "the end":
                self.judge(message, what)
        except Closed as closed:
            check_code(closed, what)

    def judge(self, message: dict[str, Any], what: str) -> None:
        text = str(message)
        assert message["type"] in {"hello", "result", "pong", "event"}, f"{text} to {what}"
        assert "Traceback" not in text, what
        if message["type"] == "result" and not message["ok"]:
            assert message["error"]["code"] not in {"internal", ""}, f"{text} to {what}"

    def frame(self) -> bytes:
        chance = self.dice.random()
        if chance < 0.75:
            return self.whole(self.message())
        if chance < 0.85:
            return self.whole(self.dice.choice(BROKEN))
        if chance < 0.9:
            return self.in_pieces(self.message())
        return self.broken()

    def message(self) -> bytes:
        kind = self.dice.choice(self.types)
        good = {"type": kind, "id": 1, **GOOD.get(kind, OF_TICKET)}
        if self.dice.random() < 0.3:
            good["id"] = self.nonsense.id()
        if self.dice.random() < 0.1:
            good["type"] = self.nonsense.value()
        if self.dice.random() < 0.1:
            return self.nonsense.json(self.nonsense.value())
        # A key that may follow the envelope is never spoilt into another "type".
        return self.nonsense.json(self.nonsense.spoilt(good, keep=("type", "id")))

    def whole(self, payload: bytes) -> bytes:
        return masked(text_frame(payload), self.dice.randbytes(4))

    def in_pieces(self, payload: bytes) -> bytes:
        cut = self.dice.randrange(len(payload) + 1)
        parts = [payload[:cut], payload[cut:]]
        between = self.dice.choice([b"", self.head(0x89, b"?"), self.head(0x8A, b"")])
        last = 0x80 if self.dice.random() < 0.9 else self.dice.choice([0x00, 0x81, 0x01])
        return self.head(0x01, parts[0]) + between + self.head(last, parts[1])

    def broken(self) -> bytes:
        """Any first byte, any claim about the length, masked or not."""
        first = self.dice.randrange(256)
        payload = self.dice.randbytes(self.dice.choice([0, 1, 2, 125, 126, 300]))
        if self.dice.random() < 0.3:
            return text_frame(payload)
        return self.head(first, payload)

    def head(self, first: int, payload: bytes) -> bytes:
        frame = text_frame(payload)
        frame = bytes([first]) + frame[1:]
        start = len(frame) - len(payload)
        mask = self.dice.randbytes(4)
        return bytes([frame[0], frame[1] | 0x80]) + frame[2:start] + mask + unmasked(payload, mask)

    # ------------------------------------------------------------ the old one

    async def attack_old(self, nth: int) -> None:
        client = await Client.connect(self.world.app.port, path=self.dice.choice(["/", "/ws"]))
        try:
            who = self.world.people[self.dice.choice(["admin", "seller", "diner", "none"])]
            client.send(query="login", sessionKey=who.key)
            sent = [self.old_frame() for _ in range(self.dice.randrange(1, 8))]
            for frame in sent:
                client.send_bytes(frame)
            what = f"{nth}: {[frame[:400] for frame in sent]}"
            for _ in range(len(sent) + 1):
                self.judge_old(await client.frame(), what)
        except Closed as closed:
            check_code(closed, f"{nth}")
        finally:
            client.hang_up()

    def old_frame(self) -> bytes:
        if self.dice.random() < 0.2:
            # Beyond 16 KiB the socket is closed, which is tried on our own.
            return self.whole(self.dice.choice([b for b in BROKEN if len(b) < 16_000]))
        query = self.dice.choice(self.queries)
        return self.whole(self.nonsense.json(self.nonsense.spoilt({**OLD_FIELDS, "query": query})))

    def judge_old(self, frame: tuple[int, bytes], what: str) -> None:
        opcode, payload = frame
        if opcode == 8:
            raise Closed(int.from_bytes(payload[:2], "big"))
        assert opcode == 1, what
        assert b"server" not in payload, f"{payload!r} to {what}"
        assert b"Server" not in payload, f"{payload!r} to {what}"

    async def is_well(self) -> None:
        """An ordinary client is served as ever."""
        seller = await (await Client.connect(self.world.app.port)).sign_in(
            self.world.people["seller"].token
        )
        issued = await seller.ask("ticket.issue", stall_id=self.world.stall_a)
        assert issued["ok"], issued
        assert (await seller.ask("ticket.cancel", ticket_id=issued["data"]["id"]))["ok"]
        await seller.leave()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_hostile_frame_is_answered_or_ends_its_own_connection(
    world: World, dice: random.Random
) -> None:
    await Attack(world, dice).run(FAST)


@pytest.mark.torture
@pytest.mark.timeout(0)
async def test_many_hostile_frames_end_only_their_own_connections(
    world: World, dice: random.Random, torture_rounds: int
) -> None:
    for _ in range(torture_rounds):
        await Attack(world, dice).run(ROUND)


@pytest.mark.parametrize("value", [1, 1.5, "x", "", None, True, [1], {"a": 1}, "i" * 64], ids=repr)
async def test_an_id_comes_back_as_it_was_or_is_refused(world: World, value: object) -> None:
    client = await (await Client.connect(world.app.port)).as_board()

    client.send(id=value, type="ping")
    answer = await client.message()

    if isinstance(value, int | str) and not isinstance(value, bool):
        assert answer == {"id": value, "type": "pong"}
    elif value is None:
        assert answer["type"] == "pong"
    else:
        assert answer["error"]["code"] == "frame.invalid"
    await client.leave()
