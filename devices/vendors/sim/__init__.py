"""The second vendor: plain JSON over REST, amounts in yuan, times as texts, and no signature.

It proves the port. Who calls us back is known by an allow-list of addresses and by a secret in
the path, neither of which proves what was said: its orders are asked for before they count.
"""

from devices.vendors.sim.vendor import Sim

__all__ = ["Sim"]
