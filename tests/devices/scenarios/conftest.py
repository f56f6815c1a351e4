"""The towns of tests/devices/flow: all invariants hold after each scenario."""

from tests.devices.flow.conftest import one_town, pay_town, town

__all__ = ["one_town", "pay_town", "town"]
