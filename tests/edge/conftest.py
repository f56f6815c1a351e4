"""The whole server with people in it, as the tests of its edge use it."""

from collections.abc import AsyncIterator

import pytest

from server.app import App
from simulators.erp import Erp
from simulators.wechat import WeChat
from simulators.xiaomai import Xiaomai
from tests.clock import Clock
from tests.edge.money import pay_settings
from tests.edge.street import street_settings
from tests.edge.web import Web
from tests.edge.world import ADMIN_OPENID, World


@pytest.fixture
async def platform(clock: Clock) -> AsyncIterator[Xiaomai]:
    """The cabinets' platform; it tells us nothing by itself."""
    sim = Xiaomai(clock.now() / 1000)
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def erp(clock: Clock) -> AsyncIterator[Erp]:
    sim = Erp(clock.now() / 1000)
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
def settings(
    settings: dict[str, str], wechat: WeChat, platform: Xiaomai, erp: Erp
) -> dict[str, str]:
    return {
        **settings,
        **pay_settings(wechat),
        **street_settings(platform, erp),
        "CALLME_QUEUE__ADMIN_OPENIDS": ADMIN_OPENID,
        # The row of a session that has expired stays, so that it is refused for what it says.
        "CALLME_SESSION__SWEEP_S": "1000000000",
    }


@pytest.fixture
async def world(app: App, clock: Clock, wechat: WeChat, platform: Xiaomai) -> World:
    world = await World.make(app, clock, platform)
    # What is signed by a clock an hour behind is not believed.
    wechat.clock.set(clock.now() / 1000)
    return world


@pytest.fixture
async def web(app: App) -> AsyncIterator[Web]:
    async with Web(app.port) as client:
        yield client
