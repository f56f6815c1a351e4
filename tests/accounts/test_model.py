"""The rules that need no database."""

import pytest

from accounts.model import CodeRefused, UnfitArgument, WeChatRefused, is_live, mask, roles_of


@pytest.mark.parametrize(
    ("age_ms", "live"),
    [(-1, True), (0, True), (3_599_000, True), (3_600_000, True), (3_600_001, False)],
)
def test_a_session_lives_an_hour_after_its_last_use(age_ms: int, live: bool) -> None:
    used_at = 10_000_000_000

    assert (
        is_live(used_at=used_at, ends_at=1 << 50, now=used_at + age_ms, idle_ms=3_600_000) is live
    )


@pytest.mark.parametrize(("left_ms", "live"), [(1, True), (0, True), (-1, False)])
def test_a_session_used_all_the_time_ends_all_the_same(left_ms: int, live: bool) -> None:
    now = 10_000_000_000

    assert is_live(used_at=now, ends_at=now + left_ms, now=now, idle_ms=3_600_000) is live


def test_roles_follow_from_the_app_the_gifts_and_the_admin_list() -> None:
    admins = frozenset({"boss"})
    none: frozenset[str] = frozenset()

    assert roles_of("diner", openid="a", given=none, admins=admins) == {"diner"}
    assert roles_of("seller", openid="a", given=none, admins=admins) == {"seller"}
    assert roles_of("seller", openid="boss", given=none, admins=admins) == {"seller", "admin"}
    assert roles_of("diner", openid="a", given=frozenset({"admin"}), admins=none) == {
        "diner",
        "admin",
    }
    assert roles_of("board", openid="a", given=none, admins=admins) == none


def test_a_log_line_cannot_be_used_as_an_openid_or_a_phone() -> None:
    assert mask("13812345678") == "138****5678"
    assert mask("oABCD-1234567890abcdefghijkl") == "oAB****ijkl"
    assert mask("1234567") == "****"
    assert mask("") == "****"


def test_refusals_carry_their_number_and_nothing_else() -> None:
    assert str(CodeRefused(40029)) == "errcode 40029"
    assert WeChatRefused(47003, field="thing1").field == "thing1"
    assert UnfitArgument("date2").field == "date2"
