"""An order of Payscore as WeChat tells of it."""

from typing import Any

from tests.payments.wechat.v3.platform import APPID, MCH_ID

SERVICE_ID = "500001"
OURS = {"appid": APPID, "service_id": SERVICE_ID}

ORDER: dict[str, Any] = OURS | {
    "out_order_no": "S1",
    "mchid": MCH_ID,
    "state": "CREATED",
    "state_description": "",
    "order_id": "15646546545165651651",
}
PAID: dict[str, Any] = ORDER | {
    "state": "DONE",
    "openid": "o-1",
    "total_amount": 1_500,
    "need_collection": True,
    "collection": {
        "state": "USER_PAID",
        "total_amount": 1_500,
        "paying_amount": 0,
        "paid_amount": 1_500,
        "details": [
            {
                "seq": 1,
                "amount": 1_500,
                "paid_type": "NEWTON",
                "paid_time": "20261120120006",
                "transaction_id": "4200000009",
            }
        ],
    },
}
