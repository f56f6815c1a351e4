"""The queries of accounts, sessions, grants and access tokens. All may be run again."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Table, and_, delete, exists, insert, or_, select, update
from sqlalchemy.dialects import mysql, sqlite

from accounts.model import Account, AccountBlocked, App
from accounts.staff.permissions import kept
from sql.database import Tx, list_verb
from sql.tables.accounts import account_roles, accounts, message_grants, sessions, wechat_tokens
from sql.tables.devices import staff_stores
from sql.tables.staff import staff
from sql.types import Millis

T = TypeVar("T")

# Rows in one statement: enough to make the round trip cheap, few enough to hold no one up.
CHUNK: Final = 500
# What a client may claim to have been granted; WeChat keeps the true count.
GRANTS_MAX: Final = 50
FORCES_A_DAY: Final = 20
FORCE_APART_MS: Final = 30_000
_DAY_MS: Final = 86_400_000


class SessionRow(msgspec.Struct, frozen=True):
    """A session that was not ended, of an account that is not blocked."""

    id: int
    key_hash: str
    account_id: int
    app: App
    used_at: Millis
    ends_at: Millis
    openid: str
    roles: frozenset[str]


SessionRef: TypeAlias = str | int
"""What a session is asked for by: the hash of its key, or its id."""


class Person(NamedTuple):
    """Who WeChat says it is."""

    app: App
    openid: str


class NewSession(msgspec.Struct, frozen=True):
    account_id: int
    app: App
    key_hash: str
    opened_at: Millis
    ends_at: Millis


class AccessToken(msgspec.Struct, frozen=True):
    token: str
    expires_at: Millis


@list_verb
def find_or_make_accounts(tx: Tx, people: Sequence[Person]) -> Sequence[Account | Exception]:
    """The account of each, made at the first call; AccountBlocked for the blocked."""
    found = _find_accounts(tx, people)
    missing = sorted({person for person in people if person not in found})
    if missing:
        rows = [{"app": app, "openid": openid, "created_at": tx.now} for app, openid in missing]
        _put_if_new(tx, accounts, rows)
        found |= _find_accounts(tx, missing)
    return [_unless_blocked(found[person]) for person in people]


def find_or_make_account(tx: Tx, app: App, openid: str) -> Account:
    """One of `find_or_make_accounts`. Raises AccountBlocked."""
    (found,) = find_or_make_accounts(tx, [Person(app, openid)])
    if isinstance(found, Exception):
        raise found
    return found


def _find_accounts(tx: Tx, people: Sequence[Person]) -> dict[Person, Account]:
    """Locking, so that another process's row is seen once it is committed."""
    found = {}
    for chunk in _chunks(people):
        named = accounts.c.openid.in_({person.openid for person in chunk})
        for row in tx.execute(select(accounts).where(named).with_for_update()):
            found[Person(row.app, row.openid)] = msgspec.convert(row._mapping, Account)
    return found


def _unless_blocked(account: Account) -> Account | Exception:
    return account if account.blocked_at is None else AccountBlocked()


def read_account(tx: Tx, account_id: int) -> Account | None:
    row = tx.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return row and msgspec.convert(row._mapping, Account)


def give_role(tx: Tx, account_id: int, role: str) -> None:
    row = {"account_id": account_id, "role": role, "since": tx.now}
    _put_if_new(tx, account_roles, [row])


def take_role(tx: Tx, account_id: int, role: str) -> None:
    mine = and_(account_roles.c.account_id == account_id, account_roles.c.role == role)
    tx.execute(delete(account_roles).where(mine))


def block_account(tx: Tx, account_id: int) -> list[int]:
    """Block it and end its sessions; which ones is answered."""
    tx.execute(_blocked(account_id, until_now=True).values(blocked_at=tx.now))
    return end_sessions_of(tx, account_id)


def unblock_account(tx: Tx, account_id: int) -> None:
    tx.execute(_blocked(account_id, until_now=False).values(blocked_at=None))


def is_blocked(tx: Tx, account_id: int) -> bool:
    """Whether this account signs in no more."""
    mine = select(accounts.c.id).where(
        accounts.c.id == account_id, accounts.c.blocked_at.is_not(None)
    )
    return tx.execute(mine).first() is not None


