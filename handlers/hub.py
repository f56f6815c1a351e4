"""Who listens to which topic: streams, live events, and coming back.

One per process and event loop. The database tells it what was committed here (`tell`), Redis
that something was committed elsewhere (`doorbell`), and a slow poll what both may have missed
(`check`); a client is told every event of its topic, in order, once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from accounts.model import Session
from handlers.channel import MISSED_MAX, Channel, Missed, Subscription, Told
from handlers.clients import Clients
from handlers.errors import Problem
from handlers.frames import Since, event_item
from handlers.topics import Topic
from handlers.transport import Counters, Transport
from sql.events import Event, Head

Snapshot = Callable[[Topic, Session | None], Awaitable[tuple[Head, dict[str, Any]]]]

# A stream nobody listens to is remembered this long, for those who only changed the network.
KEEP_S: Final = 600
# Reading a stream's place takes a millisecond; that RING events happen meanwhile, thrice, does not
# happen on a stall.
TRIES: Final = 3


class Answer(msgspec.Struct, frozen=True):
    """What a subscribe is answered: all that was missed, or a picture of now."""

    epoch: str
    seq: int
    recovered: bool
    events: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    snapshot: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Hub:
    """missed and snapshot read the database; see handlers/channel.py and server/app.py."""

    def __init__(
        self,
        *,
        missed: Missed,
        snapshot: Snapshot,
        now: Callable[[], int],
        counters: Counters | None = None,
    ) -> None:
        self.clients = Clients()
        self.counters = counters or Counters()
        self._missed = missed
        self._snapshot = snapshot
        self._now = now
        self._channels: dict[str, Channel] = {}

    # ------------------------------------------------------------ what is told

    def tell(self, events: Iterable[Event]) -> None:
        """Events that were committed, in commit order; repeats do no harm."""
        for event in events:
            channel = self._channels.get(event.stream)
            if channel is not None:
                channel.hear(event)

    def doorbell(self, stream: str, seq: int) -> None:
        """Another process says that a stream is at seq now."""
        channel = self._channels.get(stream)
        if channel is not None:
            channel.hear_of(seq)

    def streams(self) -> list[str]:
        """What somebody listens to here: what the slow poll has to ask for."""
        return [name for name, channel in self._channels.items() if channel.is_heard]

    def check(self, heads: Mapping[str, Head]) -> None:
        """Where streams stand in the database, for what no doorbell told."""
        for name, head in heads.items():
            channel = self._channels.get(name)
            if channel is not None:
                channel.learn(head)

    def sweep(self) -> None:
        """Forget streams nobody has listened to for a while."""
        long_ago = self._now() - KEEP_S * 1000
        self._channels = {
            name: channel
            for name, channel in self._channels.items()
            if channel.is_heard or channel.idle_since > long_ago
        }

    def end_session(self, session_id: int) -> None:
        """Close every connection of a session that has ended (4401)."""
        self.clients.end_session(session_id)

    def close(self) -> None:
        """Send everyone away: they come back to the next process (1012)."""
        self.clients.close_all()

    # ------------------------------------------------------------ who listens

    async def join(
        self, transport: Transport, topic: Topic, session: Session | None, since: Since | None
    ) -> tuple[Subscription, Answer]:
        """Prepare a subscription. It is silent until `start`, which must come in the same step
        as the sending of the answer, with nothing awaited in between.

        Then no event is lost or doubled between the two: the answer tells all up to its seq, and
        what came while the database was read is in memory.
        """
        channel = self._channel(topic.stream)
        subscription = channel.add(topic, transport)
        try:
            return subscription, await self._answer(channel, topic, session, since)
        except BaseException:
            self.leave(subscription)
            raise

    def start(self, subscription: Subscription, answer: Answer) -> None:
        self._channel(subscription.topic.stream).start(subscription, answer.seq)

    def leave(self, subscription: Subscription) -> None:
        """May be repeated."""
        channel = self._channels.get(subscription.topic.stream)
        if channel is not None:
            channel.remove(subscription, self._now())

    def _channel(self, stream: str) -> Channel:
        channel = self._channels.get(stream)
        if channel is None:
            channel = Channel(stream, self._missed, self.counters, self._now())
            self._channels[stream] = channel
        return channel

    async def _answer(
        self, channel: Channel, topic: Topic, session: Session | None, since: Since | None
    ) -> Answer:
        for _ in range(TRIES):
            answer = await self._recovered(channel, topic, since) if since else None
            if answer is None:
                answer = await self._pictured(channel, topic, session)
            if channel.head <= answer.seq or channel.covers(answer.seq):
                return answer
        raise Problem(503, "stream.busy", "Too much is happening here. Try again in a moment.")

    async def _recovered(self, channel: Channel, topic: Topic, since: Since) -> Answer | None:
        """What was missed, from memory where possible; None if that cannot be told."""
        if channel.epoch is None:
            await channel.load(since.seq)
        if channel.epoch != since.epoch or channel.head - since.seq > MISSED_MAX:
            return None
        if channel.covers(since.seq):
            rests = [
                told.rest(is_public=topic.is_public) for told in channel.since(since.seq, topic)
            ]
            return _recovery(since.epoch, channel.head, rests)
        head, events = await self._missed(topic.stream, since.seq, MISSED_MAX, topic.subject)
        if head is None or head.epoch != since.epoch:
            return None
        if not since.seq <= head.seq <= since.seq + MISSED_MAX:
            return None
        channel.learn(head)
        return _recovery(
            head.epoch,
            head.seq,
            [Told(event).rest(is_public=topic.is_public) for event in events],
        )

    async def _pictured(self, channel: Channel, topic: Topic, session: Session | None) -> Answer:
        head, picture = await self._snapshot(topic, session)
        channel.learn(head)
        return Answer(head.epoch, head.seq, recovered=False, snapshot=picture)


def _recovery(epoch: str, seq: int, rests: Iterable[bytes]) -> Answer:
    return Answer(epoch, seq, recovered=True, events=[event_item(rest) for rest in rests])
