"""The pairs of keys, a platform that speaks version 3, and clients that speak to it."""

import itertools
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from payments.wechat.keys import PlatformKey, key_of
from payments.wechat.secrets import ApiV3Key, MerchantKey
from payments.wechat.signing_v3 import Identity
from payments.wechat.v3 import AddressesV3, WeChatPayV3
from tests.clock import Clock
from tests.payments.wechat.v3.platform import API_V3_KEY, MCH_ID, Pair, Platform

NOTIFY = "https://canteen.example/notify/wechatpay/v3"
PUBLIC_ID = "PUB_KEY_ID_0119000091912026112000000000000001"


class Pairs(msgspec.Struct, frozen=True):
    """first, second: certificates in turn; short expires on the 1st of December 2026."""

    merchant: Pair
    first: Pair
    second: Pair
    short: Pair
    public: Pair


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    return Pairs(Pair(), Pair(), Pair(), Pair(days=334), Pair(public_id=PUBLIC_ID))


@pytest.fixture(scope="session")
def identity(pairs: Pairs) -> Identity:
    merchant = pairs.merchant
    return Identity.of_certificate(MCH_ID, MerchantKey(merchant.key_pem), merchant.certificate_pem)


@pytest.fixture
def api_v3_key() -> ApiV3Key:
    return ApiV3Key(API_V3_KEY)


@pytest.fixture
async def platform(clock: Clock, pairs: Pairs) -> AsyncIterator[Platform]:
    platform = Platform(clock, pairs.first, pairs.merchant)
    platform.start()
    yield platform
    await platform.stop()


MakeClient = Callable[..., WeChatPayV3]


@pytest.fixture
async def make_client(
    clock: Clock, platform: Platform, pairs: Pairs, identity: Identity, api_v3_key: ApiV3Key
) -> AsyncIterator[MakeClient]:
    """`make_client(keys=[…])`: knows the first certificate unless told otherwise."""
    made = []

    def make(
        *,
        keys: list[PlatformKey] | None = None,
        url: str | None = None,
        fallback: str = "",
        timeout_s: float = 5.0,
    ) -> WeChatPayV3:
        numbers = itertools.count(1)
        client = WeChatPayV3(
            identity,
            AddressesV3(api=url or platform.url, notify=NOTIFY, fallback=fallback),
            api_v3_key,
            keys=[key_of(pairs.first.certificate)] if keys is None else keys,
            now=clock.now,
            nonce=lambda: f"n{next(numbers)}",
            timeout_s=timeout_s,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: MakeClient) -> WeChatPayV3:
    return make_client()


def public_key(pair: Pair) -> PlatformKey:
    return PlatformKey(id=pair.id, key=pair.private.public_key())
