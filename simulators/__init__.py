"""Outside parties as separate processes that speak the vendor's format.

They import nothing of the product, so a mistake cannot be made alike on both sides.
"""
