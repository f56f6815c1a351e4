"""The live server, once on each transport."""

from collections.abc import AsyncIterator

import pytest

from handlers.transport import Bounds
from tests.clock import Clock
from tests.handlers.live import Live


@pytest.fixture(params=["socket", "stream"])
def is_lean(request: pytest.FixtureRequest) -> bool:
    """On the bare socket, and over Tornado's stream."""
    return bool(request.param == "socket")


@pytest.fixture
def bounds() -> Bounds:
    """A test file may override these."""
    return Bounds()


@pytest.fixture
async def live(clock: Clock, bounds: Bounds, is_lean: bool) -> AsyncIterator[Live]:
    server = Live(clock, is_lean=is_lean, bounds=bounds)
    yield server
    await server.stop()
