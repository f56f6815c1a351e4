"""One stream as the hub holds it: where it stands, its last events, and who listens.

The database has the stream; this is its tail in memory. An event is taken when it is the next
one, and is not taken twice; when one is missing in between (another process wrote it), the
database is asked, and what came meanwhile comes from there too. So listeners get every event in
order, and nothing but the tail is ever kept.
"""

import asyncio
import logging
import sys
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from handlers.frames import event_frame, event_rest, event_start
from handlers.topics import Topic, redacted
from handlers.transport import Counters, Transport
from sql.events import Event, Head

log = logging.getLogger(__name__)

# A rush hour of a busy stall is some 20 events a minute: a phone that was away for ten minutes
# comes back without a query. 256 events take about 100 KB.
RING: Final = 256
# Who missed more is better served by a snapshot.
MISSED_MAX: Final = 1000
# What is read at once while catching up: some 40 KB of frames, so that a client that keeps up has
# read them before the next come, and none is taken for slow.
PORTION: Final = 200
# A send takes some 5 µs: other connections wait at most 3 ms for a slice of a large fan-out.
SLICE: Final = 500

RESTARTING: Final = 1012

# The epoch of a stream nobody has written to: its first event names the true one.
UNWRITTEN: Final = "0"

# As a subscription's seq: it gets nothing (its answer is not sent yet, or it has left).
_PARKED: Final = sys.maxsize

Missed = Callable[[str, int, int, int], Awaitable[tuple[Head | None, list[Event]]]]


class Subscription:
    """One connection's interest in one topic; seq is the last event it was sent."""

    __slots__ = ("seq", "topic", "transport")

    def __init__(self, topic: Topic, transport: Transport) -> None:
        self.topic = topic
        self.transport = transport
        self.seq = _PARKED


