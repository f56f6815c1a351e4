"""What a person says of a difference, with its line in the audit."""

from accounts.audit.model import By
from accounts.audit.store import record
from payments.bills import store
from payments.model import Difference
from sql.database import Tx


def explain(tx: Tx, difference_id: int, *, by: By, explanation: str) -> Difference:
    """As store.explain. Raises DifferenceNotFound."""
    explained = store.explain(tx, difference_id, by=by.account_id, explanation=explanation)
    after = {
        "day": explained.day,
        "kind": explained.kind,
        "number": explained.number,
        "explanation": explanation,
    }
    record(
        tx,
        actor=by,
        action="bill.explain",
        subject=f"bill-difference:{difference_id}",
        before={"explanation": ""},
        after=after,
    )
    return explained
