"""Xiaomai (小麦): everything that is assumed of its platform is in this package.

There is no public contract of it; this is ours, version 1, and what the simulator speaks.
"""

from devices.vendors.xiaomai.vendor import Xiaomai

__all__ = ["Xiaomai"]
