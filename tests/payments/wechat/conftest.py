"""A WeChat Pay that says what it is told to say, and clients that speak to it."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from payments.wechat.signing import Merchant
from payments.wechat.transport import ClientCertificate
from payments.wechat.v2 import Addresses, WeChatPayV2
from tests.payments.wechat import papers, speech
from tests.payments.wechat.peer import Peer

NOTIFY = "https://canteen.example/wechat/v2/payment"
REFUND_NOTIFY = "https://canteen.example/wechat/v2/refund"


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    peer.start()
    yield peer
    await peer.stop()


@pytest.fixture
async def asking_peer(folder: papers.Papers) -> AsyncIterator[Peer]:
    """Speaks TLS, and looks at a certificate where there is one."""
    peer = Peer()
    peer.start(folder.asking())
    yield peer
    await peer.stop()


@pytest.fixture
async def demanding_peer(folder: papers.Papers) -> AsyncIterator[Peer]:
    """Speaks TLS, and with nobody who has no certificate."""
    peer = Peer()
    peer.start(folder.demanding())
    yield peer
    await peer.stop()


MakeClient = Callable[..., WeChatPayV2]


@pytest.fixture
async def make_client() -> AsyncIterator[MakeClient]:
    """`make_client(url)`: nonces are n1, n2, …"""
    made = []

    def make(
        url: str,
        *,
        merchant: Merchant = speech.MERCHANT,
        certificate: ClientCertificate | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 5.0,
    ) -> WeChatPayV2:
        numbers = itertools.count(1)
        client = WeChatPayV2(
            merchant,
            Addresses(api=url, notify=NOTIFY, refund_notify=REFUND_NOTIFY),
            certificate=certificate,
            ca_file=ca_file,
            nonce=lambda: f"n{next(numbers)}",
            timeout_s=timeout_s,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> papers.Papers:
    """An authority, a server of 127.0.0.1 and a merchant, with certificates."""
    return papers.Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def certificate(folder: papers.Papers) -> ClientCertificate:
    return ClientCertificate(cert_file=folder.merchant.cert, key_file=folder.merchant.key)


@pytest.fixture
def client(make_client: MakeClient, peer: Peer, certificate: ClientCertificate) -> WeChatPayV2:
    return make_client(peer.url, certificate=certificate)
