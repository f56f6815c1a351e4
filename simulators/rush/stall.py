"""One stall at noon: customers come, dishes get ready, numbers are called and collected."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random

from simulators.rush import menu
from simulators.rush.ledger import Ledger
from simulators.rush.links import LinkLostError, Pace, RefusedError
from simulators.rush.slip import Slip
from simulators.rush.tills import Till, happens

GAP_S = 5.0
COOKING_S = (14.0, 45.0)
# A seller calls again only after the server had its time (20 s) to tell the diner by WeChat.
COLLECTED_WITHIN_S = 24.0
# More people than this do not queue at one stall: they go to the next.
QUEUE_MAX = 45
POOL_IS_EMPTY = frozenset({"pool.exhausted", "No Sn Valid"})

Welcome = Callable[[Slip, Random], Coroutine[None, None, None]]


class Stall:
    """welcome: takes a new slip to a diner, and returns when that diner's visit is over."""

    def __init__(
        self, till: Till, welcome: Welcome, ledger: Ledger, pace: Pace, rng: Random
    ) -> None:
        self._till = till
        self._welcome = welcome
        self._ledger = ledger
        self._pace = pace
        self._rng = rng
        self._customers: set[asyncio.Task[None]] = set()
        self._left_behind: list[Slip] = []

    async def run(self, closing: asyncio.Event) -> None:
        """Until closing, and then until the last dish is collected."""
        restless = asyncio.create_task(self._lose_the_net())
        try:
            await self._open(closing)
            while not await happens(closing, self._rng.expovariate(1 / GAP_S), self._pace):
                if len(self._customers) < QUEUE_MAX:
                    await self._next_customer()
            if self._customers:
                await asyncio.wait(self._customers)
            await self._clear_up()
        finally:
            restless.cancel()
            for customer in self._customers:
                customer.cancel()
            await asyncio.gather(restless, *self._customers, return_exceptions=True)
            await self._till.close()

    async def _open(self, closing: asyncio.Event) -> None:
        while not closing.is_set():
            try:
                await self._till.open()
            except RefusedError as refusal:
                self._ledger.refuse(refusal.code)
            except LinkLostError:
                self._ledger.count("given_up")
            else:
                return
            await self._pace.wait(10)

    async def _next_customer(self) -> None:
        try:
            slip = await self._till.issue(menu.note(self._rng), twice=self._rng.random() < 0.08)
        except RefusedError as refusal:
            self._ledger.refuse(refusal.code)
            await self._get_over(refusal)
            return
        except LinkLostError:
            self._ledger.count("given_up")
            return
        self._ledger.issued(slip.stall_id, slip.number, slip.label)
        customer = asyncio.create_task(self._serve(slip, Random(self._rng.random())))
        self._customers.add(customer)
        customer.add_done_callback(self._served)

    async def _get_over(self, refusal: RefusedError) -> None:
        if refusal.code in POOL_IS_EMPTY:
            await self._clear_up()
        await self._pace.wait(5)

    def _served(self, customer: "asyncio.Task[None]") -> None:
        self._customers.discard(customer)
        if not customer.cancelled() and (error := customer.exception()):
            self._ledger.violate(f"a customer of the rush itself failed: {error!r}")

    async def _serve(self, slip: Slip, rng: Random) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self._welcome(slip, Random(rng.random())))
            try:
                await self._pace.wait(rng.uniform(*COOKING_S))
                await self._call_until_collected(slip, rng)
            except RefusedError as refusal:
                self._ledger.refuse(refusal.code)
            except LinkLostError:
                self._ledger.count("given_up")
                self._ledger.ending(slip.stall_id, slip.number)
            finally:
                slip.is_over.set()
                slip.called.set()

    async def _call_until_collected(self, slip: Slip, rng: Random) -> None:
        await self._call(slip, twice=rng.random() < 0.06)
        for _ in range(2):
            if await happens(slip.is_collected, COLLECTED_WITHIN_S, self._pace):
                break
            await self._till.recall(slip)
            slip.calls_made += 1
            self._ledger.count("recalled")
        if not slip.is_collected.is_set():
            await self._give_up(slip, rng)
        elif not slip.is_ended_by_diner:
            await self._finish(slip)

    async def _call(self, slip: Slip, *, twice: bool) -> None:
        await self._till.call(slip, twice=twice)
        slip.calls_made += 1
        slip.called.set()
        self._ledger.count("called")

    async def _give_up(self, slip: Slip, rng: Random) -> None:
        """Nobody came: marked, and cleared away after a while, mostly."""
        await self._till.no_show(slip)
        self._ledger.count("no_shows")
        late = await happens(slip.is_collected, 30, self._pace)
        if late or rng.random() < 0.8:
            await self._finish(slip)
        else:
            self._left_behind.append(slip)

    async def _finish(self, slip: Slip) -> None:
        self._ledger.ending(slip.stall_id, slip.number)
        await self._till.finish(slip)
        self._ledger.count("finished")

    async def _clear_up(self) -> None:
        """Finish what was left behind, so that its numbers come back."""
        left, self._left_behind = self._left_behind, []
        try:
            for slip in left:
                await self._finish(slip)
            await self._till.tidy()
        except RefusedError as refusal:
            self._ledger.refuse(refusal.code)
        except LinkLostError:
            self._ledger.count("given_up")

    async def _lose_the_net(self) -> None:
        """Sellers' phones fall off the net too, just more seldom."""
        while True:
            await self._pace.wait(self._rng.uniform(40, 120))
            self._till.drop(self._rng.uniform(1, 6) / self._pace.speed)
