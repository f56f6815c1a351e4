"""The queries of accounts, sessions, grants and access tokens. All may be run again."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Table, and_, delete, insert, or_, select, update
from sqlalchemy.dialects import mysql, sqlite

from accounts.model import Account, AccountBlocked, App
from sql.database import Tx
from sql.tables.accounts import account_roles, accounts, message_grants, sessions, wechat_tokens
from sql.types import Millis

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
    account_id: int
    app: App
    used_at: Millis
    ends_at: Millis
    openid: str
    roles: frozenset[str]


class AccessToken(msgspec.Struct, frozen=True):
    token: str
    expires_at: Millis


def find_or_make_account(tx: Tx, app: App, openid: str) -> Account:
    """The account of this openid, made at the first call. Raises AccountBlocked."""
    here = and_(accounts.c.app == app, accounts.c.openid == openid)
    found = tx.execute(select(accounts).where(here)).one_or_none()
    if found is None:
        row = {"app": app, "openid": openid, "created_at": tx.now}
        _put_if_new(tx, accounts, row)
        # Locking, so that another process's row is seen once it is committed.
        found = tx.execute(select(accounts).where(here).with_for_update()).one()
    if found.blocked_at is not None:
        raise AccountBlocked
    return msgspec.convert(found._mapping, Account)


def read_account(tx: Tx, account_id: int) -> Account | None:
    row = tx.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return row and msgspec.convert(row._mapping, Account)


def give_role(tx: Tx, account_id: int, role: str) -> None:
    row = {"account_id": account_id, "role": role, "since": tx.now}
    _put_if_new(tx, account_roles, row)


def take_role(tx: Tx, account_id: int, role: str) -> None:
    mine = and_(account_roles.c.account_id == account_id, account_roles.c.role == role)
    tx.execute(delete(account_roles).where(mine))


def block_account(tx: Tx, account_id: int) -> list[int]:
    """Block it and end its sessions; which ones is answered."""
    tx.execute(_blocked(account_id, until_now=True).values(blocked_at=tx.now))
    return end_sessions_of(tx, account_id)


def unblock_account(tx: Tx, account_id: int) -> None:
    tx.execute(_blocked(account_id, until_now=False).values(blocked_at=None))


def _blocked(account_id: int, *, until_now: bool) -> Any:
    column = accounts.c.blocked_at
    state = column.is_(None) if until_now else column.is_not(None)
    return update(accounts).where(accounts.c.id == account_id, state)


def open_session(
    tx: Tx, *, account_id: int, app: App, key_hash: str, now: Millis, ends_at: Millis
) -> SessionRow:
    """Raises AccountBlocked, also for an account that does not exist."""
    row = {
        "key_hash": key_hash,
        "account_id": account_id,
        "app": app,
        "created_at": now,
        "used_at": now,
        "ends_at": ends_at,
    }
    tx.execute(insert(sessions), row)
    opened = read_session(tx, key_hash)
    if opened is None:
        raise AccountBlocked
    return opened


def read_session(tx: Tx, key_hash: str) -> SessionRow | None:
    found = _read_sessions(tx, sessions.c.key_hash == key_hash)
    return found[0] if found else None


def read_sessions(tx: Tx, ids: Sequence[int]) -> list[SessionRow]:
    return [row for chunk in _chunks(ids) for row in _read_sessions(tx, sessions.c.id.in_(chunk))]


def _read_sessions(tx: Tx, which: Any) -> list[SessionRow]:
    given = account_roles.c.account_id == sessions.c.account_id
    rows = tx.execute(
        select(
            sessions.c.id,
            sessions.c.account_id,
            sessions.c.app,
            sessions.c.used_at,
            sessions.c.ends_at,
            accounts.c.openid,
            account_roles.c.role,
        )
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .join(account_roles, given, isouter=True)
        .where(which, sessions.c.ended_at.is_(None), accounts.c.blocked_at.is_(None))
    ).all()
    roles: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        roles[row.id] |= {row.role} - {None}
    return [
        SessionRow(
            id=row.id,
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


def end_sessions_of(tx: Tx, account_id: int) -> list[int]:
    open_ones = and_(sessions.c.account_id == account_id, sessions.c.ended_at.is_(None))
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
    _put_if_new(tx, message_grants, row)
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
    _put_if_new(tx, wechat_tokens, {"appid": appid, **never})


def _put_if_new(tx: Tx, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row unless there is one with its key, which then stays as it is."""
    if tx.dialect == "sqlite":
        tx.execute(sqlite.insert(table).values(row).on_conflict_do_nothing())
    else:
        # Not INSERT IGNORE: it would also cut what is too long, and warns each time.
        key = next(iter(table.primary_key))
        tx.execute(mysql.insert(table).values(row).on_duplicate_key_update({key.name: key}))


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
