"""Whatever goes wrong on the way, the outcome is unknown."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from payments.gateway import Unknown
from payments.wechat.transport import ANSWER_MAX_BYTES, ClientCertificate, Transport
from tests.payments.wechat import papers
from tests.payments.wechat.peer import Peer


async def posted(peer: Peer, **settings: object) -> bytes:
    transport = Transport(peer.url, **settings)  # type: ignore[arg-type]
    try:
        return await transport.post("/p", b"<xml/>", headers={"content-type": "text/xml"})
    finally:
        await transport.close()


async def test_the_body_of_an_answer_is_all_we_want(peer: Peer) -> None:
    peer.says_body(b"x" * ANSWER_MAX_BYTES)

    assert await posted(peer) == b"x" * ANSWER_MAX_BYTES

    (request,) = peer.requests
    assert (request.method, request.path, request.body) == ("POST", "/p", b"<xml/>")
    assert request.headers["content-type"] == "text/xml"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "502 Bad Gateway", "204 Nothing"])
async def test_only_a_200_is_looked_into(peer: Peer, status: str) -> None:
    peer.says_body(b"", status=status, headers="Location: /elsewhere\r\n")

    with pytest.raises(Unknown, match=f"/p: HTTP {status[:3]}"):
        await posted(peer)

    assert len(peer.requests) == 1


async def test_an_answer_has_a_greatest_length(peer: Peer) -> None:
    peer.says_body(b"x" * (ANSWER_MAX_BYTES + 1))

    with pytest.raises(Unknown, match="longer than"):
        await posted(peer)


async def test_an_answer_that_was_compressed_is_not_opened(peer: Peer) -> None:
    peer.says_body(gzip.compress(b"x" * 1000), headers="Content-Encoding: gzip\r\n")

    with pytest.raises(Unknown, match="compressed"):
        await posted(peer)


async def test_hanging_up_is_no_answer(peer: Peer) -> None:
    peer.hangs_up()

    with pytest.raises(Unknown, match="/p: RemoteProtocolError") as unknown:
        await posted(peer)

    assert unknown.value.__context__ is None


async def test_silence_is_no_answer(peer: Peer) -> None:
    peer.keeps_silent()

    with pytest.raises(Unknown, match="Timeout"):
        await posted(peer, timeout_s=0.2)


async def test_nobody_there_is_no_answer(peer: Peer) -> None:
    await peer.stop()

    with pytest.raises(Unknown, match="ConnectError"):
        await posted(peer)


async def test_a_stranger_is_not_spoken_to(asking_peer: Peer) -> None:
    """The system's authorities do not know this one."""
    with pytest.raises(Unknown, match="ConnectError"):
        await posted(asking_peer)

    assert asking_peer.requests == []


async def test_a_certificate_is_shown_where_it_is_demanded(
    demanding_peer: Peer,
    folder: papers.Papers,
    certificate: ClientCertificate,
    expect_log: Callable[[str], None],
) -> None:
    demanding_peer.says_body(b"welcome")
    ca_file = folder.authority.cert

    assert await posted(demanding_peer, ca_file=ca_file, certificate=certificate) == b"welcome"
    expect_log("PEER_DID_NOT_RETURN_A_CERTIFICATE")
    with pytest.raises(Unknown):
        await posted(demanding_peer, ca_file=ca_file)

    assert demanding_peer.certified == [True]


def test_a_certificate_that_does_not_fit_is_found_at_once(
    folder: papers.Papers, tmp_path: Path
) -> None:
    merchant = folder.merchant
    for cert_file, key_file in [
        (tmp_path / "nothing.pem", merchant.key),
        (merchant.cert, folder.server.key),
        (merchant.cert, folder.encrypted_key()),
    ]:
        wrong = ClientCertificate(cert_file=cert_file, key_file=key_file)
        with pytest.raises(OSError, match=r"\[|No such"):
            Transport("https://127.0.0.1:9", certificate=wrong)


def test_a_certificate_says_when_it_ends(certificate: ClientCertificate) -> None:
    assert certificate.expires_at() == int(papers.EXPIRES.timestamp()) * 1000
