"""Every table of the product, one module a domain."""

from sql.tables import accounts, core, payments, queueing, staff
from sql.tables.base import metadata

__all__ = ["accounts", "core", "metadata", "payments", "queueing", "staff"]
