"""The platform's numbers for what went wrong, and whether anything was done.

1000 is this simulator's own, for a body that is not as the contract says: a platform is strict
where a customer's mistake would otherwise pass unseen.
"""

from typing import Any

MALFORMED = 1000
SIGNATURE = 1001
SKEW = 1002
REPLAY = 1003
APP_DISABLED = 1004
RATE = 1005
DEVICE_UNKNOWN = 2001
NOT_BOUND = 2002
OFFLINE = 2003
BUSY_SHOPPING = 2004
BUSY_RESTOCKING = 2005
MAINTENANCE = 2006
ON_UPS = 2007
HARDWARE = 2008
TEMPERATURE = 2009
REPEATED = 3001
NO_ANSWER = 3002
NOT_PULLED = 3003
LOCK_FAILED = 3004
NO_RESULT = 3005
SESSION_UNKNOWN = 3006
PENDING = 3007
ORDER_UNKNOWN = 4001
ORDER_CONFLICT = 4002
AMOUNT_MISMATCH = 4003
OVER_LIMIT = 4004
SKU_UNKNOWN = 4005
VIDEO_MISSING = 4006
VIDEO_PENDING = 4007
GOODS_REJECTED = 5001
VERSION_CONFLICT = 5002
INTERNAL = 9001
OVERLOADED = 9002

TEXTS = {
    0: "ok",
    MALFORMED: "the body is not as the contract says",
    SIGNATURE: "signature error",
    SKEW: "the timestamp is too far from ours",
    REPLAY: "the nonce was used for another request",
    APP_DISABLED: "the application is disabled",
    RATE: "too many requests",
    DEVICE_UNKNOWN: "device unknown",
    NOT_BOUND: "the device is not bound to you",
    OFFLINE: "the device is offline",
    BUSY_SHOPPING: "somebody is shopping",
    BUSY_RESTOCKING: "somebody is restocking",
    MAINTENANCE: "the device is in maintenance",
    ON_UPS: "the device runs on its UPS",
    HARDWARE: "hardware fault",
    TEMPERATURE: "locked because of its temperature",
    REPEATED: "request_id already used, this is the first result",
    NO_ANSWER: "the device did not answer",
    NOT_PULLED: "the door was not pulled",
    LOCK_FAILED: "the lock did not open",
    NO_RESULT: "no result in five minutes",
    SESSION_UNKNOWN: "session unknown",
    PENDING: "pending",
    ORDER_UNKNOWN: "order unknown",
    ORDER_CONFLICT: "conflict with what is known of the order",
    AMOUNT_MISMATCH: "the amounts do not add up",
    OVER_LIMIT: "over the limit",
    SKU_UNKNOWN: "sku unknown",
    VIDEO_MISSING: "there is no video",
    VIDEO_PENDING: "the video is not there yet",
    GOODS_REJECTED: "goods rejected",
    VERSION_CONFLICT: "version conflict",
    INTERNAL: "internal error",
    OVERLOADED: "overloaded",
}
# Everything else is HTTP 200, whatever the envelope says.
STATUSES = {MALFORMED: 400, RATE: 429, INTERNAL: 500, OVERLOADED: 503}
WAITS_S = {RATE: 1, OVERLOADED: 2}


class XmError(Exception):
    """An answer with a code of its own; data goes with it where the contract says so."""

    def __init__(self, code: int, detail: str = "", data: Any = None) -> None:
        text = TEXTS.get(code, "error")
        super().__init__(f"{text}: {detail}" if detail else text)
        self.code = code
        self.data = data
