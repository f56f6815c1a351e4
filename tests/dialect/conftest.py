"""The canteen, on each kind of database."""

from collections.abc import AsyncIterator

import pytest

from server.app import App
from simulators.wechat import WeChat
from tests.clock import Clock
from tests.dialect.canteen import Canteen


@pytest.fixture
def way() -> str:
    """How the people of the canteen ask; a test file may override it."""
    return "form"


@pytest.fixture
async def canteen(app: App, wechat: WeChat, clock: Clock, way: str) -> AsyncIterator[Canteen]:
    canteen = Canteen(app, wechat, clock, way)
    await canteen.open()
    yield canteen
    await canteen.close()
