"""Notices as they came: each kept once, with what became of it."""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import delete, func, insert, select, update

from sql.database import Tx
from sql.tables.payments import payment_notices as notices
from sql.types import Millis

# An attacker may send as much as he likes, and fill no disk with it.
BAD_BODY_MAX = 4096

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
    """Keep each notice once, count its repeats; its last verdict counts."""
    latest = {one.notice.sha256: one for one in kept}
    known = _known(tx, latest)
    new = [_row(one, tx.now) for digest, one in latest.items() if digest not in known]
    if new:
        tx.execute(insert(notices), new)
    for digest, one in latest.items():
        times = sum(other.notice.sha256 == digest for other in kept) - (digest not in known)
        if times:
            _count(tx, digest, times, one)


def _known(tx: Tx, digests: Mapping[str, Kept]) -> set[str]:
    query = select(notices.c.sha256).where(notices.c.sha256.in_(sorted(digests)))
    return set(tx.execute(query).scalars())


def _row(one: Kept, now: Millis) -> dict[str, object]:
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


def _count(tx: Tx, digest: str, times: int, one: Kept) -> None:
    """A notice that was applied stays applied, however often it comes again."""
    values: dict[str, object] = {"times": notices.c.times + times, "last_at": tx.now}
    tx.execute(update(notices).where(notices.c.sha256 == digest).values(values))
    open_ones = notices.c.verdict.in_(("held", "failed"))
    changed = {"verdict": one.verdict[:40]}
    tx.execute(update(notices).where(notices.c.sha256 == digest, open_ones).values(changed))


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
