"""The double-entry ledger: what belongs to whom, as journals that are only ever added."""
