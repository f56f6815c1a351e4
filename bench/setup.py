"""How long and how often is measured."""

import msgspec


class Setup(msgspec.Struct, frozen=True):
    rounds: int = 3
    warmup_s: float = 2.0
    seconds: float = 6.0
    crowd: int = 10_000
    """Connections where the goal says ten thousand."""
    is_quick: bool = False


FULL = Setup()
QUICK = Setup(rounds=1, warmup_s=0.5, seconds=1.5, crowd=2_000, is_quick=True)
