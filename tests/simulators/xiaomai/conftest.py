"""A platform whose clock stands still, with one bound cabinet, and its customer."""

from collections.abc import AsyncIterator

import pytest

from simulators.xiaomai import Cabinet, Xiaomai
from tests.simulators.conftest import NOON_S
from tests.simulators.xiaomai.customer import Customer


@pytest.fixture
async def sim() -> AsyncIterator[Xiaomai]:
    sim = Xiaomai(start_s=NOON_S)
    await sim.start(port=0)
    sim.add_cabinet(
        "D1", doors=2, stock={"cola": 5, "tea": 5}, prices={"cola": 350, "tea": 450}, bound_to="S1"
    )
    yield sim
    await sim.stop()


@pytest.fixture
async def customer(sim: Xiaomai) -> AsyncIterator[Customer]:
    customer = Customer(sim)
    await customer.start()
    yield customer
    await customer.stop()


@pytest.fixture
def cabinet(sim: Xiaomai) -> Cabinet:
    return sim.cabinet("D1")
