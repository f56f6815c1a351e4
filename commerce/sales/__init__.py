"""The history of sales, and the batches in which it goes to the ERP."""
