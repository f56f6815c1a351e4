"""Login names, passwords, codes and permissions: the rules that need no database."""

import pyotp
import pytest

from accounts.staff import totp
from accounts.staff.model import (
    COMMON_PASSWORDS,
    PASSWORD_MIN,
    UnfitLoginName,
    WeakPassword,
    check_login_name,
    check_password,
    folded,
)
from accounts.staff.permissions import ROLES, Permission, allowed, kept, permissions_of

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NOW = 1_800_000_015_000
STEP = NOW // totp.STEP_MS


@pytest.mark.parametrize("name", ["a", "li", "Li.Ming_2-b@x", "李明", "x" * 20, "straße"])
def test_a_plain_login_name_is_taken(name: str) -> None:
    check_login_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 21, "li ming", "li\n", "li\x00", "ｌｉ", "ﷺ", "li/ming", "a\u202eb"]
)
def test_a_login_name_that_could_be_taken_for_another_is_refused(name: str) -> None:
    with pytest.raises(UnfitLoginName):
        check_login_name(name)


def test_names_are_the_same_in_whatever_case_and_width() -> None:
    assert folded("LI") == folded("li") == folded("ｌＩ")
    assert folded("STRASSE") == folded("straße")


def test_a_folded_name_fits_its_column() -> None:
    longest = max((chr(n) for n in range(0x20, 0x30000) if _is_fit(chr(n))), key=_folded_length)

    assert _folded_length(longest) * 20 <= 60


def _is_fit(name: str) -> bool:
    try:
        check_login_name(name)
    except UnfitLoginName:
        return False
    return True


def _folded_length(name: str) -> int:
    return len(folded(name))


@pytest.mark.parametrize("password", ["abcdefgh12", "x" * 253 + "yzw", "牛肉面不要香菜加辣椒"])
def test_a_long_password_is_taken(password: str) -> None:
    check_password(password, login_name="li")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "abcdefgh1",
        "abcdefgh12" * 26,
        "abababababab",
        "li.ming.the.boss",
        "LI.MING.THE.BOSS",
        "password123",
        "Password123",
        "1234567890",
    ],
)
def test_a_password_that_is_soon_guessed_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword) as refused:
        check_password(password, login_name="li.ming.the.boss")

    assert str(refused.value)


def test_the_list_holds_only_what_its_length_would_let_pass() -> None:
    assert min(map(len, COMMON_PASSWORDS)) >= PASSWORD_MIN
    assert {folded(each) for each in COMMON_PASSWORDS} == COMMON_PASSWORDS


# ---------------------------------------------------------------- the second factor


def test_the_codes_are_those_of_the_rfc() -> None:
    # RFC 6238, appendix B, SHA-1: the last six of its eight digits.
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

    for at_s, code in [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]:
        assert totp.step_of(secret, code, now=at_s * 1000, after=0) == at_s // 30


@pytest.mark.parametrize(("offset", "found"), [(-2, None), (-1, -1), (0, 0), (1, 1), (2, None)])
def test_a_code_is_good_one_step_early_and_one_late(offset: int, found: int | None) -> None:
    code = pyotp.TOTP(SECRET).generate_otp(STEP + offset)

    step = totp.step_of(SECRET, code, now=NOW, after=0)

    assert step == (None if found is None else STEP + found)


def test_no_code_is_good_twice_nor_one_before_it() -> None:
    codes = [pyotp.TOTP(SECRET).generate_otp(STEP + offset) for offset in (-1, 0, 1)]

    found = [totp.step_of(SECRET, code, now=NOW, after=STEP) for code in codes]

    assert found == [None, None, STEP + 1]


@pytest.mark.parametrize("code", ["", "12345", "１２３４５６", "000000 ", "abcdef"])
def test_what_is_no_code_is_not_found(code: str) -> None:
    assert totp.step_of(SECRET, code, now=NOW, after=0) is None


def test_an_authenticator_can_read_the_uri() -> None:
    secret = totp.new_secret()

    read = pyotp.parse_uri(totp.uri(secret, login_name="li"))

    assert isinstance(read, pyotp.TOTP)
    assert (read.secret, read.issuer, read.name) == (secret, "callme", "li")
    assert len(secret) == 32
    assert secret != totp.new_secret()


# ---------------------------------------------------------------- permissions


def test_an_owner_may_everything_and_every_permission_has_its_roles() -> None:
    for each in Permission:
        assert "owner" in allowed(each) <= {*ROLES, *map(kept, ROLES)}
    assert permissions_of("owner") == [each.value for each in Permission]


def test_who_is_kept_to_stores_has_what_is_of_stores_alone() -> None:
    everywhere, there = (set(permissions_of("finance", is_kept=each)) for each in (False, True))

    assert there < everywhere
    assert {"cabinet_orders.refund", "sales.read", "members.read"} <= there
    # Of every store at once.
    assert not there & {"members.tickets", "members.bar"}
    assert not there & {"payments.read", "payments.refund", "bills.read", "audit.read"}
    assert not there & {"stalls.read", "tickets.read", "alerts.clear", "accounts.manage"}
    assert kept("operator") in allowed(Permission.DEVICES_OPEN)
    assert kept("operator") not in allowed(Permission.STALLS_CHANGE)


def test_who_only_reads_changes_nothing() -> None:
    assert all(each.endswith(".read") for each in permissions_of("readonly"))
    assert "audit.read" not in permissions_of("readonly")
    assert set(permissions_of("operator")) >= {"stalls.change", "months.give"}
    assert "payments.refund" in permissions_of("finance")
    assert "payments.refund" not in permissions_of("operator")
