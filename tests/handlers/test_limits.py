"""Buckets: how many at once, how many on average, and how many are remembered."""

from hypothesis import given
from hypothesis import strategies as st

from handlers.limits import Limit, Limits, address_key


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    limit = Limit(per_s=2, burst=3)

    assert [limit.allow("a", 0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.allow("a", 499) > 0
    assert limit.allow("a", 500) == 0.0
    assert limit.allow("b", 500) == 0.0


def test_after_a_rest_the_whole_burst_is_there_again() -> None:
    limit = Limit(per_s=2, burst=3)
    for _ in range(3):
        limit.allow("a", 0)

    assert [limit.allow("a", 60_000) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_what_is_forgiven_was_not_counted() -> None:
    limit = Limit(per_s=2, burst=3)
    for _ in range(3):
        limit.allow("a", 0)

    limit.forgive("a")
    limit.forgive("never seen")

    assert [limit.allow("a", 0) for _ in range(2)] == [0.0, 0.5]
    assert len(limit) == 1


def test_looking_counts_nothing() -> None:
    limit = Limit(per_s=1, burst=1)

    assert [limit.wait("a", 0) for _ in range(9)] == [0.0] * 9
    assert limit.allow("a", 0) == 0.0
    assert limit.wait("a", 0) == 1.0
    assert len(limit) == 1


def test_the_key_that_was_silent_longest_is_forgotten() -> None:
    limit = Limit(per_s=1, burst=1, keys_max=2)
    for key in ("a", "b"):
        limit.allow(key, 0)
    assert limit.allow("a", 1000) == 0.0

    limit.allow("c", 1000)

    assert len(limit) == 2
    assert limit.allow("a", 1000) > 0
    assert limit.allow("b", 1000) == 0.0


def test_a_clock_set_back_locks_nobody_out() -> None:
    limit = Limit(per_s=1, burst=2)
    limit.allow("a", 10_000_000)

    assert limit.allow("a", 0) == 0.0


@given(st.lists(st.integers(0, 400), max_size=200))
def test_never_more_than_the_burst_and_the_rate(gaps: list[int]) -> None:
    limit, now, allowed = Limit(per_s=10, burst=5), 0, 0

    for gap in gaps:
        now += gap
        wait_s = limit.allow("a", now)
        allowed += not wait_s
        assert 0 <= wait_s <= 0.1

    assert allowed <= 5 + now / 100


def test_the_defaults_are_those_of_the_protocol() -> None:
    limits = Limits()

    for limit, burst in (
        (limits.session, 200), (limits.address, 1500),
        (limits.sign_in, 10), (limits.wrong_numbers, 10),
    ):  # fmt: skip
        assert [limit.allow("a", 0) for _ in range(burst)] == [0.0] * burst
        assert limit.allow("a", 0) > 0


def test_an_ipv6_subscriber_counts_as_one() -> None:
    assert (
        address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::") == "2001:db8:1:2::/64"
    )
    assert address_key("2001:db8:1:3::1") != address_key("2001:db8:1:2::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("192.0.2.2") != address_key("192.0.2.1")
    assert address_key("unix") == "unix"