def _blocked(account_id: int, *, until_now: bool) -> Any:
    column = accounts.c.blocked_at
    state = column.is_(None) if until_now else column.is_not(None)
    return update(accounts).where(accounts.c.id == account_id, state)


@list_verb
def open_sessions(tx: Tx, wanted: Sequence[NewSession]) -> Sequence[SessionRow | Exception]:
    """A row for each; AccountBlocked also where there is no such account."""
    tx.execute(insert(sessions), [_new_row(new) for new in wanted])
    opened = read_sessions(tx, [new.key_hash for new in wanted])
    refused = [new.key_hash for new in wanted if new.key_hash not in opened]
    if refused:
        tx.execute(delete(sessions).where(sessions.c.key_hash.in_(refused)))
    return [opened.get(new.key_hash) or AccountBlocked() for new in wanted]


def open_session_if(tx: Tx, new: NewSession, check: Callable[[Tx], None]) -> SessionRow:
    """A row, unless check(tx) raises; what it has seen holds when the session begins.

    Raises AccountBlocked.
    """
    check(tx)
    (opened,) = open_sessions(tx, [new])
    if isinstance(opened, Exception):
        raise opened
    return opened


def _new_row(new: NewSession) -> dict[str, Any]:
    return {
        "key_hash": new.key_hash,
        "account_id": new.account_id,
        "app": new.app,
        "created_at": new.opened_at,
        "used_at": new.opened_at,
        "ends_at": new.ends_at,
    }


def read_sessions(tx: Tx, wanted: Collection[SessionRef]) -> dict[SessionRef, SessionRow]:
    """The sessions that go on, by what they were asked for: key hash or id."""
    key_hashes = sorted(ref for ref in wanted if isinstance(ref, str))
    ids = sorted(ref for ref in wanted if isinstance(ref, int))
    found: dict[SessionRef, SessionRow] = {}
    for hashes in _chunks(key_hashes):
        found |= {row.key_hash: row for row in _read_sessions(tx, sessions.c.key_hash.in_(hashes))}
    for chunk in _chunks(ids):
        found |= {row.id: row for row in _read_sessions(tx, sessions.c.id.in_(chunk))}
    return found


def _read_sessions(tx: Tx, which: Any) -> list[SessionRow]:
    given = account_roles.c.account_id == sessions.c.account_id
    rows = tx.execute(
        select(
            sessions.c.id,
            sessions.c.key_hash,
            sessions.c.account_id,
            sessions.c.app,
            sessions.c.used_at,
            sessions.c.ends_at,
            accounts.c.openid,
            account_roles.c.role,
            staff.c.role.label("staff_role"),
            exists(select(1).where(staff_stores.c.account_id == staff.c.account_id)).label(
                "is_kept"
            ),
        )
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .join(account_roles, given, isouter=True)
        .join(staff, staff.c.account_id == sessions.c.account_id, isouter=True)
        .where(which, sessions.c.ended_at.is_(None), accounts.c.blocked_at.is_(None))
    ).all()
    roles: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        staff_role = kept(row.staff_role) if row.is_kept else row.staff_role
        roles[row.id] |= {row.role, staff_role} - {None}
    return [
        SessionRow(
            id=row.id,
            key_hash=row.key_hash,
            account_id=row.account_id,
            app=row.app,
            used_at=row.used_at,
            ends_at=row.ends_at,
            openid=row.openid,
            roles=frozenset(roles[row.id]),
        )
        for row in {row.id: row for row in rows}.values()
    ]


