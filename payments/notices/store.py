"""Notices as they came: each kept once, with what became of it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, select, update

from sql.database import Tx
from sql.tables.payments import payment_notices as notices
from sql.transaction import insert_missing
from sql.types import Millis

# An attacker may send as much as he likes, and fill no disk with it.
BAD_BODY_MAX = 4096

# Verdicts of a notice that was not settled when it came.
LATER = frozenset({"held", "failed"})

_HEADERS = ("wechatpay-", "content-type", "request-id")


class Notice(msgspec.Struct, frozen=True):
    """What came in: the bytes themselves, and those headers that say who signed them."""

    sha256: str
    path: str
    headers: str
    body: bytes


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A notice and its verdict. number: the out_trade_no or out_refund_no it is about."""

    notice: Notice
    verdict: str
    number: str = ""
    is_verified: bool = True


def notice_of(raw: bytes, headers: Mapping[str, str], path: str) -> Notice:
    signed = {name.lower(): value[:600] for name, value in headers.items()}
    chosen = {name: signed[name] for name in sorted(signed) if name.startswith(_HEADERS)}
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass") + b"\n" + raw).hexdigest()
    return Notice(digest, path[:100], msgspec.json.encode(chosen).decode(), raw)


def keep_notices(tx: Tx, kept: Sequence[Kept]) -> None:
    """Keep each notice once, and count its repeats.

    Its first verdict stays, unless it was kept for later.
    """
    first = {one.notice.sha256: one for one in reversed(kept)}
    known = _verdicts(tx, first)
    new = [_row(one, tx.now) for digest, one in first.items() if digest not in known]
    if new:
        # Another process may take the same notice at this moment.
        insert_missing(tx, notices, new)
    times = Counter(one.notice.sha256 for one in kept)
    times.subtract(first.keys() - known.keys())
    _count(tx, times)
    for digest, verdict in known.items():
        if verdict in LATER:
            again = update(notices).where(notices.c.sha256 == digest)
            tx.execute(again.values(verdict=first[digest].verdict[:40]))


_MINE = notices.c.sha256.in_(bindparam("digests", expanding=True))
_VERDICTS = select(notices.c.sha256, notices.c.verdict).where(_MINE)
_AGAIN = (
    update(notices)
    .where(_MINE)
    .values(times=notices.c.times + bindparam("more"), last_at=bindparam("now"))
)


def _verdicts(tx: Tx, digests: Iterable[str]) -> dict[str, str]:
    rows = tx.execute(_VERDICTS, {"digests": sorted(digests)})
    return {row.sha256: row.verdict for row in rows}


def _row(one: Kept, now: Millis) -> dict[str, Any]:
    body = one.notice.body if one.is_verified else one.notice.body[:BAD_BODY_MAX]
    return {
        **msgspec.structs.asdict(one.notice),
        "body": body,
        "is_verified": one.is_verified,
        "verdict": one.verdict[:40],
        "number": one.number,
        "times": 1,
        "received_at": now,
        "last_at": now,
    }


def _count(tx: Tx, times: Mapping[str, int]) -> None:
    """One statement for all that came once more, one for all that came twice more, …"""
    groups: dict[int, list[str]] = {}
    for digest, count in times.items():
        groups.setdefault(count, []).append(digest)
    for count, digests in groups.items():
        if count:
            tx.execute(_AGAIN, {"digests": sorted(digests), "more": count, "now": tx.now})


def keep_bad(tx: Tx, kept: Kept, *, since: Millis, most: int) -> bool:
    """Keep what could not be verified, unless `most` such came since; whether there is room."""
    bad = select(func.count()).where(
        notices.c.is_verified.is_(False), notices.c.received_at >= since
    )
    if tx.execute(bad).scalar_one() >= most:
        return False
    keep_notices(tx, [kept])
    return True


def sweep_bad(tx: Tx, *, older_than: Millis, most: int = 500) -> int:
    """Remove what could not be verified and came before older_than."""
    old = select(notices.c.id).where(
        notices.c.is_verified.is_(False), notices.c.received_at < older_than
    )
    ids = list(tx.execute(old.limit(most)).scalars())
    if ids:
        tx.execute(delete(notices).where(notices.c.id.in_(ids)))
    return len(ids)
