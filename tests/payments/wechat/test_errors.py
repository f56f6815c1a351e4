"""What a code of WeChat's asks for."""

import pytest

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    GatewayError,
    NumberUsed,
    Reaction,
    Refused,
    Unknown,
)
from payments.wechat.errors import printable, reaction_to, refusal

SETUP = ["NOAUTH", "APPID_NOT_EXIST", "MCHID_NOT_EXIST", "APPID_MCHID_NOT_MATCH", "SIGNERROR"]
OURS = [
    "LACK_PARAMS", "PARAM_ERROR", "XML_FORMAT_ERROR", "POST_DATA_EMPTY", "REQUIRE_POST_METHOD",
    "NOT_UTF8",
]  # fmt: skip
FINAL = [
    "TRADE_STATE_ERROR", "TRADE_OVERDUE", "USER_ACCOUNT_ABNORMAL", "INVALID_TRANSACTIONID",
    "REFUND_FEE_MISMATCH", "ERROR",
]  # fmt: skip


@pytest.mark.parametrize("call", ["unifiedorder", "orderquery", "closeorder", "refund"])
@pytest.mark.parametrize(
    ("codes", "reaction"),
    [
        (SETUP, Reaction.STOP),
        (OURS, Reaction.BUG),
        (["FREQUENCY_LIMITED", "INVALID_REQ_TOO_MUCH"], Reaction.WAIT),
    ],
)
def test_some_codes_mean_the_same_everywhere(
    call: str, codes: list[str], reaction: Reaction
) -> None:
    assert {reaction_to(call, code) for code in codes} == {reaction}


def test_some_codes_mean_what_the_call_makes_of_them() -> None:
    assert reaction_to("unifiedorder", "NOTENOUGH") is Reaction.TELL_USER
    assert reaction_to("refund", "NOTENOUGH") is Reaction.WAIT
    assert reaction_to("closeorder", "ORDERNOTEXIST") is Reaction.REPEAT_ORDER
    assert reaction_to("refund", "ORDERNOTEXIST") is Reaction.MANUAL
    assert reaction_to("refundquery", "REFUNDNOTEXIST") is Reaction.RETRY


def test_a_refund_may_be_final() -> None:
    assert {reaction_to("refund", code) for code in FINAL} == {Reaction.MANUAL}
    assert {reaction_to("unifiedorder", code) for code in FINAL} == {None}


@pytest.mark.parametrize("call", ["unifiedorder", "refund", "refundquery", "nothing"])
@pytest.mark.parametrize("code", ["SYSTEMERROR", "INVALID_REQUEST", "signerror", "", "NEW", "\0"])
def test_what_is_not_known_is_unknown_and_never_failed(call: str, code: str) -> None:
    assert type(refusal(call, code, "?")) is Unknown


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        ("ORDERPAID", "", AlreadyPaid),
        ("ORDERCLOSED", "", AlreadyClosed),
        ("OUT_TRADE_NO_USED", "", NumberUsed),
        ("INVALID_REQUEST", "201 商户订单号重复", NumberUsed),
        ("NOAUTH", "商户无此接口权限", Refused),
    ],
)
def test_a_code_has_its_error(code: str, text: str, error: type[GatewayError]) -> None:
    assert type(refusal("unifiedorder", code, text)) is error


def test_words_of_others_are_made_fit_for_a_line() -> None:
    assert printable("a\nb\x1b\u202e中") == "a?b??中"
    assert printable("x" * 1000) == "x" * 128
