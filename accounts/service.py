"""What people do with us: sign in, ask with a session, sign out, be told by WeChat."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from accounts import store
from accounts.cache import Cache, Held, fingerprint
from accounts.messages import Dead, Delivered, Retry, SubscribeMessage
from accounts.model import Account, App, Opened, Session, SessionExpired, is_live, roles_of
from accounts.store import NewSession, Person, SessionRef, SessionRow
from accounts.tokens import TOKEN_MAX_BYTES, Tokens
from accounts.uses import Uses
from accounts.wechat import MessageResult, MiniProgram
from sql.database import Database, Tx
from sql.types import Millis

OnEnd = Callable[[int], None]

# A use is written down at once when none was for so long, otherwise with a later one. After
# a crash a session may so end that much sooner, never later.
TOUCH_EVERY_MS: Final = 5_000
# With several processes: how long another's sign-out may go unnoticed.
REREAD_AFTER_MS: Final = 2_000
# With several processes: uses that another has seen and not yet written down.
SWEEP_GRACE_MS: Final = 10_000

_KEY = re.compile(r"[0-9a-f]{40}")


class Sessions:
    """Sessions in memory before the database: judged at each request, to the millisecond.

    shared: other processes use the same database.
    """

    # Some 10 MB, and more than one process has people.
    held_max = 20_000

    def __init__(
        self,
        db: Database,
        *,
        secret: str,
        now: Callable[[], Millis],
        idle_s: int = 3600,
        max_s: int = 43_200,
        admins: frozenset[str] = frozenset(),
        shared: bool = False,
    ) -> None:
        self._db = db
        self._now = now
        self._tokens = Tokens(secret, max_s=max_s, now=now)
        self._idle_ms = idle_s * 1000
        self._max_ms = max_s * 1000
        self._admins = admins
        self._shared = shared
        self._cache = Cache(self.held_max)
        self._on_end: list[OnEnd] = []
        # Counts what may have made a row that is being read out of date.
        self._changes = 0
        self._wanted: set[SessionRef] = set()
        self._reading: asyncio.Task[dict[SessionRef, SessionRow]] | None = None
        self._uses = Uses(db, most=self.held_max)

    def on_end(self, callback: OnEnd) -> None:
        """Have callback(session id) called when a session is seen to have ended."""
        self._on_end.append(callback)

    async def open(
        self, account_id: int, app: App, *, check: Callable[[Tx], None] | None = None
    ) -> Opened:
        """A new session with a new key, unless check(tx) raises. Raises AccountBlocked."""
        now = self._now()
        ends_at = now + self._max_ms
        key_hex = secrets.token_hex(20)
        key_hash = fingerprint(key_hex)
        changes = self._changes
        new = NewSession(account_id, app, key_hash, now, ends_at)
        if check is None:
            row = await self._db.write(store.open_sessions, new)
        else:
            row = await self._db.write(store.open_session_if, new, check)
        jwt = self._tokens.issue(
            key_hash=key_hash, account_id=account_id, created_at=now, ends_at=ends_at
        )
        if changes == self._changes:
            self._cache.know_jwt(self._hold(row), fingerprint(jwt))
        return Opened(self._session(row), key_hex, jwt, ends_at)

    def peek(self, token: str) -> Session | None:
        """As `get`, for a session in memory; None: not known here, `await get` decides."""
        if len(token) > TOKEN_MAX_BYTES or not token.isascii():
            return None
        held = self._cache.find(fingerprint(token))
        if held is None or not self._use_held(held):
            return None
        return held.session

    async def get(self, token: str) -> Session:
        """The session of a key or JWT; asking counts as a use.

        Raises SessionExpired, DatabaseUnavailable.
        """
        session = self.peek(token)
        if session is not None:
            return session
        key_hash, account_id = self._key_of(token)
        changes = self._changes
        row = await self._read(key_hash)
        if row is None or not self._lives(row):
            held = self._cache.find(key_hash)
            self._ended([held.session.id] if held else [])
            raise SessionExpired
        if account_id not in {None, row.account_id}:
            raise SessionExpired
        held = self._use_row(row, changes)
        if held is not None and account_id is not None:
            self._cache.know_jwt(held, fingerprint(token))
        return self._session(row)

    def still(self, session: Session) -> bool | Awaitable[bool]:
        """Whether a session known from before goes on, with the same roles; counts as a use.

        For sockets, whose token was shown once. Plain while the session is in memory.
        """
        held = self._cache.get(session.id)
        if held is None or held.session != session or not self._use_held(held):
            return self._still(session)
        return True

    async def _still(self, session: Session) -> bool:
        changes = self._changes
        row = await self._read(session.id)
        if row is None or not self._lives(row):
            self._ended([session.id])
            return False
        self._use_row(row, changes)
        return self._session(row) == session

    async def end(self, session: Session) -> None:
        """Sign out. Repeatable."""
        await self._db.write(store.end_session, session.id)
        self._ended([session.id])

    async def forget(self, account_id: int) -> None:
        """Roles of the account have changed: its sessions are read anew."""
        self._changes += 1
        for held in self._cache:
            if held.session.account_id == account_id:
                self._drop(held.session.id)

    async def review(self, session_ids: Iterable[int]) -> set[int]:
        """Which of these have ended, here or in another process; each is told to on_end.

        For those that ask nothing themselves: open sockets.
        """
        ids = set(session_ids)
        rows = await self._db.read(store.read_sessions, ids)
        ended = ids - {row.id for row in rows.values() if self._lives(row)}
        self._ended(ended)
        return ended

    async def sweep(self) -> int:
        """Remove the rows of sessions that are over; how many there were. Repeatable."""
        if not await self.flush():
            # The rows look older than the sessions are.
            return 0
        now = self._now()
        await self.review(
            held.session.id
            for held in self._cache
            if not self._is_live(held.used_at, held.session.expires_at, now)
        )
        grace_ms = SWEEP_GRACE_MS if self._shared else 0
        swept = 0
        while True:
            ids = await self._db.write(
                store.sweep_sessions, unused_since=now - self._idle_ms - grace_ms, now=now
            )
            self._ended(ids)
            swept += len(ids)
            if len(ids) < store.CHUNK:
                return swept

    async def flush(self) -> bool:
        """Write down all uses that are only in memory; False when the database is out."""
        for held in self._cache:
            self._write_down(held)
        return await self._uses.flush()

    async def close(self) -> None:
        await self.flush()

    def _ended(self, session_ids: Iterable[int]) -> None:
        for session_id in session_ids:
            self._changes += 1
            self._cache.drop(session_id)
            self._uses.forget(session_id)
            for callback in self._on_end:
                callback(session_id)

    def _key_of(self, token: str) -> tuple[str, int | None]:
        """The key's hash; with a JWT also the account it names. Raises SessionExpired."""
        if _KEY.fullmatch(token):
            return fingerprint(token), None
        claims = self._tokens.read(token)
        return claims.jti, int(claims.sub)

    async def _read(self, which: SessionRef) -> SessionRow | None:
        """The row, read together with all that are asked for in this tick."""
        self._wanted.add(which)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_wanted(), name="session-read")
        rows = await asyncio.shield(self._reading)
        return rows.get(which)

    async def _read_wanted(self) -> dict[SessionRef, SessionRow]:
        await asyncio.sleep(0)
        wanted, self._wanted, self._reading = self._wanted, set(), None
        return await self._db.read(store.read_sessions, wanted)

    def _use_row(self, row: SessionRow, changes: int) -> Held | None:
        """A row read is in use: hold it, unless something ended while it was being read.

        Then this request came before that end, and the next one reads again.
        """
        if changes != self._changes:
            self._uses.note(row.id, self._now())
            return None
        held = self._hold(row)
        self._use(held, self._now())
        return held

    def _hold(self, row: SessionRow) -> Held:
        """Put the row into memory, with the uses that the database does not know yet."""
        session, held = self._session(row), self._cache.get(row.id)
        if held is None:
            held = Held(session, key_hash=row.key_hash, used_at=row.used_at, read_at=self._now())
            evicted = self._cache.put(held)
            if evicted is not None:
                self._write_down(evicted)
            return held
        held.session, held.read_at = session, self._now()
        held.used_at = max(held.used_at, row.used_at)
        held.touched_at = max(held.touched_at, row.used_at)
        return held

    def _drop(self, session_id: int) -> None:
        held = self._cache.drop(session_id)
        assert held is not None
        self._write_down(held)

    def _session(self, row: SessionRow) -> Session:
        roles = roles_of(row.app, openid=row.openid, given=row.roles, admins=self._admins)
        return Session(row.id, row.account_id, roles, row.app, row.ends_at)

    def _lives(self, row: SessionRow) -> bool:
        held = self._cache.get(row.id)
        used_at = row.used_at if held is None else max(row.used_at, held.used_at)
        return self._is_live(used_at, row.ends_at, self._now())

    def _is_live(self, used_at: Millis, ends_at: Millis, now: Millis) -> bool:
        return is_live(used_at=used_at, ends_at=ends_at, now=now, idle_ms=self._idle_ms)

    def _use_held(self, held: Held) -> bool:
        """Note a use; False when it is for the database to say whether there may be one."""
        now = self._now()
        if self._shared and not self._is_fresh(held, now):
            return False
        if not self._is_live(held.used_at, held.session.expires_at, now):
            return False
        self._use(held, now)
        return True

    def _is_fresh(self, held: Held, now: Millis) -> bool:
        """Whether another process may go unasked. Staff are few, and out at once when they are."""
        return held.session.app != "staff" and 0 <= now - held.read_at <= REREAD_AFTER_MS

    def _use(self, held: Held, now: Millis) -> None:
        held.used_at = max(held.used_at, now)
        if held.used_at - held.touched_at >= TOUCH_EVERY_MS:
            self._write_down(held)

    def _write_down(self, held: Held) -> None:
        """Have the last use written soon; nothing to do when the database knows of it."""
        if held.used_at == held.touched_at:
            return
        held.touched_at = held.used_at
        self._uses.note(held.session.id, held.used_at)


