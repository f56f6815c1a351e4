"""The ring: certificates and public keys together, renewed without ever being empty."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from payments.gateway import Unknown
from payments.wechat.errors import BadContent, BadSignature
from payments.wechat.keys import KeyRing, PlatformKey, key_of, keys_within, load_keys
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import Probe, Stale, UnknownKey
from tests.clock import Clock
from tests.payments.wechat.v3 import published
from tests.payments.wechat.v3.conftest import PUBLIC_ID, Pairs, public_key
from tests.payments.wechat.v3.platform import Pair, elliptic_key, listed, of_another_kind

ExpectLog = Callable[[str], None]
BODY = b'{"id":"EV-1"}'


class Depot:
    """Gives out these keys, when it is asked and let."""

    def __init__(self, *keys: PlatformKey) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.is_down = False
        self.let = asyncio.Event()
        self.let.set()

    async def __call__(self) -> list[PlatformKey]:
        self.asked += 1
        await self.let.wait()
        if self.is_down:
            raise Unknown("certificates: ConnectError")
        return self.keys


@pytest.fixture
def first(pairs: Pairs) -> PlatformKey:
    return key_of(pairs.first.certificate)


@pytest.fixture
def second(pairs: Pairs) -> PlatformKey:
    return key_of(pairs.second.certificate)


async def verify(ring: KeyRing, pair: Pair, clock: Clock) -> None:
    await ring.verify(pair.headers(BODY, clock.now() // 1000), BODY)


# ---------------------------------------------------------------- choosing


async def test_certificates_and_public_keys_are_good_at_the_same_time(
    clock: Clock, pairs: Pairs, first: PlatformKey, second: PlatformKey
) -> None:
    ring = KeyRing([first, second, public_key(pairs.public)], now=clock.now)

    for pair in (pairs.first, pairs.public, pairs.second):
        await verify(ring, pair, clock)
    assert ring.public_key_id == PUBLIC_ID


async def test_the_key_is_the_one_the_header_names(
    clock: Clock, pairs: Pairs, first: PlatformKey, second: PlatformKey
) -> None:
    ring = KeyRing([first, second], now=clock.now)
    headers = pairs.first.headers(BODY, clock.now() // 1000)

    with pytest.raises(BadSignature, match="does not match"):
        await ring.verify(headers | {"Wechatpay-Serial": pairs.second.id}, BODY)


async def test_serials_match_without_leading_zeros_and_in_either_case(
    clock: Clock, first: PlatformKey
) -> None:
    ring = KeyRing([PlatformKey(id="00AB" + first.id[4:], key=first.key)], now=clock.now)

    assert await ring.find("ab" + first.id[4:].lower()) == first.key


async def test_what_has_expired_is_dropped(clock: Clock, pairs: Pairs) -> None:
    ring = KeyRing([key_of(pairs.short.certificate)], now=clock.now)
    await verify(ring, pairs.short, clock)

    clock.set("2026-12-01T00:00:00+08:00")

    with pytest.raises(UnknownKey):
        await verify(ring, pairs.short, clock)
    assert ring.all() == []
    assert ring.for_secrets() is None


async def test_secrets_are_for_the_public_key_or_the_newest_certificate(
    clock: Clock, pairs: Pairs, first: PlatformKey
) -> None:
    short = key_of(pairs.short.certificate)
    public = public_key(pairs.public)

    assert KeyRing([short, first], now=clock.now).for_secrets() == first
    assert KeyRing([short, public, first], now=clock.now).for_secrets() == public
    assert KeyRing([first], now=clock.now).public_key_id == ""


# ---------------------------------------------------------------- renewing


async def test_an_unknown_serial_is_fetched(
    clock: Clock, pairs: Pairs, first: PlatformKey, second: PlatformKey
) -> None:
    depot = Depot(first, second)
    ring = KeyRing([first], now=clock.now, download=depot)

    await verify(ring, pairs.second, clock)

    assert depot.asked == 1
    assert {key.id for key in ring.all()} == {first.id, second.id}


async def test_made_up_serials_make_us_ask_once_a_minute(
    clock: Clock, pairs: Pairs, first: PlatformKey
) -> None:
    depot = Depot(first)
    ring = KeyRing([first], now=clock.now, download=depot)

    for _ in range(50):
        with pytest.raises(UnknownKey):
            await verify(ring, pairs.second, clock)
    clock.advance(seconds=59.9)
    with pytest.raises(UnknownKey):
        await verify(ring, pairs.second, clock)
    assert depot.asked == 1

    clock.advance(seconds=0.1)
    with pytest.raises(UnknownKey):
        await verify(ring, pairs.second, clock)

    assert depot.asked == 2


async def test_fifty_at_once_share_one_download(
    clock: Clock, pairs: Pairs, second: PlatformKey
) -> None:
    depot = Depot(second)
    depot.let.clear()
    ring = KeyRing([], now=clock.now, download=depot)

    waiting = [asyncio.create_task(verify(ring, pairs.second, clock)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    depot.let.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [None] * 49
    assert depot.asked == 1


async def test_a_failed_download_takes_nothing_away(
    clock: Clock, pairs: Pairs, first: PlatformKey, expect_log: ExpectLog
) -> None:
    depot = Depot()
    depot.is_down = True
    ring = KeyRing([first], now=clock.now, download=depot)
    expect_log("certificates cannot be renewed: certificates: ConnectError")

    with pytest.raises(UnknownKey):
        await verify(ring, pairs.second, clock)

    await verify(ring, pairs.first, clock)


async def test_a_list_without_a_good_key_takes_it_not_away(
    clock: Clock, pairs: Pairs, first: PlatformKey, second: PlatformKey
) -> None:
    ring = KeyRing([first], now=clock.now, download=Depot(second))

    await ring.refresh_due()

    await verify(ring, pairs.first, clock)
    await verify(ring, pairs.second, clock)


async def test_public_keys_are_not_asked_for(clock: Clock, pairs: Pairs) -> None:
    depot = Depot()
    ring = KeyRing([], now=clock.now, download=depot)

    with pytest.raises(UnknownKey):
        await verify(ring, pairs.public, clock)

    assert depot.asked == 0


async def test_probes_old_messages_and_strangers_make_us_ask_nothing(
    clock: Clock, pairs: Pairs
) -> None:
    depot = Depot()
    ring = KeyRing([], now=clock.now, download=depot)
    headers = pairs.second.headers(BODY, clock.now() // 1000)
    old = pairs.second.headers(BODY, clock.now() // 1000 - 300)

    with pytest.raises(Probe):
        await ring.verify(headers | {"Wechatpay-Signature": "WECHATPAY/SIGNTEST/x"}, BODY)
    with pytest.raises(Stale):
        await ring.verify(old, BODY)
    with pytest.raises(BadSignature):
        await ring.verify({}, BODY)

    assert depot.asked == 0


async def test_certificates_are_renewed_every_twelve_hours(
    clock: Clock, first: PlatformKey
) -> None:
    depot = Depot(first)
    ring = KeyRing([first], now=clock.now, download=depot)

    await ring.refresh_due()
    clock.advance(hours=11.99)
    await ring.refresh_due()
    assert depot.asked == 1
    clock.advance(hours=0.01)
    await ring.refresh_due()

    assert depot.asked == 2


async def test_the_job_hears_of_a_download_that_failed_and_tries_again(
    clock: Clock, first: PlatformKey
) -> None:
    depot = Depot(first)
    depot.is_down = True
    ring = KeyRing([], now=clock.now, download=depot)

    with pytest.raises(Unknown):
        await ring.refresh_due()
    depot.is_down = False
    await ring.refresh_due()

    assert ring.all() == [first]


async def test_a_ring_without_a_way_to_ask_has_nothing_to_renew(clock: Clock) -> None:
    ring = KeyRing([], now=clock.now)

    await ring.refresh_due()
    await ring.close()


async def test_closing_ends_a_download_under_way(clock: Clock, pairs: Pairs) -> None:
    depot = Depot()
    depot.let.clear()
    ring = KeyRing([], now=clock.now, download=depot)
    waiting = asyncio.create_task(verify(ring, pairs.second, clock))
    await asyncio.sleep(0)

    await ring.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


# ---------------------------------------------------------------- the list


def test_the_published_list_is_read() -> None:
    body = {
        "data": [
            {
                "serial_no": published.LISTED_SERIAL,
                "encrypt_certificate": {
                    "algorithm": "AEAD_AES_256_GCM",
                    "nonce": published.LISTED_NONCE,
                    "associated_data": published.LISTED_DATA,
                    "ciphertext": published.LISTED,
                },
            }
        ]
    }

    (key,) = keys_within(json.dumps(body).encode(), ApiV3Key(published.API_V3_KEY))

    assert key.id == published.LISTED_SERIAL
    # 2028-09-17T23:15:58+08:00, as the list says beside it.
    assert key.expires_at == 1_852_816_558_000


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":[{}]}', b"[" * 100_000])
def test_what_is_no_list_is_bad_content(body: bytes, api_v3_key: ApiV3Key) -> None:
    with pytest.raises(BadContent):
        keys_within(body, api_v3_key)


def test_a_list_sealed_with_another_key_is_bad_content(pairs: Pairs, api_v3_key: ApiV3Key) -> None:
    item = listed(pairs.first.certificate_pem, pairs.first.id, key="f" * 32)

    with pytest.raises(BadContent):
        keys_within(json.dumps({"data": [item]}).encode(), api_v3_key)


def test_a_certificate_under_another_serial_is_bad_content(
    pairs: Pairs, api_v3_key: ApiV3Key
) -> None:
    item = listed(pairs.first.certificate_pem, pairs.second.id)

    with pytest.raises(BadContent, match="another serial"):
        keys_within(json.dumps({"data": [item]}).encode(), api_v3_key)


@pytest.mark.parametrize("pem", [of_another_kind(), b"no certificate"])
def test_a_certificate_of_another_kind_is_left_out(
    pairs: Pairs, api_v3_key: ApiV3Key, expect_log: ExpectLog, pem: bytes
) -> None:
    expect_log("left out: it is not of RSA")
    items = [listed(pem, "5A"), listed(pairs.first.certificate_pem, pairs.first.id)]

    found = keys_within(json.dumps({"data": items}).encode(), api_v3_key)

    assert [key.id for key in found] == [pairs.first.id]


# ---------------------------------------------------------------- the folder


def test_a_folder_gives_certificates_and_public_keys(pairs: Pairs, tmp_path: Path) -> None:
    pairs.first.write(tmp_path).rename(tmp_path / "whatever.pem")
    pairs.public.write(tmp_path)
    (tmp_path / "notes.txt").write_text("from the merchant platform")

    keys = load_keys(tmp_path)

    assert {key.id: key.expires_at is None for key in keys} == {
        pairs.first.id: False,
        PUBLIC_ID: True,
    }


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", of_another_kind()])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "PUB_KEY_ID_1.pem").write_bytes(content)

    with pytest.raises(ValueError, match=r"PUB_KEY_ID_1\.pem holds neither"):
        load_keys(tmp_path)


def test_a_public_key_must_be_named_for_its_id(pairs: Pairs, tmp_path: Path) -> None:
    (tmp_path / "pub_key.pem").write_bytes(pairs.public.public_pem)

    with pytest.raises(ValueError, match=r"pub_key\.pem must be named for its key"):
        load_keys(tmp_path)


def test_a_private_key_in_the_folder_is_no_public_key(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(elliptic_key())

    with pytest.raises(ValueError, match=r"key\.pem holds neither"):
        load_keys(tmp_path)


def test_the_published_certificate_says_its_serial() -> None:
    certificate = x509.load_pem_x509_certificate(published.CERTIFICATE)

    assert key_of(certificate).id == published.CERTIFICATE_SERIAL
