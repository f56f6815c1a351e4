"""Goods: filled by the ERP, which is the master; nothing of them is changed here."""
