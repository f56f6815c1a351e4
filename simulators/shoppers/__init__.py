"""People at cabinets: they scan, open, take, put back, close and pay; see `__main__.py`."""

from simulators.shoppers.crowd import Crowd, Plan
from simulators.shoppers.notes import Notes

__all__ = ["Crowd", "Notes", "Plan"]
