"""The beat all sockets share."""

import asyncio

from handlers.pulse import Pulse


class Sent:
    def __init__(self) -> None:
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1


async def test_an_action_comes_at_its_second_and_not_before() -> None:
    pulse, done = Pulse(), []
    pulse.after(2, lambda: done.append("at two"))
    pulse.after(0, lambda: done.append("at once"))
    pulse.after(2.5, lambda: done.append("at three"))

    pulse.beat()
    assert done == ["at once"]
    pulse.beat()
    assert done == ["at once", "at two"]
    pulse.beat(5)
    assert done == ["at once", "at two", "at three"]


async def test_real_time_drives_it_until_it_is_stopped() -> None:
    pulse, beaten = Pulse(beat_s=0.001), asyncio.Event()
    pulse.stop()
    pulse.after(0.005, beaten.set)

    pulse.start()
    await asyncio.wait_for(beaten.wait(), 10)

    pulse.stop()


async def test_all_senders_of_a_tick_are_flushed_at_its_end() -> None:
    pulse, first, second = Pulse(), Sent(), Sent()

    pulse.flush_soon(first)
    pulse.flush_soon(second)
    assert first.flushes == 0
    await asyncio.sleep(0)

    assert (first.flushes, second.flushes) == (1, 1)
