"""A simulated ERP: the master of goods, and where the day's sales go.

The contract, JSON over HTTP, `Authorization: Bearer TOKEN` on every request (401 without):

GET /api/v1/goods?cursor=C&limit=N            (N ≤ 200; without a cursor from the beginning)
    {"goods": [{"sku", "barcode", "name", "price_fen", "weight_g", "image_url", "status",
                "version"}], "next_cursor": "…", "has_more": true}
    In the order in which they were last changed. version grows with every change of a good; of
    two copies the higher one is right. status: 1 sold, 0 discontinued; nothing is ever removed.
    next_cursor is always there: go on from it now while has_more, and the next time for what
    was changed since. A cursor that is not the ERP's own is 400 {"code": "cursor.unknown"}.

PUT /api/v1/sales-batches/BATCH_NO            (1 to 40 of A-Z a-z 0-9 . _ -)
    {"day": "2026-12-01", "lines": [{"biz_no", "step", "line", "store_code", "device_code",
     "sku", "name", "quantity", "amount_fen", "tickets", "paid_by", "at"}],
     "line_count": 3, "amount_fen": 1250, "tickets": 0}
    201 {"batch_no", "erp_no", "received_at", "unknown_skus": […]} the first time,
    200 and the same for the same content again,
    409 {"code": "batch.conflict"} for another content under the number,
    422 {"code": "batch.sums"} when line_count, amount_fen or tickets are not those of the lines,
    422 {"code": "batch.line"} when a line was in another batch, or its tickets are not five a
    fen ("paid_by": "ticket") or none ("wechat"). Refunds are lines with minus signs.
    At most 1,000 lines; `at` in milliseconds, day in Beijing.

GET /api/v1/sales-batches/BATCH_NO            200 as above with the sums, or 404

Whatever else is wrong with a request is 400 {"code": "request.malformed", "detail": …}. 429 and
503 come with Retry-After. A request without an answer may have been carried out.

    erp = Erp(start_s=NOON_S); await erp.start(port=0)   # erp.url, TOKEN
    erp.put_good("SKU-1001", price_fen=250); erp.discontinue("SKU-1012")
    erp.faults.add(ErpFault(endpoint="sales", kind="drop", is_done=True)); erp.batches
"""

from simulators.erp.books import Batch, Good, Line
from simulators.erp.sim import TOKEN, Erp, ErpFault

__all__ = ["TOKEN", "Batch", "Erp", "ErpFault", "Good", "Line"]
