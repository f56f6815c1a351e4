"""Statistics of sales, daily reports, and the rules that raise alerts."""
