"""A shop that WeChat Pay notifies."""

from collections.abc import AsyncIterator

import pytest

from tests.simulators.pay.merchant import Shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    running = Shop()
    yield running
    await running.close()