class Told:
    """An event in the ring, with its encoding per audience, made when first needed."""

    __slots__ = ("_rests", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._rests: list[bytes | None] = [None, None]

    def rest(self, *, is_public: bool) -> bytes:
        rest = self._rests[is_public]
        if rest is None:
            name, data = redacted(self.event, is_public=is_public)
            rest = self._rests[is_public] = event_rest(self.event, name, data)
        return rest


class View:
    """What one topic shows, and who watches it."""

    __slots__ = ("_start", "subscriptions", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.subscriptions: set[Subscription] = set()
        self._start = (b"", "")

    def frames(self, tolds: Iterable[Told]) -> bytes:
        """The frames of some events, one behind the other, ready for any socket."""
        return b"".join(
            event_frame(
                self._start_for(told.event.epoch), told.rest(is_public=self.topic.is_public)
            )
            for told in tolds
        )

    def _start_for(self, epoch: str) -> bytes:
        start, of_epoch = self._start
        if of_epoch != epoch:
            start = event_start(self.topic.name, epoch)
            self._start = (start, epoch)
        return start


class Channel:
    """Raises nothing: what fails while catching up is logged, and tried again when next told."""

    def __init__(self, name: str, missed: Missed, counters: Counters, now: int) -> None:
        self.name = name
        self.head = 0
        # None: not known yet, or not any more.
        self.epoch: str | None = None
        self.idle_since = now
        self._missed = missed
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        # The events up to head, without a gap.
        self._ring: deque[Told] = deque(maxlen=RING)
        # The last seq anybody told us of; the database is asked while head is less.
        self._rumoured = 0
        self._views: dict[tuple[bool, int], View] = {}
        self._loading: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        # Events in the ring that were not offered to the listeners yet.
        self._waiting: list[Told] = []
        self._delivery: Iterator[None] | None = None

    # ------------------------------------------------------------ what is told

    def hear(self, event: Event) -> None:
        """An event was committed, here or elsewhere; it may come more than once."""
        if self.epoch is None:
            self._rumoured = max(self._rumoured, event.seq)
        elif self._is_other(event.epoch):
            self._lose_history()
        elif event.seq == self.head + 1:
            self._take(event)
        else:
            self.hear_of(event.seq)

    def hear_of(self, seq: int) -> None:
        """The stream is at least at seq."""
        if seq <= self.head:
            return
        self._rumoured = max(self._rumoured, seq)
        if self.epoch is None:
            return
        if not self.is_heard:
            # Nobody waits for it: whoever comes next reads the database once.
            self._forget()
        elif self._catching_up is None:
            self._catching_up = asyncio.create_task(self._catch_up())

    def learn(self, head: Head) -> None:
        """The database says where the stream stands."""
        if self.epoch is None:
            self.epoch, self.head = head.epoch, head.seq
            self.hear_of(self._rumoured)
        elif self._is_other(head.epoch):
            self._lose_history()
        else:
            self.hear_of(head.seq)

    def _is_other(self, epoch: str) -> bool:
        """Whether this is another history; what was not written yet is no history."""
        if self.epoch == UNWRITTEN:
            self.epoch = epoch
        return epoch != self.epoch

    def _take(self, event: Event) -> None:
        told = Told(event)
        self.head = event.seq
        self._ring.append(told)
        if self.is_heard:
            self._waiting.append(told)
            self._deliver_soon()

    def _forget(self) -> None:
        self.epoch, self.head = None, 0
        self._ring.clear()
        self._waiting.clear()

    def _lose_history(self) -> None:
        """The stream has another epoch: the database was restored. Everyone has to come back."""
        self._forget()
        self._rumoured = 0
        for view in list(self._views.values()):
            for subscription in tuple(view.subscriptions):
                subscription.transport.close(RESTARTING, "history was restored")

    async def _catch_up(self) -> None:
        try:
            while self.epoch is not None and self.head < self._rumoured:
                await self._read_on()
        except Exception:
            # Behind stays behind: the next event, doorbell or check starts this again.
            log.warning("stream %s cannot catch up", self.name, exc_info=True)
        finally:
            self._catching_up = None

    async def _read_on(self) -> None:
        rumoured, before = self._rumoured, self.head
        head, events = await self._missed(self.name, before, PORTION, 0)
        if self.epoch is None:
            return
        is_other = head is None or self._is_other(head.epoch)
        for event in events:
            if event.epoch == self.epoch and event.seq == self.head + 1:
                self._take(event)
        if head is None or is_other:
            self._lose_history()
        elif head.seq > self.head == before:
            # There is more, and it does not join on to what we have: nobody's view is whole.
            self._lose_history()
        elif head.seq <= self.head and rumoured == self._rumoured:
            # What was rumoured beyond that is not in the database.
            self._rumoured = self.head

    # ------------------------------------------------------------ what is remembered

    def covers(self, seq: int) -> bool:
        """Whether all that happened since seq is in memory."""
        return self.epoch is not None and self.head - len(self._ring) <= seq <= self.head

    def since(self, seq: int, topic: Topic) -> list[Told]:
        """What that topic shows of the events after seq; seq must be covered."""
        skip = len(self._ring) - max(0, self.head - seq)
        subject = topic.subject
        return [
            told for told in islice(self._ring, skip, None) if subject in {0, told.event.subject}
        ]

    async def load(self, after: int) -> None:
        """Learn where the stream stands and what happened since about `after`.

        One query for all who ask at the same time: after a restart everyone comes back at once.
        """
        if self._loading is None:
            self._loading = asyncio.create_task(self._load(max(0, after - RING)))
        await asyncio.shield(self._loading)

    async def _load(self, after: int) -> None:
        try:
            head, events = await self._missed(self.name, after, MISSED_MAX, 0)
        finally:
            self._loading = None
        if head is None or self.epoch is not None:
            return
        tail: deque[Told] = deque(maxlen=RING)
        for event in reversed(events[-RING:]):
            if event.seq != head.seq - len(tail):
                break
            tail.appendleft(Told(event))
        self._ring = tail
        self.learn(head)

    # ------------------------------------------------------------ who listens

    @property
    def is_heard(self) -> bool:
        return bool(self._views)

    def add(self, topic: Topic, transport: Transport) -> Subscription:
        """Register; nothing is sent before `start`."""
        view = self._views.get(_key(topic))
        if view is None:
            view = self._views[_key(topic)] = View(topic)
        subscription = Subscription(topic, transport)
        view.subscriptions.add(subscription)
        return subscription

    def start(self, subscription: Subscription, seq: int) -> None:
        """Its answer told it all up to seq (which is covered, or not reached yet)."""
        subscription.seq = max(seq, self.head)
        tolds = self.since(seq, subscription.topic)
        if tolds:
            self._counters.frames_out += len(tolds)
            subscription.transport.send(self._views[_key(subscription.topic)].frames(tolds))

    def remove(self, subscription: Subscription, now: int) -> None:
        subscription.seq = _PARKED
        key = _key(subscription.topic)
        view = self._views.get(key)
        if view is not None:
            view.subscriptions.discard(subscription)
            if not view.subscriptions:
                del self._views[key]
        if not self._views:
            self.idle_since = now

    # ------------------------------------------------------------ delivering

    def _deliver_soon(self) -> None:
        if self._delivery is None:
            self._delivery = self._deliver()
            self._loop.call_soon(self._deliver_slice)

    def _deliver_slice(self) -> None:
        """One slice, and the next when everybody else on the loop had a turn."""
        if self._delivery is not None and next(self._delivery, True) is None:
            self._loop.call_soon(self._deliver_slice)
        else:
            self._delivery = None

    def _deliver(self) -> Iterator[None]:
        """In rounds: what is told during one is joined in the next, so the order stays."""
        while self._waiting:
            tolds, self._waiting = self._waiting, []
            for view, shown in self._by_view(tolds):
                frames = view.frames(shown)
                subscriptions = tuple(view.subscriptions)
                for begin in range(0, len(subscriptions), SLICE):
                    if begin:
                        yield
                    some = subscriptions[begin : begin + SLICE]
                    self._counters.frames_out += len(shown) * len(some)
                    _offer(view, some, shown, frames)

    def _by_view(self, tolds: list[Told]) -> Iterator[tuple[View, list[Told]]]:
        """Which topics that somebody listens to show which of these events."""
        of_subject: defaultdict[int, list[Told]] = defaultdict(list)
        for told in tolds:
            if told.event.subject:
                of_subject[told.event.subject].append(told)
        keys = [(True, 0), (False, 0), *((False, subject) for subject in of_subject)]
        for key in keys:
            view = self._views.get(key)
            if view is not None:
                yield view, of_subject[key[1]] if key[1] else tolds


def _offer(
    view: View, subscriptions: Iterable[Subscription], tolds: list[Told], frames: bytes
) -> None:
    first, last = tolds[0].event.seq, tolds[-1].event.seq
    for subscription in subscriptions:
        if subscription.seq < first:
            subscription.seq = last
            subscription.transport.send(frames)
        elif subscription.seq < last:
            # It began in the middle of these: its answer held the first of them.
            new = [told for told in tolds if told.event.seq > subscription.seq]
            subscription.seq = last
            subscription.transport.send(view.frames(new))


def _key(topic: Topic) -> tuple[bool, int]:
    return topic.is_public, topic.subject
