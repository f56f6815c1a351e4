"""A running server, the WeChat beside it, and a client, under the names pytest-tornado gave them.

`docs/decisions/0003` tells why they are ours.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from tornado.httpclient import AsyncHTTPClient

from simulators.wechat import DINER_APPID, DINER_SECRET, SELLER_APPID, SELLER_SECRET, WeChat
from tests.clock import Clock

if TYPE_CHECKING:
    from server.app import App

# Who signs in with this openid is an administrator.
ADMIN = "admin-li"


class Running(Protocol):
    """What is asked of a server by those who only need its address."""

    @property
    def port(self) -> int: ...

    async def stop(self) -> None: ...


@pytest.fixture
async def wechat(clock: Clock) -> AsyncIterator[WeChat]:
    """A WeChat of the test's own; its clock stands still, apart from the test's."""
    sim = WeChat(start_s=clock.now() / 1000)
    await sim.start(port=0)
    yield sim
    await sim.stop()


@pytest.fixture
def settings(database_url: str, wechat: WeChat, tmp_path: Path) -> dict[str, str]:
    """The environment the server is started with; a test file may override or extend it."""
    return {
        "CALLME_SERVER__HOST": "127.0.0.1",
        "CALLME_SERVER__PORT": "0",
        "CALLME_SERVER__BASE_URL": "http://127.0.0.1",
        "CALLME_SERVER__SECRET": "a secret of the tests, long enough to sign with",
        "CALLME_SERVER__MEDIA_DIR": str(tmp_path / "media"),
        "CALLME_SERVER__ACCESS_LOG": "false",
        "CALLME_CABINET__COMPLAINTS_DIR": str(tmp_path / "complaints"),
        "CALLME_DATABASE__URL": database_url,
        "CALLME_LIMITS__ENABLED": "false",
        "CALLME_QUEUE__ADMIN_OPENIDS": ADMIN,
        "CALLME_WECHAT__API_URL": wechat.url,
        "CALLME_WECHAT__DINER_APPID": DINER_APPID,
        "CALLME_WECHAT__DINER_SECRET": DINER_SECRET,
        "CALLME_WECHAT__SELLER_APPID": SELLER_APPID,
        "CALLME_WECHAT__SELLER_SECRET": SELLER_SECRET,
    }


@pytest.fixture
async def app(settings: dict[str, str], clock: Clock) -> "AsyncIterator[App]":
    """The whole server on a free port, with the test's clock."""
    from server.app import start
    from server.config import load

    running = await start(load(environment=settings), clock.now)
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def http_server(app: Running) -> Running:
    return app


@pytest.fixture
def http_port(app: Running) -> int:
    return app.port


@pytest.fixture
def base_url(http_port: int) -> str:
    return f"http://127.0.0.1:{http_port}"


@pytest.fixture
async def http_client() -> AsyncIterator[AsyncHTTPClient]:
    """Tornado's client: `await http_client.fetch(base_url + "/healthz")`."""
    client = AsyncHTTPClient(force_instance=True)
    try:
        yield client
    finally:
        client.close()
