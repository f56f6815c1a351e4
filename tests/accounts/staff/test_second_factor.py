"""The second factor: shown once, turned on by a code, and no code good twice."""

import asyncio

import pyotp
import pytest

from accounts.audit.model import Filter
from accounts.audit.service import Audit
from accounts.staff.model import (
    PasswordWrong,
    SignInRefused,
    StaffAccount,
    TotpIsOn,
    TotpNotBegun,
    TotpRefused,
    TotpRequired,
    TotpWrong,
)
from tests.accounts.staff.conftest import BOSS, PASSWORD, Office, by
from tests.clock import Clock


def code(secret: str, clock: Clock, *, steps: int = 0) -> str:
    return pyotp.TOTP(secret).generate_otp(clock.now() // 30_000 + steps)


async def enrol(office: Office, account: StaffAccount, clock: Clock) -> str:
    """The secret of a second factor that is on; its code of now is still good."""
    enrolment = await office.staff.begin_totp(password=PASSWORD, by=by(account))
    await office.staff.confirm_totp(code(enrolment.secret, clock), by=by(account))
    clock.advance(seconds=30)
    return enrolment.secret


async def test_it_is_asked_for_after_it_was_turned_on(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    enrolment = await office.staff.begin_totp(password=PASSWORD, by=by(account))
    before = await office.staff.sign_in("li", PASSWORD)

    with pytest.raises(TotpWrong):
        await office.staff.confirm_totp("000000", by=by(account))
    confirmed = await office.staff.confirm_totp(code(enrolment.secret, clock), by=by(account))
    clock.advance(seconds=30)

    assert confirmed.has_totp
    assert f"secret={enrolment.secret}" in enrolment.uri
    assert await office.sessions.get(before.jwt) == before.session
    with pytest.raises(TotpRequired):
        await office.staff.sign_in("li", PASSWORD)
    with pytest.raises(TotpRefused):
        await office.staff.sign_in("li", PASSWORD, code="000000")
    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", "wrong", code=code(enrolment.secret, clock))
    await office.staff.sign_in("li", PASSWORD, code=code(enrolment.secret, clock))


async def test_no_code_is_good_twice(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    secret = await enrol(office, account, clock)

    asked = await asyncio.gather(
        *(office.staff.sign_in("li", PASSWORD, code=code(secret, clock)) for _ in range(5)),
        return_exceptions=True,
    )

    assert sum(isinstance(each, TotpRefused) for each in asked) == 4
    with pytest.raises(TotpRefused):
        await office.staff.sign_in("li", PASSWORD, code=code(secret, clock, steps=-1))
    clock.advance(seconds=30)
    await office.staff.sign_in("li", PASSWORD, code=code(secret, clock))


async def test_the_code_that_turned_it_on_is_used_up(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    enrolment = await office.staff.begin_totp(password=PASSWORD, by=by(account))
    shown = code(enrolment.secret, clock)

    await office.staff.confirm_totp(shown, by=by(account))

    with pytest.raises(TotpRefused):
        await office.staff.sign_in("li", PASSWORD, code=shown)


async def test_it_is_begun_and_ended_with_the_password(office: Office, clock: Clock) -> None:
    account = await office.hire("li")

    with pytest.raises(PasswordWrong):
        await office.staff.begin_totp(password="wrong", by=by(account))
    with pytest.raises(TotpNotBegun):
        await office.staff.confirm_totp("000000", by=by(account))
    await enrol(office, account, clock)
    with pytest.raises(TotpIsOn):
        await office.staff.begin_totp(password=PASSWORD, by=by(account))
    with pytest.raises(PasswordWrong):
        await office.staff.end_totp(password="wrong", by=by(account))
    ended = await office.staff.end_totp(password=PASSWORD, by=by(account))

    assert not ended.has_totp
    await office.staff.sign_in("li", PASSWORD)


async def test_one_that_is_begun_again_has_another_secret(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    first = await office.staff.begin_totp(password=PASSWORD, by=by(account))
    second = await office.staff.begin_totp(password=PASSWORD, by=by(account))

    with pytest.raises(TotpWrong):
        await office.staff.confirm_totp(code(first.secret, clock), by=by(account))
    await office.staff.confirm_totp(code(second.secret, clock), by=by(account))


async def test_who_lost_the_authenticator_is_let_in_by_an_owner(
    office: Office, clock: Clock
) -> None:
    account = await office.hire("li")
    secret = await enrol(office, account, clock)

    kept = await office.staff.reset_password(
        account.id, "rice at night", remove_totp=False, by=BOSS
    )
    removed = await office.staff.reset_password(account.id, PASSWORD, remove_totp=True, by=BOSS)

    assert (kept.has_totp, removed.has_totp) == (True, False)
    await office.staff.sign_in("li", PASSWORD, code=code(secret, clock))


async def test_the_command_line_removes_it(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    await enrol(office, account, clock)

    await office.staff.make_owner("li", "rice at night")

    await office.staff.sign_in("li", "rice at night")


async def test_the_audit_tells_of_it_without_the_secret(office: Office, clock: Clock) -> None:
    account = await office.hire("li")
    secret = await enrol(office, account, clock)
    await office.staff.end_totp(password=PASSWORD, by=by(account))

    _, found = await Audit(office.db).page(Filter(), offset=0, most=9)

    assert [each.action for each in found[::-1]][1:] == [
        "staff.totp_begin",
        "staff.totp_on",
        "staff.totp_off",
    ]
    assert not any(secret in each.before + each.after for each in found)
