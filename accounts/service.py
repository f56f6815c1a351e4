"""What people do with us: sign in, ask with a session, sign out, be told by WeChat."""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from accounts import store
from accounts.cache import Cache, Held, fingerprint
from accounts.messages import Dead, Delivered, Retry, SubscribeMessage
from accounts.model import Account, App, Opened, Session, SessionExpired, is_live, roles_of
from accounts.store import SessionRow
from accounts.tokens import TOKEN_MAX_BYTES, Tokens
from accounts.wechat import MessageResult, MiniProgram
from sql.database import Database
from sql.errors import DatabaseError
from sql.types import Millis

log = logging.getLogger("callme.accounts")

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
        self._unwritten: dict[int, Millis] = {}
        self._writing: asyncio.Task[None] | None = None

    def on_end(self, callback: OnEnd) -> None:
        """Have callback(session id) called when a session is seen to have ended."""
        self._on_end.append(callback)

    async def open(self, account_id: int, app: App) -> Opened:
        """A new session with a new key. Raises AccountBlocked."""
        now = self._now()
        ends_at = now + self._max_ms
        key_hex = secrets.token_hex(20)
        key_hash = fingerprint(key_hex)
        changes = self._changes
        row = await self._db.write(
            store.open_session,
            account_id=account_id,
            app=app,
            key_hash=key_hash,
            now=now,
            ends_at=ends_at,
        )
        jwt = self._tokens.issue(
            key_hash=key_hash, account_id=account_id, created_at=now, ends_at=ends_at
        )
        if changes == self._changes:
            self._cache.know_jwt(self._hold(row, key_hash, now), fingerprint(jwt))
        return Opened(self._session(row), key_hex, jwt, ends_at)

    def peek(self, token: str) -> Session | None:
        """As `get`, for a session in memory; None: not known here, `await get` decides."""
        if len(token) > TOKEN_MAX_BYTES or not token.isascii():
            return None
        held = self._cache.find(fingerprint(token))
        if held is None:
            return None
        now = self._now()
        if self._shared and not 0 <= now - held.read_at <= REREAD_AFTER_MS:
            return None
        if not self._is_live(held.used_at, held.session.expires_at, now):
            return None
        self._use(held, now)
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
        row = await self._db.read(store.read_session, key_hash)
        now = self._now()
        if row is None or not self._lives(row, now):
            held = self._cache.find(key_hash)
            if held is not None:
                self._ended([held.session.id])
            raise SessionExpired
        if account_id not in {None, row.account_id}:
            raise SessionExpired
        if changes != self._changes:
            # Something ended while we read: this request came before it, the next asks again.
            return self._session(row)
        held = self._hold(row, key_hash, now)
        if account_id is not None:
            self._cache.know_jwt(held, fingerprint(token))
        self._use(held, now)
        return held.session

    def still(self, session: Session) -> bool | Awaitable[bool]:
        """Whether a session known from before has not ended since; asking counts as a use.

        For sockets, whose token was shown once. Plain while the session is in memory.
        """
        held = self._cache.get(session.id)
        now = self._now()
        is_fresh = held is not None and (
            not self._shared or 0 <= now - held.read_at <= REREAD_AFTER_MS
        )
        if held is None or not is_fresh or not self._is_held_live(held):
            return self._still(session)
        self._use(held, now)
        return True

    async def _still(self, session: Session) -> bool:
        rows = await self._db.read(store.read_sessions, [session.id])
        now = self._now()
        if not rows or not self._lives(rows[0], now):
            self._ended([session.id])
            return False
        held = self._cache.get(session.id)
        if held is not None:
            held.read_at = now
            self._use(held, now)
        else:
            self._unwritten[session.id] = now
            self._start_writing()
        return True

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
        rows = await self._db.read(store.read_sessions, sorted(ids))
        now = self._now()
        ended = ids - {row.id for row in rows if self._lives(row, now)}
        self._ended(ended)
        return ended

    async def sweep(self) -> int:
        """Remove the rows of sessions that are over; how many there were. Repeatable."""
        if not await self.flush():
            # The rows look older than the sessions are.
            return 0
        now = self._now()
        await self.review(held.session.id for held in self._cache if not self._is_held_live(held))
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
        self._start_writing()
        if self._writing is not None:
            await self._writing
        return not self._unwritten

    async def close(self) -> None:
        await self.flush()

    def _ended(self, session_ids: Iterable[int]) -> None:
        for session_id in session_ids:
            self._changes += 1
            self._cache.drop(session_id)
            self._unwritten.pop(session_id, None)
            for callback in self._on_end:
                callback(session_id)

    def _key_of(self, token: str) -> tuple[str, int | None]:
        """The key's hash; with a JWT also the account it names. Raises SessionExpired."""
        if _KEY.fullmatch(token):
            return fingerprint(token), None
        claims = self._tokens.read(token)
        return claims.jti, int(claims.sub)

    def _hold(self, row: SessionRow, key_hash: str, now: Millis) -> Held:
        """Put the row into memory, with the uses that the database does not know yet."""
        fresh = Held(self._session(row), key_hash=key_hash, used_at=row.used_at, read_at=now)
        old = self._cache.get(row.id)
        if old is not None:
            old.session, old.read_at = fresh.session, now
            old.used_at = max(old.used_at, row.used_at)
            return old
        evicted = self._cache.put(fresh)
        if evicted is not None:
            self._write_down(evicted)
        return fresh

    def _drop(self, session_id: int) -> None:
        held = self._cache.drop(session_id)
        assert held is not None
        self._write_down(held)

    def _session(self, row: SessionRow) -> Session:
        roles = roles_of(row.app, openid=row.openid, given=row.roles, admins=self._admins)
        return Session(row.id, row.account_id, roles, row.app, row.ends_at)

    def _lives(self, row: SessionRow, now: Millis) -> bool:
        held = self._cache.get(row.id)
        used_at = row.used_at if held is None else max(row.used_at, held.used_at)
        return self._is_live(used_at, row.ends_at, now)

    def _is_held_live(self, held: Held) -> bool:
        return self._is_live(held.used_at, held.session.expires_at, self._now())

    def _is_live(self, used_at: Millis, ends_at: Millis, now: Millis) -> bool:
        return is_live(used_at=used_at, ends_at=ends_at, now=now, idle_ms=self._idle_ms)

    # ---------------------------------------------------------------- uses

    def _use(self, held: Held, now: Millis) -> None:
        held.used_at = max(held.used_at, now)
        if held.used_at - held.touched_at >= TOUCH_EVERY_MS:
            self._write_down(held)

    def _write_down(self, held: Held) -> None:
        """Have the last use written soon; nothing to do when the database knows of it."""
        if held.used_at == held.touched_at:
            return
        held.touched_at = held.used_at
        self._unwritten[held.session.id] = held.used_at
        self._start_writing()

    def _start_writing(self) -> None:
        if self._unwritten and self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="session-uses")

    async def _write(self) -> None:
        """Write until nothing is left; what came meanwhile goes together into the next round.

        When the database is out, what could not be written waits for the next use or sweep.
        """
        try:
            while self._unwritten:
                uses, self._unwritten = self._unwritten, {}
                try:
                    await self._db.write(store.touch_sessions, uses)
                except DatabaseError as error:
                    log.warning("uses of %d sessions are not written yet: %s", len(uses), error)
                    self._keep(uses)
                    return
        finally:
            self._writing = None

    def _keep(self, uses: dict[int, Millis]) -> None:
        """Put back what could not be written, no more than memory holds of sessions."""
        kept = uses | self._unwritten
        self._unwritten = dict(list(kept.items())[-self._cache.most :])


class People:
    """Accounts: made at the first sign-in, given roles, blocked."""

    def __init__(self, db: Database, wechat: MiniProgram, sessions: Sessions) -> None:
        self._db = db
        self._wechat = wechat
        self._sessions = sessions

    async def sign_in(self, app: App, code: str) -> Opened:
        """Raises CodeRefused, WeChatUnavailable, AccountBlocked."""
        openid = await self._wechat.code_to_openid(app, code)
        account = await self._db.write(store.find_or_make_account, app, openid)
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
