"""Streams and their events, the outbox, idempotency keys, timed jobs."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Text, UniqueConstraint

from sql.tables.base import table
from sql.types import Id

streams = table(
    "streams",
    Column("id", Id, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("seq", BigInteger, nullable=False),
    UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

# subject: what the event is about inside its stream (a ticket's id), 0 for the stream itself.
# data: JSON that everyone may see, "" for an event only staff may know of.
# extra: the members of the JSON that only staff and the subject's own diner see besides.
# act_key: of the act that caused it, made from the client's key; "" without one.
events = table(
    "events",
    Column("stream_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(40), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("subject", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Column("extra", Text, nullable=False),
    Column("act_key", String(32), nullable=False),
    clustered=True,
)

# state: waiting, done, dead. A row is delivered by whoever holds its lease.
outbox = table(
    "outbox",
    Column("id", Id, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("once_key", String(120), nullable=True),
    Column("payload", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("leased_by", String(64), nullable=False),
    Column("ended_at", BigInteger, nullable=True),
    Column("last_error", String(400), nullable=False),
    UniqueConstraint("once_key"),
    Index("ix_outbox_state_due_at", "state", "due_at"),
    sqlite_autoincrement=True,
)

# id: SHA-256 over scope and key; fingerprint: SHA-256 of what was asked.
idempotency = table(
    "idempotency",
    Column("id", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
    clustered=True,
)

# One row a job: when it is next due and who runs it now.
jobs = table(
    "jobs",
    Column("name", String(40), primary_key=True),
    Column("due_at", BigInteger, nullable=False),
    Column("leased_by", String(64), nullable=False),
    Column("leased_until", BigInteger, nullable=False),
)

job_runs = table(
    "job_runs",
    Column("id", Id, primary_key=True),
    Column("job", String(40), nullable=False),
    Column("runner", String(64), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, nullable=True),
    Column("result", String(400), nullable=False),
    Column("error", String(400), nullable=False),
    Index("ix_job_runs_job_id", "job", "id"),
    sqlite_autoincrement=True,
)
