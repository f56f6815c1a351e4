"""The fields of the table of staff: n characters are taken, n + 1 are not, and what is absent."""

from typing import Any

import msgspec
import pytest

from accounts.staff.messages import (
    OwnPatch,
    PasswordReset,
    SignIn,
    StaffNew,
    StaffPatch,
    TotpCode,
    given,
)
from accounts.staff.model import PASSWORD_MAX
from sql.tables.staff import staff

REQUIRED = {"login_name": "li", "password": "noodles at noon", "role": "support"}

# Of each text: as long as it may be, in characters of several bytes where it takes them.
LONGEST = {
    "login_name": "李" * 20,
    "nickname": "🍜" * 100,
    "mobile": "+" + "1" * 19,
    "email": "a" * 60 + "@" + "b" * 39,
    "avatar": "a/b-" * 16,
}


def new(**fields: Any) -> StaffNew:
    return msgspec.convert({**REQUIRED, **fields}, StaffNew)


@pytest.mark.parametrize("name", LONGEST)
def test_a_text_may_be_as_long_as_its_column(name: str) -> None:
    assert getattr(new(**{name: LONGEST[name]}), name) == LONGEST[name]
    assert len(LONGEST[name]) == getattr(staff.c[name].type, "length", None)


@pytest.mark.parametrize("name", LONGEST)
@pytest.mark.parametrize("message", [StaffNew, StaffPatch, OwnPatch])
def test_a_text_may_not_be_longer(name: str, message: Any) -> None:
    if name not in message.__struct_fields__:
        return

    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({**REQUIRED, name: LONGEST[name] + "1"}, message)

    assert f"`$.{name}`" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sex", 3),
        ("sex", -1),
        ("sex", "1"),
        ("sex", True),
        ("status", 2),
        ("status", -1),
        ("role", "god"),
        ("role", ""),
        ("login_name", ""),
        ("nickname", "a\nb"),
        ("nickname", "a\n"),
        ("mobile", "138x"),
        ("email", "nobody"),
        ("email", "a b@c"),
        ("email", "a@b@c"),
        ("avatar", "https://elsewhere.example/a b"),
        ("avatar", "a:b"),
        ("reason", "r" * 201),
        ("password", "p" * (PASSWORD_MAX + 1)),
    ],
)
def test_what_is_none_of_the_values_is_refused(name: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        new(**{name: value})


@pytest.mark.parametrize(("name", "values"), [("sex", [0, 1, 2]), ("status", [0, 1])])
def test_each_value_of_an_enumeration_is_taken(name: str, values: list[int]) -> None:
    assert [getattr(new(**{name: value}), name) for value in values] == values


def test_what_is_absent_has_its_default() -> None:
    assert given(new()) == {
        "login_name": "li",
        "role": "support",
        "nickname": "",
        "mobile": "",
        "email": "",
        "sex": 0,
        "avatar": "",
        "status": 1,
        "store_ids": (),
    }


@pytest.mark.parametrize("name", REQUIRED)
def test_what_has_no_default_must_be_there(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert({key: REQUIRED[key] for key in REQUIRED if key != name}, StaffNew)


def test_of_a_change_only_what_was_sent_is_given() -> None:
    patch = msgspec.convert({"mobile": "", "sex": 2, "password": "", "reason": "r"}, StaffPatch)

    assert given(patch) == {"mobile": "", "sex": 2}
    assert given(msgspec.convert({}, StaffPatch)) == {}


def test_of_oneself_no_power_is_given() -> None:
    asked = {"nickname": "李", "login_name": "boss", "role": "owner", "status": 1, "password": "x"}

    assert given(msgspec.convert(asked, OwnPatch)) == {"nickname": "李"}


@pytest.mark.parametrize("code", ["12345", "1234567", "１２３４５６", "12345\n", "abcdef"])
def test_a_code_has_six_digits(code: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"totp": code}, TotpCode)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"login_name": "li", "password": "x", "totp": code}, SignIn)


def test_a_reset_leaves_the_second_factor_unless_it_is_told() -> None:
    reset = msgspec.convert({"new_password": "noodles at noon"}, PasswordReset)

    assert (reset.remove_totp, reset.reason) == (False, "")


@pytest.mark.parametrize("wrong", [[0], [-1], ["1"], [1.5], list(range(1, 502)), None, 1])
def test_stores_are_a_list_of_ids(wrong: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"store_ids": wrong}, StaffPatch)

    assert given(msgspec.convert({"store_ids": [2, 1]}, StaffPatch)) == {"store_ids": (2, 1)}
