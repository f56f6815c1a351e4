"""Idempotency keys: the same key and request get the first answer again.

The key is claimed in the transaction of the change itself, so that there is never an
effect without its key nor a key without its effect.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from sql.tables.core import idempotency
from sql.transaction import Tx
from sql.types import Millis

P = ParamSpec("P")
T = TypeVar("T")


class KeyReused(Exception):
    """The key was used before for another request."""

    code = "idempotency.key_reused"
    title = "This Idempotency-Key was used for another request"


def key_id(scope: str, key: str) -> str:
    """The row's id for a client's key within a scope (an account, a session)."""
    return hashlib.sha256(f"{scope}\n{key}".encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(*parts: object) -> str:
    """A digest of what was asked, to tell a repeat from another request."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Asked(msgspec.Struct, frozen=True):
    """A client's key ("" for none), in whose scope, and a fingerprint of what was asked."""

    scope: str
    key: str
    mark: str


_FIND = select(idempotency.c.id, idempotency.c.fingerprint, idempotency.c.answer).where(
    idempotency.c.id.in_(bindparam("ids", expanding=True))
)


def find_answers(tx: Tx, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Stored (fingerprint, answer) by id, for a list verb."""
    rows = tx.execute(_FIND, {"ids": list(ids)})
    return {row.id: (row.fingerprint, row.answer) for row in rows}


def keep_answers(tx: Tx, rows: Iterable[tuple[str, str, str]]) -> None:
    """Store (id, fingerprint, answer), for a list verb."""
    values = [
        {"id": id_, "fingerprint": mark, "answer": answer, "created_at": tx.now}
        for id_, mark, answer in rows
    ]
    if values:
        tx.execute(insert(idempotency), values)


def once(
    tx: Tx,
    scope: str,
    key: str,
    mark: str,
    run: Callable[Concatenate[Tx, P], str],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> str:
    """Run run(tx, …) unless its key was seen; return its answer (a text), or the first one.

    An empty key runs always. Raises KeyReused.
    """
    if not key:
        return run(tx, *args, **kwargs)
    id_ = key_id(scope, key)
    known = find_answers(tx, [id_]).get(id_) or _claim(tx, id_, mark)
    if known is not None:
        if known[0] != mark:
            raise KeyReused(key)
        return known[1]
    answer = run(tx, *args, **kwargs)
    tx.execute(idempotency.update().where(idempotency.c.id == id_).values(answer=answer))
    return answer


def once_as(
    tx: Tx,
    of: type[T],
    asked: Asked,
    run: Callable[Concatenate[Tx, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """As `once`, for what is a value of ours; a repeat gets an equal one."""

    def as_text(tx: Tx) -> str:
        return msgspec.json.encode(run(tx, *args, **kwargs)).decode()

    return msgspec.json.decode(once(tx, asked.scope, asked.key, asked.mark, as_text), type=of)


def known(tx: Tx, of: type[T], asked: Asked) -> T | None:
    """The first answer, where there is one already; for what takes more than a transaction.

    Raises KeyReused.
    """
    id_ = key_id(asked.scope, asked.key)
    found = find_answers(tx, [id_]).get(id_) if asked.key else None
    if found is None:
        return None
    if found[0] != asked.mark:
        raise KeyReused(asked.key)
    return msgspec.json.decode(found[1], type=of)


def forget(tx: Tx, asked: Asked) -> None:
    """Let a key be as new: what it was claimed for has not happened."""
    tx.execute(delete(idempotency).where(idempotency.c.id == key_id(asked.scope, asked.key)))


def _claim(tx: Tx, id_: str, mark: str) -> tuple[str, str] | None:
    """Put the key in; what a second process has put in first, if it has.

    While that process is in its transaction, ours waits here for its commit.
    """
    try:
        keep_answers(tx, [(id_, mark, "")])
    except IntegrityError:
        return find_answers(tx, [id_])[id_]
    return None


def sweep(tx: Tx, *, older_than: Millis, most: int = 500) -> int:
    """Forget keys created before older_than."""
    old: list[Any] = [
        row.id
        for row in tx.execute(
            select(idempotency.c.id).where(idempotency.c.created_at < older_than).limit(most)
        )
    ]
    if old:
        tx.execute(delete(idempotency).where(idempotency.c.id.in_(old)))
    return len(old)
