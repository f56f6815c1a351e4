"""Every table of the product, one module a domain."""

from sql.tables import accounts, core, queueing, staff
from sql.tables.base import metadata

__all__ = ["accounts", "core", "metadata", "queueing", "staff"]
