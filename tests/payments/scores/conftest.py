"""A market on each kind of database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulators.wechat import WeChat
from tests.payments.scores.market import Market


@pytest.fixture
async def market(database_url: str, wechat: WeChat, tmp_path: Path) -> AsyncIterator[Market]:
    market = Market(database_url, wechat, tmp_path)
    await market.open()
    yield market
    await market.close()
