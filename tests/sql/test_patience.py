"""A wait ends in time, even when what waits swallows its cancellation."""

import asyncio

import pytest

from sql.patience import Patience


async def wait_deaf(times: int) -> None:
    """Wait for ever, and not hear the first cancellations."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
    await asyncio.Event().wait()


@pytest.mark.parametrize("deaf", [0, 1, 3])
async def test_a_wait_ends_however_often_it_must_be_told(
    monkeypatch: pytest.MonkeyPatch, deaf: int
) -> None:
    monkeypatch.setattr(Patience, "again_s", 0.01)
    task = asyncio.current_task()
    assert task is not None

    with pytest.raises(TimeoutError), Patience(0.01):
        await wait_deaf(deaf)

    assert task.cancelling() == 0


async def test_what_is_done_in_time_is_not_disturbed() -> None:
    with Patience(30):
        await asyncio.sleep(0)

    with pytest.raises(KeyError), Patience(30):
        raise KeyError


async def test_what_ends_in_its_own_way_though_late_is_no_time_out() -> None:
    with Patience(0.01):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

    await asyncio.sleep(0)


async def test_a_caller_that_is_cancelled_meanwhile_is_cancelled() -> None:
    async def wait() -> None:
        with Patience(0.01):
            try:
                await asyncio.Event().wait()
            finally:
                task.cancel()
                await asyncio.Event().wait()

    task = asyncio.create_task(wait())

    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()
