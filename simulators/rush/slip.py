"""The paper slip with the number: what seller and customer know of each other in person."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Slip:
    """is_collected: the diner stands at the counter with it; is_over: nothing more comes.

    called_at_s: when the seller's tap left for the server, by the monotonic clock.
    """

    stall_id: int
    number: int
    ticket_id: int | None
    dish: str
    calls_made: int = 0
    called_at_s: float = 0.0
    is_ended_by_diner: bool = False
    called: asyncio.Event = field(default_factory=asyncio.Event)
    is_collected: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def label(self) -> str:
        return f"{self.stall_id}/{self.number} ({self.dish})"
