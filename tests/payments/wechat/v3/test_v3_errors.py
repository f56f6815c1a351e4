"""What each refusal of version 3 asks for."""

import json

import pytest

from payments.gateway import AlreadyClosed, AlreadyPaid, NumberUsed, Reaction, Refused, Unknown
from payments.wechat.errors_v3 import RefusedV3, WrongState, refusal_v3


def refusal(
    code: str, *, call: str = "payscore create", status: int = 400, number: int = 0
) -> Exception:
    headers = {"request-id": f"08F78BB5AF06-{number}"} if number else {}
    body = json.dumps({"code": code, "message": "说明"}).encode()
    return refusal_v3(call, status, headers, body)


@pytest.mark.parametrize(
    ("number", "reaction"),
    [
        (271317510, Reaction.REPEAT_ORDER),
        (271316754, Reaction.WAIT),
        (271316574, Reaction.WAIT),
        (268435472, Reaction.WAIT),
        (271300099, Reaction.TELL_USER),
        (271299627, Reaction.TELL_USER),
        (271302144, Reaction.STOP),
        (271302149, Reaction.STOP),
        (271316637, Reaction.BUG),
        (271316656, Reaction.BUG),
    ],
)
def test_the_number_says_what_to_do(number: int, reaction: Reaction) -> None:
    error = refusal("INVALID_REQUEST", number=number)

    assert isinstance(error, RefusedV3)
    assert (error.number, error.reaction) == (number, reaction)
    assert f"-{number}" in str(error)


@pytest.mark.parametrize("number", [271302262, 271302333, 271302332, 271316592, 271316657])
def test_a_wrong_state_asks_for_a_query(number: int) -> None:
    assert isinstance(refusal("INVALID_REQUEST", number=number), WrongState)


def test_other_data_under_a_number_is_told_apart() -> None:
    assert isinstance(refusal("INVALID_REQUEST", number=271316598), NumberUsed)
    assert isinstance(refusal("OUT_TRADE_NO_USED"), NumberUsed)


def test_paid_and_closed_orders_are_told_apart() -> None:
    assert isinstance(refusal("ORDERPAID"), AlreadyPaid)
    assert isinstance(refusal("ORDER_CLOSED"), AlreadyClosed)


@pytest.mark.parametrize(
    ("call", "code", "status", "reaction"),
    [
        ("refunds", "NOT_ENOUGH", 403, Reaction.WAIT),
        ("refunds", "RESOURCE_NOT_EXISTS", 404, Reaction.MANUAL),
        ("refund", "RESOURCE_NOT_EXISTS", 404, Reaction.REPEAT_ORDER),
        ("refunds", "USER_ACCOUNT_ABNORMAL", 403, Reaction.MANUAL),
        ("refunds", "INVALID_REQUEST", 400, Reaction.MANUAL),
        ("refunds", "FREQUENCY_LIMITED", 429, Reaction.WAIT),
        ("refunds", "WHO_KNOWS", 429, Reaction.WAIT),
        ("refunds", "SIGN_ERROR", 401, Reaction.STOP),
        ("refunds", "NO_AUTH", 403, Reaction.STOP),
        ("refunds", "PARAM_ERROR", 400, Reaction.BUG),
        ("refunds", "BIZERR_NEED_RETRY", 400, Reaction.RETRY),
        ("tradebill", "STATEMENT_CREATING", 400, Reaction.WAIT),
    ],
)
def test_the_code_says_what_to_do(call: str, code: str, status: int, reaction: Reaction) -> None:
    error = refusal(code, call=call, status=status)

    assert isinstance(error, Refused)
    assert (error.err_code, error.reaction) == (code, reaction)


@pytest.mark.parametrize(
    ("code", "status"),
    [("SYSTEM_ERROR", 500), ("PARAM_ERROR", 502), ("", 202), ("", 302), ("NEW_CODE", 400)],
)
def test_what_is_not_known_is_unknown(code: str, status: int) -> None:
    assert isinstance(refusal(code, status=status), Unknown)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"code":5}', b"[" * 100_000])
def test_a_body_that_is_no_problem_is_unknown(body: bytes) -> None:
    error = refusal_v3("refunds", 403, {"request-id": "08F7\x1b[2J"}, body)

    assert isinstance(error, Unknown)
    assert "Request-Id 08F7?[2J" in str(error)
