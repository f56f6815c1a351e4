"""A WeChat of the test's own, whose clock stands still until the test turns it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from simulators.wechat import WeChat

NOON_S = 1_795_147_200.0


@pytest.fixture
async def wechat() -> AsyncIterator[WeChat]:
    sim = WeChat(start_s=NOON_S)
    await sim.start(port=0)
    yield sim
    await sim.stop()


@pytest.fixture
async def caller(wechat: WeChat) -> AsyncIterator[httpx.AsyncClient]:
    """What the product's server is to WeChat: somebody who calls."""
    async with httpx.AsyncClient(base_url=wechat.url, timeout=5, trust_env=False) as client:
        yield client
