"""Whom a chain of proxies speaks for."""

import pytest

from handlers.address import TrustedProxies, masked


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1,203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.1", "1.1.1.1", "203.0.113.1"),
        ("", "1.1.1.1", ""),
    ],
)
def test_the_client_is_the_right_most_address_not_ours(peer: str, chain: str, client: str) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])

    assert proxies.client(peer, {"X-Forwarded-For": chain}) == client


def test_without_trusted_proxies_nobody_speaks_for_another() -> None:
    assert TrustedProxies().client("10.0.0.1", {"X-Forwarded-For": "1.1.1.1"}) == "10.0.0.1"


def test_a_proxy_that_is_no_address_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ValueError, match="nginx"):
        TrustedProxies(["nginx"])


def test_a_log_shows_the_network_only() -> None:
    assert masked("203.0.113.9") == "203.0.113.*"
    assert masked("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2:*"
