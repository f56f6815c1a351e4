"""With TLS the socket stays with Tornado's stream; the rest is the same."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.framing import text_frame
from handlers.stream import StreamTransport
from tests.clock import Clock
from tests.handlers.live import Client, Closed, Live


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
            "-days", "3650", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
async def live(clock: Clock, certificate: tuple[Path, Path]) -> AsyncIterator[Live]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = Live(clock, is_lean=True, tls=context)
    yield server
    await server.stop()


@pytest.fixture
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


async def test_a_board_over_tls_hears_a_call(live: Live, trust: ssl.SSLContext) -> None:
    board = await (await live.connect(tls=trust)).as_board()
    await board.listen("stall:7")

    live.happen("stall:7")

    assert (await board.event())["seq"] == 1
    [connection] = live.connections()
    assert isinstance(connection.transport, StreamTransport)
    await board.leave()


async def test_a_hostile_frame_over_tls_is_answered_before_the_end(
    live: Live, trust: ssl.SSLContext
) -> None:
    client = await live.connect(tls=trust)
    await client.message()

    client.send_bytes(text_frame(b"not masked"))

    assert await client.close_code() == 1002
    with pytest.raises(Closed):
        await client.frame()


async def test_a_restart_over_tls_sends_everyone_away(live: Live, trust: ssl.SSLContext) -> None:
    clients: list[Client] = [await live.connect(tls=trust) for _ in range(3)]

    live.hub.close()

    codes = await asyncio.gather(*(client.close_code() for client in clients))
    assert codes == [1012] * 3
