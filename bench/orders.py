"""Orders that wait to be paid, put straight into a database, and WeChat's notices that they are.

Beside `seed` the one place where the benchmarks know how these are stored.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

from sqlalchemy import func, insert, select

from payments.model import AttemptState, DebtState
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import SignType, sign
from queueing.renewals.store import MONTHS
from sql.database import Tx
from sql.tables.payments import debts, payment_attempts
from sql.tables.queueing import stall_purchases

APPID = "wx00000000000bench"
MCH_ID = "1900000109"
API_V2_KEY = "a-key-of-the-benchmarks-no-other"
FEN = 3_000
# Nobody asks about them, and they do not run out, while anything is measured.
LATER_MS = 90 * 60_000


def settings() -> dict[str, str]:
    """What the server must be told to take the notices for WeChat's."""
    return {
        "CALLME_WECHAT__SELLER_APPID": APPID,
        "CALLME_WECHATPAY__MCH_ID": MCH_ID,
        "CALLME_WECHATPAY__API_V2_KEY": API_V2_KEY,
        "CALLME_WECHATPAY__URL": "http://127.0.0.1:9",
        "CALLME_WECHATPAY__ALLOW_SIMULATOR": "true",
    }


def make_orders(
    tx: Tx, count: int, payers: Sequence[tuple[int, int]], *, months: bool
) -> list[str]:
    """Debts of months or of nothing in particular, each with an attempt; the attempts' numbers.

    payers: stalls, and for each the seller who pays.
    """
    first = 1 + (tx.execute(select(func.max(debts.c.id))).scalar() or 0)
    ids = range(first, first + count)
    owed = [_debt(tx.now, id_, *payers[id_ % len(payers)], months=months) for id_ in ids]
    attempts = [_attempt(tx.now, id_) for id_ in ids]
    tx.execute(insert(debts), owed)
    tx.execute(insert(payment_attempts), attempts)
    if months:
        tx.execute(insert(stall_purchases), [_purchase(debt) for debt in owed])
    return [str(attempt["out_trade_no"]) for attempt in attempts]


def _debt(now: int, id_: int, stall_id: int, seller: int, *, months: bool) -> dict[str, object]:
    return {
        "id": id_,
        "kind": MONTHS if months else "bench",
        "subject": stall_id,
        "payer_id": seller,
        "amount_fen": FEN,
        "refunded_fen": 0,
        "account": "sales",
        "description": "Stall 1个月",
        "state": DebtState.UNPAID,
        "created_at": now,
        "expires_at": now + LATER_MS,
        "cancel_asked_at": None,
        "ended_at": None,
        "next_at": now + LATER_MS,
        "version": 0,
    }


def _attempt(now: int, debt_id: int) -> dict[str, object]:
    return {
        "debt_id": debt_id,
        "live_debt": debt_id,
        "out_trade_no": f"20261120{debt_id:024}",
        "trade_type": "NATIVE",
        "openid": "",
        "amount_fen": FEN,
        "request": "{}",
        "request_hash": "",
        "state": AttemptState.SUBMITTED,
        "prepay_id": f"wx{debt_id}",
        "code_url": f"weixin://wxpay/bizpayurl?pr=n{debt_id}",
        "prepaid_at": now,
        "created_at": now,
        "expires_at": now + LATER_MS,
        "next_at": now + LATER_MS,
        "asked_at": now,
        "ended_at": None,
        "failure": "",
    }


def _purchase(debt: Mapping[str, object]) -> dict[str, object]:
    return {
        "debt_id": debt["id"],
        "stall_id": debt["subject"],
        "months": 1,
        "bought_at": debt["created_at"],
        "delivered_at": None,
        "taken_back": 0,
    }


def notice(out_trade_no: str) -> str:
    """That it is paid, as WeChat writes and signs it."""
    fields = {
        "appid": APPID,
        "bank_type": "CFT",
        "cash_fee": str(FEN),
        "fee_type": "CNY",
        "is_subscribe": "N",
        "mch_id": MCH_ID,
        "nonce_str": out_trade_no[::-1],
        "openid": "oUpF8uMEb4qRXf22hE3X68TekukE",
        "out_trade_no": out_trade_no,
        "result_code": "SUCCESS",
        "return_code": "SUCCESS",
        "time_end": "20261120120506",
        "total_fee": str(FEN),
        "trade_type": "NATIVE",
        "transaction_id": f"42{out_trade_no[6:]}",
    }
    fields["sign"] = sign(fields, ApiV2Key(API_V2_KEY), SignType.HMAC_SHA256)
    inner = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in fields.items())
    return f"<xml>{inner}</xml>"


def count_receipts(path: str) -> int:
    """How many payments a SQLite file has, whoever else works on it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM receipts").fetchone()[0])
