"""Crowds of callbacks: forged ones without effect, good ones never refused, none lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from devices.inbox import model
from tests.devices.inbox.post import Line, Post
from tests.devices.vendors import speech

WINDOW_MS = 300_000

# Body, headers, and the status it must be answered with.
Forged = tuple[bytes, dict[str, str], int]


async def sent(lines: list[Line], posts: list[tuple[bytes, dict[str, str]]]) -> list[int]:
    """Send all, over all lines at once; the statuses in order."""
    statuses = [0] * len(posts)
    numbers = iter(range(len(posts)))

    async def work(line: Line) -> None:
        for number in numbers:
            statuses[number] = (await line.send(speech.PATH, *posts[number])).status

    await asyncio.gather(*(work(line) for line in lines))
    return statuses


def forged(dice: random.Random, now: int, good: list[tuple[bytes, dict[str, str]]]) -> Forged:
    """Something that must have no effect, and what it is answered."""
    body, headers = dice.choice(good)
    changed = bytearray(body)
    place = dice.randrange(len(body))
    changed[place] ^= 1 << dice.randrange(8)
    other = bytes(changed)
    fresh = speech.event("order.pushed", speech.order(), event_id=f"forged{dice.random()}")
    stale_s = dice.randint(301, 100_000) * dice.choice((-1, 1))
    return dice.choice(
        [
            # The bytes of a good one, changed, with its signature.
            (other, headers, 401),
            # Signed with a guess.
            (fresh, speech.headers(fresh, now=now, secret=f"{dice.random()}"), 401),
            # The signature of another.
            (fresh, headers, 401),
            # No signature, or half of one.
            (fresh, {}, 401),
            (body, headers | {"x-xm-sign": headers["x-xm-sign"][:32]}, 401),
            (body, headers | {"x-xm-nonce": headers["x-xm-nonce"][::-1]}, 401),
            (body, headers | {"x-xm-timestamp": str(now // 1000 + dice.randint(1, 300))}, 401),
            # Of another time: right, but long ago or not yet.
            (fresh, speech.headers(fresh, now=now + stale_s * 1000), 401),
            # The nonce of a good one for another body, by one who has the key.
            (fresh, speech.headers(fresh, now=now, nonce=headers["x-xm-nonce"]), 401),
            # The very same once more: the same answer, and nothing else.
            (body, headers, 200),
            # Signed anew by the vendor.
            (body, speech.headers(body, now=now), 200),
        ]
    )


@pytest.mark.torture
async def test_forged_replayed_and_stale_callbacks_have_no_effect(
    quick_post: Post, torture_rounds: int, expect_log: Callable[[str], None]
) -> None:
    expect_log("the clock of xiaomai is wrong")
    dice = random.Random(7)
    now = quick_post.clock.now()
    bodies = [
        speech.event("door.opened", device_code=f"D{n}", seq=n, event_id=f"good{n}")
        for n in range(20)
    ]
    good = [(body, speech.headers(body, now=now)) for body in bodies]
    lines = [await quick_post.line() for _ in range(16)]
    assert set(await sent(lines, good)) == {200}
    await quick_post.inbox.work_due()
    before, handled = await quick_post.rows(), quick_post.notes.handled

    attacks = [forged(dice, now, good) for _ in range(250 * torture_rounds)]
    statuses = await sent(lines, [(body, headers) for body, headers, _ in attacks])
    await quick_post.inbox.work_due()

    assert statuses == [status for _, _, status in attacks]
    assert await quick_post.rows() == before
    assert quick_post.notes.handled == handled
    assert Counter(statuses)[401] > len(attacks) / 2


@pytest.mark.torture
async def test_good_callbacks_with_jitter_are_all_taken(
    quick_post: Post, torture_rounds: int
) -> None:
    dice = random.Random(8)
    now = quick_post.clock.now()
    bodies = [
        speech.event("door.opened", device_code=f"D{n % 30}", event_id=f"good{n}")
        for n in range(50 * torture_rounds)
    ]
    posts = [
        (body, speech.headers(body, now=now + dice.randint(-WINDOW_MS, WINDOW_MS) // 1000 * 1000))
        for body in bodies
    ]
    lines = [await quick_post.line() for _ in range(16)]

    statuses = await sent(lines, posts)

    assert set(statuses) == {200}
    assert len(await quick_post.rows()) == len(posts)


@pytest.mark.torture
async def test_in_a_storm_nothing_is_lost_and_each_device_is_heard_in_order(
    post: Post, torture_rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callbacks of many devices that were offline, all at once, while the inbox is worked off."""
    monkeypatch.setattr(model, "TELEMETRY_WAITING_MAX", 60)
    events, devices = max(500, 25 * torture_rounds), max(50, 5 * torture_rounds // 2)
    words: dict[str, list[tuple[str, bytes]]] = {}
    for number in range(events):
        device, seq = f"D{number % devices}", number // devices
        kind = "device.telemetry" if seq % 3 == 0 else "door.opened"
        name = f"{device}/{seq}"
        body = speech.event(kind, {}, device_code=device, seq=seq, event_id=name)
        words.setdefault(device, []).append((name, body))
    acknowledged = list[str]()
    sent_back = Counter[str]()

    async def speak(line: Line, mine: list[str]) -> None:
        """As the platform does: a device's next word when the one before was thanked for."""
        for device in mine:
            for name, body in words[device]:
                while True:
                    headers = speech.headers(body, now=post.clock.now())
                    answer = await line.send(speech.PATH, body, headers)
                    if answer.status == 200:
                        break
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) > 0
                    sent_back["telemetry" if b"telemetry" in body else "door"] += 1
                    await asyncio.sleep(0)
                acknowledged.append(name)

    async def work(speaking: asyncio.Task[object]) -> None:
        # Slower than the crowd at first, so that too much waits.
        while not speaking.done():
            if post.inbox.waiting > 100 or sent_back:
                await post.inbox.work_due()
            await asyncio.sleep(0.001)

    lines = [await post.line() for _ in range(32)]
    shares = [list(words)[n::32] for n in range(32)]
    speaking: asyncio.Task[object] = asyncio.ensure_future(
        asyncio.gather(*(speak(line, mine) for line, mine in zip(lines, shares, strict=True)))
    )
    await work(speaking)
    await speaking
    await post.inbox.work_due()

    rows = await post.rows()
    assert len(acknowledged) == events
    assert {row.event_id for row in rows} == set(acknowledged)
    assert {row.state for row in rows} == {"done"}
    assert sent_back["telemetry"] > 0
    assert sent_back["door"] == 0
    for device, said in words.items():
        heard = await post.noted(device)
        assert heard == sorted(heard)
        assert set(heard) >= {seq for seq in range(len(said)) if seq % 3}
    assert post.inbox.waiting == 0
