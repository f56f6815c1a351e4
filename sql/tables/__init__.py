"""Every table of the product, one module a domain."""

from sql.tables import accounts, commerce, core, devices, payments, queueing, staff
from sql.tables.base import metadata

__all__ = ["accounts", "commerce", "core", "devices", "metadata", "payments", "queueing", "staff"]
