"""What is wrong with a message, and what a refusal asks for.

BadMessage
├── BadXml        not the XML that WeChat sends
├── BadSignature  not signed, or not with our key
└── BadContent    signed, but it does not say what such a message must

Sources: wiki tables of err_code of each call, WxJava's WxPayErrorCode.
"""

from typing import Final

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    GatewayError,
    NumberUsed,
    Reaction,
    Refused,
    Unknown,
)


class BadMessage(ValueError):
    """A message that is not acted on. The text never holds a key, a signature or a value."""


class BadXml(BadMessage):
    pass


class BadSignature(BadMessage):
    pass


class BadContent(BadMessage):
    pass


_ANYWHERE: Final = {
    "FREQUENCY_LIMITED": Reaction.WAIT,
    "INVALID_REQ_TOO_MUCH": Reaction.WAIT,
    "NOAUTH": Reaction.STOP,
    "APPID_NOT_EXIST": Reaction.STOP,
    "MCHID_NOT_EXIST": Reaction.STOP,
    "APPID_MCHID_NOT_MATCH": Reaction.STOP,
    "CERT_ERROR": Reaction.STOP,
    "SIGNERROR": Reaction.STOP,
    "LACK_PARAMS": Reaction.BUG,
    "PARAM_ERROR": Reaction.BUG,
    "XML_FORMAT_ERROR": Reaction.BUG,
    "POST_DATA_EMPTY": Reaction.BUG,
    "REQUIRE_POST_METHOD": Reaction.BUG,
    "NOT_UTF8": Reaction.BUG,
    "ORDERNOTEXIST": Reaction.REPEAT_ORDER,
}

# What one code means differs from call to call: NOTENOUGH is the user's money in an order, and
# the merchant's in a refund.
_BY_CALL: Final = {
    "unifiedorder": {
        "NOTENOUGH": Reaction.TELL_USER,
    },
    "refund": {
        "BIZERR_NEED_RETRY": Reaction.RETRY,
        "NOTENOUGH": Reaction.WAIT,
        "ORDERNOTEXIST": Reaction.MANUAL,
        "TRADE_STATE_ERROR": Reaction.MANUAL,
        "TRADE_OVERDUE": Reaction.MANUAL,
        "USER_ACCOUNT_ABNORMAL": Reaction.MANUAL,
        "INVALID_TRANSACTIONID": Reaction.MANUAL,
        "REFUND_FEE_MISMATCH": Reaction.MANUAL,
        "ERROR": Reaction.MANUAL,
    },
    "refundquery": {
        "REFUNDNOTEXIST": Reaction.RETRY,
    },
}


def reaction_to(call: str, err_code: str) -> Reaction | None:
    """None for what is not known: the outcome is open, and never taken for a failure."""
    return _BY_CALL.get(call, {}).get(err_code) or _ANYWHERE.get(err_code)


def refusal(call: str, err_code: str, text: str) -> GatewayError:
    """The error that a signed `result_code` FAIL amounts to."""
    said = printable(text)
    if err_code == "ORDERPAID":
        return AlreadyPaid(said)
    if err_code == "ORDERCLOSED":
        return AlreadyClosed(said)
    # A number used before also comes as INVALID_REQUEST "201 商户订单号重复".
    if err_code in {"OUT_TRADE_NO_USED", "201"} or text.startswith("201 "):
        return NumberUsed(said)
    reaction = reaction_to(call, err_code)
    code = printable(err_code)
    return Refused(code, said, reaction) if reaction else Unknown(f"{call}: {code}: {said}")


def printable(text: str, most: int = 128) -> str:
    """WeChat's words, fit for a log line and a page of ours."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])
