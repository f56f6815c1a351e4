"""Hashing: slow on purpose, bounded, and telling nothing by its time."""

import asyncio
import threading

import argon2
import pytest

from accounts.staff.passwords import AT_ONCE, WAITING_MAX, Passwords
from sql.errors import Overloaded
from tests.accounts.staff.conftest import CountingHasher


async def test_the_same_password_has_another_hash_each_time(hasher: CountingHasher) -> None:
    passwords = Passwords(hasher)

    one, other = await passwords.hash("noodles at noon"), await passwords.hash("noodles at noon")

    assert one != other
    assert await passwords.is_right("noodles at noon", one)
    assert await passwords.is_right("noodles at noon", other)
    assert not await passwords.is_right("noodles at moon", one)
    passwords.close()


async def test_a_password_is_one_however_the_keyboard_spells_it(hasher: CountingHasher) -> None:
    passwords = Passwords(hasher)

    composed = await passwords.hash("cafe\u0301 at noon")

    assert await passwords.is_right("caf\u00e9 at noon", composed)
    passwords.close()


async def test_nobody_s_password_is_looked_at_as_long_as_somebody_s(
    hasher: CountingHasher,
) -> None:
    passwords = Passwords(hasher)
    somebody = await passwords.hash("noodles at noon")

    assert not await passwords.is_right("nobody has this password", None)
    assert hasher.verified == 1
    assert not await passwords.is_right("wrong", somebody)
    assert hasher.verified == 2
    passwords.close()


async def test_what_is_hashed_by_default_is_argon2id_and_fits_its_column() -> None:
    passwords = Passwords()

    password_hash = await passwords.hash("noodles at noon")

    parameters = argon2.extract_parameters(password_hash)
    assert parameters.type is argon2.Type.ID
    assert parameters.memory_cost >= 19 * 1024
    assert len(password_hash) < 255
    passwords.close()


class HeldHasher(CountingHasher):
    """Begins and does not end until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.both = threading.Barrier(AT_ONCE + 1)
        self.begun = 0

    def hash(self, *arguments: object, **named: object) -> str:
        self.begun += 1
        if not self.go.is_set():
            self.both.wait(20)
        assert self.go.wait(20)
        return "hash"


async def test_two_are_hashed_at_once_and_so_many_wait() -> None:
    hasher = HeldHasher()
    passwords = Passwords(hasher)
    asked = [asyncio.create_task(passwords.hash("noodles")) for _ in range(WAITING_MAX)]
    await asyncio.to_thread(hasher.both.wait, 20)

    with pytest.raises(Overloaded):
        await passwords.hash("noodles")
    assert hasher.begun == AT_ONCE
    hasher.go.set()

    assert await asyncio.gather(*asked) == ["hash"] * WAITING_MAX
    assert await passwords.hash("noodles") == "hash"
    passwords.close()
