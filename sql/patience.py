"""A time-out that is not forgotten."""

import asyncio
from types import TracebackType


class Patience:
    """`with Patience(5.0): await …` raises TimeoutError, as asyncio.timeout does.

    But it cancels again each second until the waiting ends. Before Python 3.12
    asyncio.wait_for, under which aiomysql connects, swallows a cancellation that comes at the
    moment its own work is done; what follows then waited for a silent server for ever.
    """

    again_s = 1.0

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._cancels = 0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._timeout_s, self._cancel)

    def _cancel(self) -> None:
        self._cancels += 1
        self._task.cancel()
        self._timer = self._loop.call_later(self.again_s, self._cancel)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        for _n in range(self._cancels):
            self._task.uncancel()
        # Somebody else may have cancelled us too: that is no time-out.
        ours = self._cancels and self._task.cancelling() <= self._cancelled_before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error
