"""A shop that WeChat Pay notifies, and its server."""

from collections.abc import AsyncIterator

import httpx
import pytest

from simulators.wechat import WeChat
from tests.simulators.pay.merchant import Shop
from tests.simulators.pay.v3 import Client


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    running = Shop()
    yield running
    await running.close()


@pytest.fixture
def client(wechat: WeChat, caller: httpx.AsyncClient) -> Client:
    """A merchant's server that speaks V3."""
    return Client(wechat, caller)
