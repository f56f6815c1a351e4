"""What Xiaomai says unasked, signed with the test's own writing of the contract."""

import hashlib
import hmac
import itertools
import json
from typing import Any

APP_ID = "xm_app_test"
SECRET = "xm_test_secret_0123456789abcdef"
OLD_SECRET = "xm_test_secret_of_last_month_000"
ENDPOINT = "ep_test"
PATH = f"/cb/xiaomai/{ENDPOINT}/events"

_numbers = itertools.count(1)


def signature(
    secret: str, body: bytes, *, path: str, timestamp: str, nonce: str, query: str = ""
) -> str:
    digest = hashlib.sha256(body).hexdigest()
    text = f"XM1-HMAC-SHA256\nPOST\n{path}\n{query}\n{timestamp}\n{nonce}\n{digest}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def headers(
    body: bytes,
    *,
    now: int,
    secret: str = SECRET,
    path: str = PATH,
    nonce: str = "",
    app_id: str = APP_ID,
) -> dict[str, str]:
    """Of a callback sent now (in milliseconds), with a nonce of its own unless one is given."""
    nonce = nonce or f"nonce{next(_numbers):016d}"
    timestamp = str(now // 1000)
    return {
        "x-xm-app-id": app_id,
        "x-xm-key-id": "cb1",
        "x-xm-timestamp": timestamp,
        "x-xm-nonce": nonce,
        "x-xm-sign": signature(secret, body, path=path, timestamp=timestamp, nonce=nonce),
    }


def event(event_type: str, data: object = None, /, **common: Any) -> bytes:
    fields = {
        "event_id": f"ev_{next(_numbers)}",
        "event_type": event_type,
        "occurred_at": 1_795_147_200_000,
        "sent_at": 1_795_147_200_100,
        "attempt": 1,
        "device_code": "XM-1",
        "door_no": 1,
        "seq": 7,
        "boot_id": "b1",
        "session_no": "S1",
        "request_id": "R1",
        "data": {} if data is None else data,
    }
    return json.dumps(fields | common, ensure_ascii=False).encode()


def order(**changes: Any) -> dict[str, Any]:
    return {
        "wheat_order_no": "XM20261120000001",
        "rev": 1,
        "certainty": "certain",
        "opened_at": 1_795_147_190_000,
        "closed_at": 1_795_147_199_000,
        "items": [
            {
                "sku": "cola",
                "barcode": "690001",
                "name": "可乐",
                "qty": 2,
                "price_fen": 350,
                "confidence": 0.99,
            }
        ],
        "candidates": [],
        "total_fen": 700,
        "weight_before_g": 9_000,
        "weight_after_g": 8_300,
        "abnormal_reasons": [],
        "video": {"state": "pending", "slices": 0},
    } | changes
