"""A canteen at noon: sellers, diners and boards as real clients over the network.

Not a load test: it keeps the pace of people, and checks on the way what must always hold.
"""

from simulators.rush.canteen import Plan, Rush
from simulators.rush.ledger import Ledger

__all__ = ["Ledger", "Plan", "Rush"]
