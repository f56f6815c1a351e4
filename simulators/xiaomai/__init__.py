"""A simulated Xiaomai: the platform of smart cabinets, its cabinets, and the people at them.

    sim = Xiaomai(start_s=NOON_S)                # the clock stands until it is turned
    await sim.start(port=0)                      # sim.url; sign with APP_ID, KEY_ID, SECRET
    sim.courier.url = f"{ours}/cb/xiaomai/{ENDPOINT_ID}/events"
    sim.add_cabinet("D1", doors=2, stock={"cola": 9}, prices={"cola": 350}, bound_to="S1")

    cabinet = sim.cabinet("D1")                  # after door/open over HTTP:
    cabinet.pull(); cabinet.take("cola", 2); cabinet.put("cola"); cabinet.close()
    cabinet.shop("cola", "cola", door_no=2)      # the four in one
    await sim.idle()                             # all events that are due were sent
    await sim.turn(15)                           # turn the clock, then the same
    sim.books()                                  # taken, said, confirmed: order by order
    sim.deliveries("order.pushed")               # events with their attempts
    sim.calls                                    # what the platform was asked

What may go wrong: `sim.dial.add(Fault(at="event.order.*", kind="duplicate"))`, see dial.py;
`cabinet.disconnect()`, `.connect()`, `.unplug()`, `.plug_in()`, `.run_on_ups()`, `.reboot()`,
`.force()`, `.warm()`, `.door(1).is_jammed`, `.latch_stuck`; `sim.storm(5000)`;
`sim.courier.pause()`, `.release()`; `sim.courier.skew_s`; `sim.gate.is_disabled`, `.rate_per_s`.

How a shopping is recognised: `sim.recognition.plan_next("D1", Plan(certainty="uncertain",
candidates={"cola": 1}, reasons=("camera",)))`; certainty "none" gives no order at all. An order
that is there: `order = sim.orders.find(session_no=…)`, `sim.recognition.revise(order,
{"cola": 1})` gives the next revision, `revise(order, …, rev=1)` the same one with other items,
`sim.recognition.push(order)` tells of it once more.

Cabinets report by themselves only with `Xiaomai(pace=LIFELIKE)` or `Pace(heartbeat_s=60)`;
`cabinet.tell_all()` reports now. The same over HTTP for other processes: see control.py.
"""

from simulators.xiaomai.account import (
    APP_ID,
    CALLBACK_KEY_ID,
    CALLBACK_SECRET,
    ENDPOINT_ID,
    KEY_ID,
    SECRET,
)
from simulators.xiaomai.cabinets import Cabinet
from simulators.xiaomai.courier import Delivery
from simulators.xiaomai.dial import Fault
from simulators.xiaomai.orders import Order, Plan
from simulators.xiaomai.sim import LIFELIKE, Pace, Xiaomai

__all__ = [
    "APP_ID",
    "CALLBACK_KEY_ID",
    "CALLBACK_SECRET",
    "ENDPOINT_ID",
    "KEY_ID",
    "LIFELIKE",
    "SECRET",
    "Cabinet",
    "Delivery",
    "Fault",
    "Order",
    "Pace",
    "Plan",
    "Xiaomai",
]
