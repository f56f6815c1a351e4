"""The whole server with people in it, as the tests of its edge use it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from server.app import App, start
from server.config import load
from simulators.wechat import (
    DINER_APPID,
    DINER_SECRET,
    SELLER_APPID,
    SELLER_SECRET,
    WeChat,
)
from tests.clock import Clock
from tests.edge.web import Web
from tests.edge.world import ADMIN_OPENID, World
from tests.fixtures_app import Running


@pytest.fixture
async def wechat_of_edge() -> AsyncIterator[WeChat]:
    running = WeChat()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def settings(wechat_of_edge: WeChat, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "CALLME_SERVER__HOST": "127.0.0.1",
        "CALLME_SERVER__PORT": "0",
        "CALLME_SERVER__SECRET": "a secret of the tests, long enough to sign with",
        "CALLME_SERVER__MEDIA_DIR": str(tmp_path / "media"),
        "CALLME_DATABASE__URL": database_url,
        "CALLME_LIMITS__ENABLED": "false",
        "CALLME_WECHAT__API_URL": wechat_of_edge.url,
        "CALLME_WECHAT__DINER_APPID": DINER_APPID,
        "CALLME_WECHAT__DINER_SECRET": DINER_SECRET,
        "CALLME_WECHAT__SELLER_APPID": SELLER_APPID,
        "CALLME_WECHAT__SELLER_SECRET": SELLER_SECRET,
        "CALLME_QUEUE__ADMIN_OPENIDS": ADMIN_OPENID,
        # The row of a session that has expired stays, so that it is refused for what it says.
        "CALLME_SESSION__SWEEP_S": "1000000000",
    }


@pytest.fixture
async def app(settings: dict[str, str], clock: Clock) -> AsyncIterator[Running]:
    running = await start(load(environment=settings), clock.now)
    yield running
    await running.stop()


@pytest.fixture
async def world(app: Running, clock: Clock) -> World:
    return await World.make(cast("App", app), clock)


@pytest.fixture
async def web(app: Running) -> AsyncIterator[Web]:
    async with Web(app.port) as client:
        yield client
