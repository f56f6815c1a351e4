"""How exceptions become answers."""

from handlers.errors import REFUSALS, FieldError, Refusals, field_errors, whole_seconds
from queueing.stalls.model import PhoneTaken
from sql.idempotency import KeyReused


class QueueIsClosed(Exception):
    pass


class Busy(Exception):
    retry_after_s = 2.5
    code = "busy"
    title = "Busy"


def test_an_exception_without_a_code_is_named_after_its_class() -> None:
    problem = Refusals({QueueIsClosed: 409}).problem(QueueIsClosed("until Monday"))

    assert problem is not None
    assert (problem.status, problem.code, problem.title, problem.detail) == (
        409, "queue_is_closed", "Conflict", "until Monday",
    )  # fmt: skip


def test_an_exception_may_say_how_long_to_wait() -> None:
    problem = Refusals({Busy: 429}).problem(Busy())

    assert problem is not None
    assert problem.headers == {"Retry-After": "3"}


def test_what_is_not_listed_is_not_translated() -> None:
    assert Refusals({Busy: 429}).problem(QueueIsClosed()) is None


def test_seconds_to_wait_are_whole_and_never_too_few() -> None:
    assert [whole_seconds(s) for s in (0.0, 0.001, 1.0, 1.001, 59.5)] == ["1", "1", "1", "2", "60"]


def test_a_sentence_of_the_reader_becomes_field_and_reason() -> None:
    assert field_errors("Expected `int`, got `str` - at `$.a[0]`") == (
        FieldError("$.a[0]", "Expected `int`, got `str`"),
    )
    assert field_errors("No") == (FieldError("$", "No"),)


def test_a_key_used_for_another_request_and_a_phone_of_another_stall_are_refusals() -> None:
    reused, taken = REFUSALS.problem(KeyReused("abc")), REFUSALS.problem(PhoneTaken())

    assert reused is not None
    assert (reused.status, reused.code) == (422, "idempotency.key_reused")
    assert taken is not None
    assert (taken.status, taken.code) == (409, "stall.phone_taken")
