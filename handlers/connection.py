"""One client on its WebSocket: signs in, then asks, one thing at a time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog

from accounts.model import Session
from handlers import frames
from handlers.address import TrustedProxies
from handlers.channel import Subscription
from handlers.clients import NOT_SIGNED_IN
from handlers.errors import REFUSALS, Problem, Refusals, TooManyRequests
from handlers.frames import Ack, Auth, Envelope, FrameInvalid, Id, Subscribe, Unsubscribe
from handlers.hub import Hub
from handlers.limits import Limits, address_key
from handlers.pulse import Pulse
from handlers.topics import Topic, TopicNotFound, find_topic
from handlers.transport import TOO_FAST, Transport

log = structlog.get_logger(__name__)

AUTH_WAIT_S: Final = 10
POLICY: Final = 1008

# Commands that were sent but not begun; then the client's own socket holds them back.
WAITING_MAX: Final = 64
# A diner has two topics, a seller's tablet three, an admin's console some more.
SUBSCRIPTIONS_MAX: Final = 64
# With so many answers unread, the next command waits for them to leave.
UNREAD_MAX: Final = 16 * 1024
# Broken or too many frames within so long after one another; then the connection is closed.
STRIKES_MAX: Final = 20
STRIKES_MS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Command:
    """Something the domain does for who is signed in: `ticket.issue` and the like.

    call may raise what the refusals list; what it returns is the answer's data.
    """

    name: str
    message: type[msgspec.Struct]
    call: Callable[[Session, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What all connections share. Functions may answer plainly or with an awaitable.

    authenticate: a token → its session; raises what `refusals` lists as 401.
    still_valid: whether a session has not ended since; asked at each frame.
    may_listen: whether this session (None: a board) may listen to a topic, and it exists.
    acknowledge: an event of a topic was shown to this session's person.
    """

    hub: Hub
    pulse: Pulse
    now: Callable[[], int]
    authenticate: Callable[[str], Session | Awaitable[Session]]
    still_valid: Callable[[Session], bool | Awaitable[bool]]
    may_listen: Callable[[Session | None, Topic], bool | Awaitable[bool]]
    acknowledge: Callable[[Session, Topic, int], Awaitable[None]]
    commands: Iterable[Command] = ()
    limits: Limits = field(default_factory=Limits)
    refusals: Refusals = REFUSALS
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    auth_wait_s: float = AUTH_WAIT_S
    _readers: dict[str, tuple[msgspec.json.Decoder[Any], Command | None]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        own = {"auth": Auth, "subscribe": Subscribe, "unsubscribe": Unsubscribe, "ack": Ack}
        for name, message in own.items():
            self._readers[name] = (msgspec.json.Decoder(message), None)
        for command in self.commands:
            self._readers[command.name] = (msgspec.json.Decoder(command.message), command)

    def read(self, envelope: Envelope, text: bytes) -> tuple[Any, Command | None]:
        """The message, and who carries it out (None: the connection itself)."""
        if not envelope.type:
            raise FrameInvalid("A frame has a type")
        reader = self._readers.get(envelope.type)
        if reader is None:
            detail = f"No frame is called {envelope.type[:64]!r}."
            raise Problem(404, "type.unknown", detail, title="There is no such type")
        return frames.read(text, reader[0]), reader[1]

    def problem(self, error: Exception) -> Problem:
        if isinstance(error, FrameInvalid | TopicNotFound):
            return Problem(400, error.code, str(error), title=error.title)
        problem = self.refusals.problem(error)
        if problem is None:
            log.error("command failed", exc_info=error)
            # Ours, not the client's: it is told nothing else.
            problem = Problem(500, "internal", "Something went wrong on our side.")
        return problem


class Connection:
    """The owner of a transport.

    Phases: greeted, then signed in or a board, then closed. Ten thousand of these are idle at a
    time, so what is only needed while something happens is made when it happens.
    """

    __slots__ = (
        "_address",
        "_desk",
        "_drained",
        "_is_board",
        "_retired",
        "_strikes",
        "_struck_at",
        "_subscriptions",
        "_token",
        "_waiting",
        "session",
        "transport",
    )

    def __init__(self, desk: Desk, transport: Transport, *, address: str, token: str = "") -> None:
        """token: what the request's cookie held, for a page that cannot read its own."""
        self.session: Session | None = None
        self.transport = transport
        self._desk = desk
        self._address = address
        self._token = token
        self._is_board = False
        # The goodbye that follows the answer to the command in hand.
        self._retired: tuple[int, str] | None = None
        # Frames not carried out yet; None when nothing is being carried out.
        self._waiting: list[bytes] | None = None
        self._subscriptions: list[Subscription] = []
        self._drained: asyncio.Future[None] | None = None
        self._strikes = 0
        self._struck_at = 0
        desk.hub.clients.add(self)
        transport.send_text(frames.hello(desk.now()))
        desk.pulse.after(desk.auth_wait_s, self._on_auth_due)

    def close(self, code: int, reason: str) -> None:
        self.transport.close(code, reason)

    def retire(self, code: int, reason: str) -> None:
        """Close behind the answer to the command in hand; begin no other."""
        if self._waiting is None:
            self.close(code, reason)
        else:
            self._waiting.clear()
            self._retired = (code, reason)

    # ------------------------------------------------------------ what the transport calls

    def on_text(self, text: bytes) -> None:
        if self._retired is not None:
            return
        if self._waiting is None:
            self._waiting = [text]
            self._desk.hub.clients.work(asyncio.create_task(self._work(self._waiting)))
            return
        self._waiting.append(text)
        if len(self._waiting) >= WAITING_MAX:
            self.transport.pause_reading()

    def on_drain(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def on_close(self, _code: int) -> None:
        for subscription in self._subscriptions:
            self._desk.hub.leave(subscription)
        self._subscriptions = []
        self._desk.hub.clients.remove(self)
        # Whoever waits for this client to read need not wait any longer.
        self.on_drain()

    def _on_auth_due(self) -> None:
        if not self._is_in:
            self.close(NOT_SIGNED_IN, "no auth")

    @property
    def _is_in(self) -> bool:
        return self.session is not None or self._is_board

    # ------------------------------------------------------------ one frame after the other

    async def _work(self, waiting: list[bytes]) -> None:
        while waiting and self.transport.is_open:
            await self._handle(waiting.pop(0))
            if self.transport.buffered > UNREAD_MAX:
                await self._until_read()
            if len(waiting) < WAITING_MAX:
                self.transport.resume_reading()
        self._waiting = None
        if self._retired is not None:
            self.close(*self._retired)

    async def _until_read(self) -> None:
        """A client that asks and does not read is not asked for more than its bound."""
        # What was answered in this tick leaves at its end.
        await asyncio.sleep(0)
        if self.transport.is_blocked and self.transport.is_open:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
            self._drained = None

    async def _handle(self, text: bytes) -> None:
        frame_id: Id = None
        try:
            envelope = frames.read_envelope(text)
            frame_id = envelope.id
            self._keep_pace()
            if envelope.type == "ping":
                self.transport.send_text(frames.pong(frame_id))
            else:
                await self._carry_out(envelope, text)
        except Exception as error:
            self._refuse(frame_id, error)

    async def _carry_out(self, envelope: Envelope, text: bytes) -> None:
        message, command = self._desk.read(envelope, text)
        if isinstance(message, Auth):
            await self._authenticate(envelope.id, message)
            return
        if not self._is_in:
            raise Problem(403, "auth.required", "Send auth first.")
        if self.session and not await _settled(self._desk.still_valid(self.session)):
            raise Problem(401, "session.expired", "Sign in again.")
        if command is not None:
            result = await command.call(self._signed_in(), message)
            self.transport.send_text(frames.result(envelope.id, result))
        elif isinstance(message, Subscribe):
            await self._subscribe(envelope.id, message)
        elif isinstance(message, Unsubscribe):
            self._leave(message.topic)
            self.transport.send_text(frames.result(envelope.id, None))
        else:
            await self._acknowledge(envelope.id, message)

    def _signed_in(self) -> Session:
        if self.session is None:
            raise Problem(403, "auth.required", "A board only listens.")
        return self.session

    # ------------------------------------------------------------ what every client may ask

    async def _authenticate(self, frame_id: Id, message: Auth) -> None:
        if self._is_in:
            raise Problem(409, "auth.repeated", "This connection is signed in already.")
        token, self._token = message.token or self._token, ""
        if message.board:
            self._is_board = True
            answer: dict[str, object] = {"account_id": None, "roles": []}
        else:
            session = await _settled(self._desk.authenticate(token))
            if not self.transport.is_open:
                return
            self.session = session
            self._desk.hub.clients.sign_in(self, session)
            answer = {"account_id": session.account_id, "roles": sorted(session.roles)}
        self.transport.send_text(frames.result(frame_id, answer))

    async def _subscribe(self, frame_id: Id, message: Subscribe) -> None:
        hub, topic = self._desk.hub, await self._topic(message.topic)
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise Problem(409, "topic.too_many", f"At most {SUBSCRIPTIONS_MAX} topics.")
        subscription, answer = await hub.join(self.transport, topic, self.session, message.since)
        text = frames.result(frame_id, answer)
        self._leave(topic.name)
        self._subscriptions.append(subscription)
        if self.transport.is_open:
            self.transport.send_text(text)
            hub.start(subscription, answer)
        else:
            self._leave(topic.name)

    async def _topic(self, name: str) -> Topic:
        """Raises TopicNotFound also for what is another's."""
        topic = find_topic(name, self.session.account_id if self.session else None)
        if self.session is None and not topic.is_public:
            raise TopicNotFound(name)
        if not await _settled(self._desk.may_listen(self.session, topic)):
            raise TopicNotFound(name)
        return topic

    def _leave(self, name: str) -> None:
        for subscription in self._subscriptions:
            if subscription.topic.name == name:
                self._desk.hub.leave(subscription)
                self._subscriptions.remove(subscription)
                return

    async def _acknowledge(self, frame_id: Id, message: Ack) -> None:
        session = self._signed_in()
        heard = [each.topic for each in self._subscriptions if each.topic.name == message.topic]
        topic = heard[0] if heard else await self._topic(message.topic)
        await self._desk.acknowledge(session, topic, message.seq)
        if frame_id is not None:
            self.transport.send_text(frames.result(frame_id, None))

    # ------------------------------------------------------------ what is refused

    def _refuse(self, frame_id: Id, error: Exception) -> None:
        problem = self._desk.problem(error)
        self.transport.send_text(frames.refusal(frame_id, problem))
        if problem.status == 401:
            self.close(NOT_SIGNED_IN, problem.code)
        elif isinstance(error, TooManyRequests):
            self._strike(TOO_FAST, "too fast")
        elif isinstance(error, FrameInvalid):
            self._strike(POLICY, "too many broken frames")

    def _strike(self, code: int, reason: str) -> None:
        now = self._desk.now()
        if now - self._struck_at > STRIKES_MS:
            self._strikes = 0
        self._strikes, self._struck_at = self._strikes + 1, now
        if self._strikes > STRIKES_MAX:
            self.transport.counters.dropped_fast += 1
            self.close(code, reason)

    def _keep_pace(self) -> None:
        """Raises TooManyRequests. Who is not signed in is counted with its address."""
        limits = self._desk.limits
        if not limits.enabled:
            return
        if self.session is not None:
            wait_s = limits.session.allow(f"session {self.session.id}", self._desk.now())
        else:
            wait_s = limits.address.allow(address_key(self._address), self._desk.now())
        if wait_s:
            raise TooManyRequests(wait_s)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