def touch_sessions(tx: Tx, uses: Mapping[int, Millis]) -> None:
    """Note when sessions were used, never earlier than noted already.

    To the second below, so that the many uses of one second are one statement.
    """
    seconds: defaultdict[Millis, list[int]] = defaultdict(list)
    for session_id in sorted(uses):
        seconds[uses[session_id] // 1000 * 1000].append(session_id)
    for used_at, ids in seconds.items():
        for chunk in _chunks(ids):
            older = and_(sessions.c.id.in_(chunk), sessions.c.used_at < used_at)
            tx.execute(update(sessions).where(older).values(used_at=used_at))


def end_session(tx: Tx, session_id: int) -> None:
    tx.execute(_end_sessions().where(sessions.c.id == session_id).values(ended_at=tx.now))


def end_sessions_of(tx: Tx, account_id: int, *, but: int = 0) -> list[int]:
    """End them all, or all but one; which ones is answered."""
    mine = and_(sessions.c.account_id == account_id, sessions.c.id != but)
    open_ones = and_(mine, sessions.c.ended_at.is_(None))
    ids = list(tx.execute(select(sessions.c.id).where(open_ones)).scalars())
    for chunk in _chunks(ids):
        tx.execute(_end_sessions().where(sessions.c.id.in_(chunk)).values(ended_at=tx.now))
    return ids


def _end_sessions() -> Any:
    return update(sessions).where(sessions.c.ended_at.is_(None))


def sweep_sessions(tx: Tx, *, unused_since: Millis, now: Millis) -> list[int]:
    """Remove a chunk of the sessions last used before unused_since or over by now."""
    over = or_(sessions.c.used_at < unused_since, sessions.c.ends_at < now)
    chosen = select(sessions.c.id).where(over).limit(CHUNK).with_for_update()
    ids = list(tx.execute(chosen).scalars())
    tx.execute(delete(sessions).where(sessions.c.id.in_(ids)))
    return ids


def grant(tx: Tx, account_id: int, template: str) -> None:
    """The person has granted one more message of this template."""
    row = {"account_id": account_id, "template": template, "count": 0, "changed_at": tx.now}
    _put_if_new(tx, message_grants, [row])
    room = message_grants.c.count < GRANTS_MAX
    _change_grants(tx, account_id, template, room, count=message_grants.c.count + 1)


def spend(tx: Tx, account_id: int, template: str) -> bool:
    """Use up one grant, in the transaction that puts the message into the outbox.

    False when there is none: then there is nothing to send.
    """
    some = message_grants.c.count > 0
    return _change_grants(tx, account_id, template, some, count=message_grants.c.count - 1)


def forget_grants(tx: Tx, account_id: int, template: str) -> None:
    """WeChat says there is none left, whatever we have counted."""
    _change_grants(tx, account_id, template, message_grants.c.count > 0, count=0)


def _change_grants(tx: Tx, account_id: int, template: str, when: Any, *, count: Any) -> bool:
    changed = tx.execute(
        update(message_grants)
        .where(message_grants.c.account_id == account_id, message_grants.c.template == template)
        .where(when)
        .values(count=count, changed_at=tx.now)
    )
    return changed.rowcount == 1


def read_access_token(tx: Tx, appid: str) -> AccessToken | None:
    row = tx.execute(_token_row(appid)).one_or_none()
    return AccessToken(row.token, row.expires_at) if row and row.token else None


def save_access_token(tx: Tx, appid: str, token: AccessToken) -> None:
    _make_token_row(tx, appid)
    mine = wechat_tokens.c.appid == appid
    new = {"token": token.token, "expires_at": token.expires_at}
    tx.execute(update(wechat_tokens).where(mine).values(new))


def claim_force(tx: Tx, appid: str, now: Millis) -> bool:
    """Whether a token may be forced now; a True counts as one of the day's twenty."""
    _make_token_row(tx, appid)
    row = tx.execute(_token_row(appid).with_for_update()).one()
    today = now // _DAY_MS
    so_far = row.forced_count if row.forced_on == today else 0
    if 0 <= now - row.forced_at < FORCE_APART_MS or so_far >= FORCES_A_DAY:
        return False
    new = {"forced_at": now, "forced_on": today, "forced_count": so_far + 1}
    tx.execute(update(wechat_tokens).where(wechat_tokens.c.appid == appid).values(new))
    return True


def _token_row(appid: str) -> Any:
    return select(wechat_tokens).where(wechat_tokens.c.appid == appid)


def _make_token_row(tx: Tx, appid: str) -> None:
    never = {"token": "", "expires_at": 0, "forced_at": 0, "forced_on": 0, "forced_count": 0}
    _put_if_new(tx, wechat_tokens, [{"appid": appid, **never}])


def _put_if_new(tx: Tx, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows unless there is one with the same key, which then stays as it is."""
    if tx.dialect == "sqlite":
        tx.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
    else:
        # Not INSERT IGNORE: it would also cut what is too long, and warns each time.
        key = next(iter(table.primary_key))
        tx.execute(mysql.insert(table).on_duplicate_key_update({key.name: key}), rows)


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