class People:
    """Accounts: made at the first sign-in, given roles, blocked."""

    def __init__(self, db: Database, wechat: MiniProgram, sessions: Sessions) -> None:
        self._db = db
        self._wechat = wechat
        self._sessions = sessions

    async def sign_in(self, app: App, code: str) -> Opened:
        """Raises CodeRefused, WeChatUnavailable, AccountBlocked."""
        openid = await self._wechat.code_to_openid(app, code)
        account = await self._db.write(store.find_or_make_accounts, Person(app, openid))
        return await self._sessions.open(account.id, app)

    async def account(self, account_id: int) -> Account | None:
        return await self._db.read(store.read_account, account_id)

    async def give_role(self, account_id: int, role: str) -> None:
        await self._db.write(store.give_role, account_id, role)
        await self._sessions.forget(account_id)

    async def take_role(self, account_id: int, role: str) -> None:
        await self._db.write(store.take_role, account_id, role)
        await self._sessions.forget(account_id)

    async def block(self, account_id: int) -> None:
        """Sign the person out everywhere, and refuse them from now on."""
        ids = await self._db.write(store.block_account, account_id)
        await self._sessions.review(ids)

    async def unblock(self, account_id: int) -> None:
        await self._db.write(store.unblock_account, account_id)


class Messages:
    """Subscribe messages out of the outbox. Grants are spent when the message is put in."""

    def __init__(self, db: Database, wechat: MiniProgram) -> None:
        self._db = db
        self._wechat = wechat

    async def deliver_subscribe_message(self, payload: dict[str, Any]) -> Delivered | Retry | Dead:
        """Body of the outbox kind SUBSCRIBE_MESSAGE. May be repeated after Retry.

        Raises DatabaseUnavailable.
        """
        try:
            message = msgspec.convert(payload, SubscribeMessage)
        except msgspec.ValidationError as error:
            return Dead(f"the payload is no message: {error}")
        account = await self._db.read(store.read_account, message.account_id)
        if account is None or account.blocked_at is not None:
            return Dead("no such account, or it is blocked")
        result = await self._wechat.send_subscribe_message(
            account.app,
            account.openid,
            template=message.template,
            page=message.page,
            data=message.data,
            lang=message.lang,
        )
        if result is MessageResult.REFUSED:
            await self._db.write(store.forget_grants, account.id, message.template)
        return _outcome(result)


def _outcome(result: MessageResult) -> Delivered | Retry | Dead:
    if result is MessageResult.SENT:
        return Delivered()
    if result is MessageResult.RETRY:
        return Retry("WeChat gave no answer")
    return Dead(result.value)
