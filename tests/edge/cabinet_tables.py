"""Who may do what at the doors: the rows of the cabinets' routes, as in test_authorisation.py.

An object is a store, one in which nothing stands, a cabinet in a store or in none, what a code
says, a session at a door, an order that is paid (bought; filmed) or not, an exception, a complaint
(claim: resolved with money), a member, a good, a batch of sales or a report. Own is of the one who
shops, or of store A, to which those with -a in their names are kept; foreign is another's, or of B.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from tests.edge.street import PHONES, PRICES, REASON

CABINET_REST = """
route                                                    | object    | none        expired     board       diner       other       seller      rival       admin
POST   /api/v1/cabinets/open                             | scan      | 401         401         403         202/202/422 202/202/422 403         403         403
GET    /api/v1/cabinets/{qr:text}                        | scan      | 200/200/422 200/200/422 200/200/422 200/200/422 200/200/422 200/200/422 200/200/422 200/200/422
GET    /api/v1/cabinets/{qr:text}/doors                  | scan      | 401         401         403         200/200/422 200/200/422 403         403         403
GET    /api/v1/door-sessions/current                     | -         | 401         401         403         200         200         403         403         403
GET    /api/v1/door-sessions/{session_id}                | session   | 401         401         403         200/404/404 200/404/404 403         403         403
GET    /api/v1/cabinet-orders                            | -         | 401         401         403         200         200         403         403         403
GET    /api/v1/cabinet-orders/{order_id}                 | bought    | 401         401         403         200/404/404 200/404/404 403         403         403
POST   /api/v1/cabinet-orders/{order_id}/pay             | unpaid    | 401         401         403         200/404/404 200/404/404 403         403         403
POST   /api/v1/cabinet-orders/{order_id}/complaints      | bought    | 401         401         403         201/404/404 201/404/404 403         403         403
GET    /api/v1/cabinet-orders/{order_id}/complaints      | complaint | 401         401         403         200/404/404 200/404/404 403         403         403
GET    /api/v1/complaints/{complaint_id}/pictures/{n}    | complaint | 401         401         403         200/404/404 200/404/404 403         403         403
GET    /api/v1/members/me                                | -         | 401         401         403         200         200         403         403         403
PATCH  /api/v1/members/me                                | -         | 401         401         403         200         200         403         403         403
GET    /api/v1/admin/stores                              | -         | 401         401         403         403         403         403         403         200
POST   /api/v1/admin/stores                              | -         | 401         401         403         403         403         403         403         201
GET    /api/v1/admin/stores/{store_id}                   | store     | 401         401         403         403         403         403         403         200/200/404
PATCH  /api/v1/admin/stores/{store_id}                   | store     | 401         401         403         403         403         403         403         200/200/404
DELETE /api/v1/admin/stores/{store_id}                   | empty     | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/stores/{store_id}/restore           | empty     | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/stores/{store_id}/qr.png            | store     | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices                             | -         | 401         401         403         403         403         403         403         200
POST   /api/v1/admin/devices                             | -         | 401         401         403         403         403         403         403         201
GET    /api/v1/admin/devices/live                        | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/devices/{device_id}                 | device    | 401         401         403         403         403         403         403         200/200/404
PATCH  /api/v1/admin/devices/{device_id}                 | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/maintenance     | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/retire          | loose     | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/restore         | loose     | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/bind            | loose     | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/bind            | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/unbind          | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/bindings        | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/qr.png          | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/replace-qr      | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/live            | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/telemetry       | device    | 401         401         403         403         403         403         403         200/200/404
PATCH  /api/v1/admin/devices/{device_id}/params          | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/lock            | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/unlock          | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/reboot          | device    | 401         401         403         403         403         403         403         202/202/404
POST   /api/v1/admin/devices/{device_id}/open            | device    | 401         401         403         403         403         403         403         202/202/404
GET    /api/v1/admin/door-sessions                       | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/goods                               | -         | 401         401         403         403         403         403         403         200
POST   /api/v1/admin/goods/sync                          | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/goods/{good_id}                     | good      | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/goods/{good_id}/push                | good      | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/planogram       | device    | 401         401         403         403         403         403         403         200/200/404
PUT    /api/v1/admin/devices/{device_id}/planogram       | device    | 401         401         403         403         403         403         403         202/202/404
GET    /api/v1/admin/devices/{device_id}/stock           | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/devices/{device_id}/stock-moves     | device    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/devices/{device_id}/stock-count     | device    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/expiring                            | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/sales-batches                       | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/sales-batches/{batch_id}            | batch     | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/sales-totals                        | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/cabinet-orders                      | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/cabinet-orders/export.csv           | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/cabinet-orders/{order_id}           | bought    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/cabinet-orders/{order_id}/corrections | bought    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/cabinet-orders/{order_id}/refunds   | bought    | 401         401         403         403         403         403         403         201/201/404
POST   /api/v1/admin/cabinet-orders/{order_id}/waive     | unpaid    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/cabinet-orders/{order_id}/video     | filmed    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/cabinet-orders/{order_id}/video/reupload | filmed | 401         401         403         403         403         403         403         202/202/404
GET    /api/v1/admin/exceptions                          | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/exceptions/{exception_id}           | exception | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/take      | exception | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/release   | exception | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/approve   | exception | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/reject    | exception | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/close     | exception | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/complaints                          | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/complaints/{complaint_id}           | complaint | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/complaints/{complaint_id}/pictures/{n} | complaint | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | complaint | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | claim     | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/members                             | -         | 401         401         403         403         403         403         403         200
POST   /api/v1/admin/members/search                      | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/members/{member_id}                 | member    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/members/{member_id}/phone           | member    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/members/{member_id}/tickets         | member    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/members/{member_id}/tickets         | member    | 401         401         403         403         403         403         403         201/201/404
POST   /api/v1/admin/members/{member_id}/bar             | member    | 401         401         403         403         403         403         403         200/200/404
POST   /api/v1/admin/members/{member_id}/unbar           | member    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/statistics/sales                    | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/reports                             | -         | 401         401         403         403         403         403         403         200
GET    /api/v1/admin/reports/{report_id}                 | report    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/reports/{report_id}/report.xlsx     | report    | 401         401         403         403         403         403         403         200/200/404
GET    /api/v1/admin/callbacks                           | -         | 401         401         403         403         403         403         403         200
POST   /api/v1/admin/callbacks/{event_id}/put-back       | event     | 401         401         403         403         403         403         403         200/200/404
POST   /cb/xiaomai/{endpoint_id:text}/events             | -         | 401         401         401         401         401         401         401         401
"""  # noqa: E501

CABINET_STAFF = """
route                                                    | object    | owner       operator    finance     support     readonly
POST   /api/v1/cabinets/open                             | scan      | 403         403         403         403         403
GET    /api/v1/cabinets/{qr:text}                        | scan      | 200/200/422 200/200/422 200/200/422 200/200/422 200/200/422
GET    /api/v1/cabinets/{qr:text}/doors                  | scan      | 403         403         403         403         403
GET    /api/v1/door-sessions/current                     | -         | 403         403         403         403         403
GET    /api/v1/door-sessions/{session_id}                | session   | 403         403         403         403         403
GET    /api/v1/cabinet-orders                            | -         | 403         403         403         403         403
GET    /api/v1/cabinet-orders/{order_id}                 | bought    | 403         403         403         403         403
POST   /api/v1/cabinet-orders/{order_id}/pay             | unpaid    | 403         403         403         403         403
POST   /api/v1/cabinet-orders/{order_id}/complaints      | bought    | 403         403         403         403         403
GET    /api/v1/cabinet-orders/{order_id}/complaints      | complaint | 403         403         403         403         403
GET    /api/v1/complaints/{complaint_id}/pictures/{n}    | complaint | 403         403         403         403         403
GET    /api/v1/members/me                                | -         | 403         403         403         403         403
PATCH  /api/v1/members/me                                | -         | 403         403         403         403         403
GET    /api/v1/admin/stores                              | -         | 200         200         200         200         200
POST   /api/v1/admin/stores                              | -         | 201         201         403         403         403
GET    /api/v1/admin/stores/{store_id}                   | store     | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
PATCH  /api/v1/admin/stores/{store_id}                   | store     | 200/200/404 200/200/404 403         403         403
DELETE /api/v1/admin/stores/{store_id}                   | empty     | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/stores/{store_id}/restore           | empty     | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/stores/{store_id}/qr.png            | store     | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/devices                             | -         | 200         200         200         200         200
POST   /api/v1/admin/devices                             | -         | 201         201         403         403         403
GET    /api/v1/admin/devices/live                        | -         | 200         200         200         200         200
GET    /api/v1/admin/devices/{device_id}                 | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
PATCH  /api/v1/admin/devices/{device_id}                 | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/maintenance     | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/retire          | loose     | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/restore         | loose     | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/bind            | loose     | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/bind            | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/unbind          | device    | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/devices/{device_id}/bindings        | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/devices/{device_id}/qr.png          | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/devices/{device_id}/replace-qr      | device    | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/devices/{device_id}/live            | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/devices/{device_id}/telemetry       | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
PATCH  /api/v1/admin/devices/{device_id}/params          | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/lock            | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/unlock          | device    | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/reboot          | device    | 202/202/404 202/202/404 403         403         403
POST   /api/v1/admin/devices/{device_id}/open            | device    | 202/202/404 202/202/404 403         202/202/404 403
GET    /api/v1/admin/door-sessions                       | -         | 200         200         200         200         200
GET    /api/v1/admin/goods                               | -         | 200         200         200         200         200
POST   /api/v1/admin/goods/sync                          | -         | 200         200         403         403         403
GET    /api/v1/admin/goods/{good_id}                     | good      | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/goods/{good_id}/push                | good      | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/devices/{device_id}/planogram       | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
PUT    /api/v1/admin/devices/{device_id}/planogram       | device    | 202/202/404 202/202/404 403         403         403
GET    /api/v1/admin/devices/{device_id}/stock           | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/devices/{device_id}/stock-moves     | device    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/devices/{device_id}/stock-count     | device    | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/expiring                            | -         | 200         200         200         200         200
GET    /api/v1/admin/sales-batches                       | -         | 200         200         200         403         200
GET    /api/v1/admin/sales-batches/{batch_id}            | batch     | 200/200/404 200/200/404 200/200/404 403         200/200/404
GET    /api/v1/admin/sales-totals                        | -         | 200         200         200         403         200
GET    /api/v1/admin/cabinet-orders                      | -         | 200         200         200         200         200
GET    /api/v1/admin/cabinet-orders/export.csv           | -         | 200         200         200         200         200
GET    /api/v1/admin/cabinet-orders/{order_id}           | bought    | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/cabinet-orders/{order_id}/corrections | bought    | 200/200/404 403         200/200/404 200/200/404 403
POST   /api/v1/admin/cabinet-orders/{order_id}/refunds   | bought    | 201/201/404 403         201/201/404 403         403
POST   /api/v1/admin/cabinet-orders/{order_id}/waive     | unpaid    | 200/200/404 403         200/200/404 403         403
GET    /api/v1/admin/cabinet-orders/{order_id}/video     | filmed    | 200/200/404 200/200/404 200/200/404 200/200/404 403
POST   /api/v1/admin/cabinet-orders/{order_id}/video/reupload | filmed | 202/202/404 202/202/404 202/202/404 202/202/404 403
GET    /api/v1/admin/exceptions                          | -         | 200         200         200         200         200
GET    /api/v1/admin/exceptions/{exception_id}           | exception | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/exceptions/{exception_id}/take      | exception | 200/200/404 200/200/404 403         200/200/404 403
POST   /api/v1/admin/exceptions/{exception_id}/release   | exception | 200/200/404 200/200/404 403         200/200/404 403
POST   /api/v1/admin/exceptions/{exception_id}/approve   | exception | 200/200/404 200/200/404 403         200/200/404 403
POST   /api/v1/admin/exceptions/{exception_id}/reject    | exception | 200/200/404 200/200/404 403         200/200/404 403
POST   /api/v1/admin/exceptions/{exception_id}/close     | exception | 200/200/404 200/200/404 403         200/200/404 403
GET    /api/v1/admin/complaints                          | -         | 200         200         200         200         200
GET    /api/v1/admin/complaints/{complaint_id}           | complaint | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/complaints/{complaint_id}/pictures/{n} | complaint | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | complaint | 200/200/404 403         200/200/404 200/200/404 403
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | claim     | 200/200/404 403         200/200/404 403         403
GET    /api/v1/admin/members                             | -         | 200         200         200         200         403
POST   /api/v1/admin/members/search                      | -         | 200         200         200         200         403
GET    /api/v1/admin/members/{member_id}                 | member    | 200/200/404 200/200/404 200/200/404 200/200/404 403
POST   /api/v1/admin/members/{member_id}/phone           | member    | 200/200/404 403         403         200/200/404 403
GET    /api/v1/admin/members/{member_id}/tickets         | member    | 200/200/404 200/200/404 200/200/404 200/200/404 403
POST   /api/v1/admin/members/{member_id}/tickets         | member    | 201/201/404 403         201/201/404 403         403
POST   /api/v1/admin/members/{member_id}/bar             | member    | 200/200/404 200/200/404 403         200/200/404 403
POST   /api/v1/admin/members/{member_id}/unbar           | member    | 200/200/404 200/200/404 403         200/200/404 403
GET    /api/v1/admin/statistics/sales                    | -         | 200         200         200         403         200
GET    /api/v1/admin/reports                             | -         | 200         200         200         403         200
GET    /api/v1/admin/reports/{report_id}                 | report    | 200/200/404 200/200/404 200/200/404 403         200/200/404
GET    /api/v1/admin/reports/{report_id}/report.xlsx     | report    | 200/200/404 200/200/404 200/200/404 403         200/200/404
GET    /api/v1/admin/callbacks                           | -         | 200         200         200         403         200
POST   /api/v1/admin/callbacks/{event_id}/put-back       | event     | 200/200/404 200/200/404 403         403         403
POST   /cb/xiaomai/{endpoint_id:text}/events             | -         | 401         401         401         401         401
"""  # noqa: E501

CABINET_KEPT = """
route                                                    | object    | operator-a  finance-a   support-a
POST   /api/v1/cabinets/open                             | scan      | 403         403         403
GET    /api/v1/cabinets/{qr:text}                        | scan      | 200/200/422 200/200/422 200/200/422
GET    /api/v1/cabinets/{qr:text}/doors                  | scan      | 403         403         403
GET    /api/v1/door-sessions/current                     | -         | 403         403         403
GET    /api/v1/door-sessions/{session_id}                | session   | 403         403         403
GET    /api/v1/cabinet-orders                            | -         | 403         403         403
GET    /api/v1/cabinet-orders/{order_id}                 | bought    | 403         403         403
POST   /api/v1/cabinet-orders/{order_id}/pay             | unpaid    | 403         403         403
POST   /api/v1/cabinet-orders/{order_id}/complaints      | bought    | 403         403         403
GET    /api/v1/cabinet-orders/{order_id}/complaints      | complaint | 403         403         403
GET    /api/v1/complaints/{complaint_id}/pictures/{n}    | complaint | 403         403         403
GET    /api/v1/members/me                                | -         | 403         403         403
PATCH  /api/v1/members/me                                | -         | 403         403         403
GET    /api/v1/admin/stores                              | -         | 200         200         200
POST   /api/v1/admin/stores                              | -         | 403         403         403
GET    /api/v1/admin/stores/{store_id}                   | store     | 200/404/404 200/404/404 200/404/404
PATCH  /api/v1/admin/stores/{store_id}                   | store     | 200/404/404 403         403
DELETE /api/v1/admin/stores/{store_id}                   | empty     | 200/404/404 403         403
POST   /api/v1/admin/stores/{store_id}/restore           | empty     | 200/404/404 403         403
GET    /api/v1/admin/stores/{store_id}/qr.png            | store     | 200/404/404 200/404/404 200/404/404
GET    /api/v1/admin/devices                             | -         | 200         200         200
POST   /api/v1/admin/devices                             | -         | 403         403         403
GET    /api/v1/admin/devices/live                        | -         | 200         200         200
GET    /api/v1/admin/devices/{device_id}                 | device    | 200/404/404 200/404/404 200/404/404
PATCH  /api/v1/admin/devices/{device_id}                 | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/maintenance     | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/retire          | loose     | 404         403         403
POST   /api/v1/admin/devices/{device_id}/restore         | loose     | 404         403         403
POST   /api/v1/admin/devices/{device_id}/bind            | loose     | 404         403         403
POST   /api/v1/admin/devices/{device_id}/bind            | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/unbind          | device    | 200/404/404 403         403
GET    /api/v1/admin/devices/{device_id}/bindings        | device    | 200/404/404 200/404/404 200/404/404
GET    /api/v1/admin/devices/{device_id}/qr.png          | device    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/devices/{device_id}/replace-qr      | device    | 200/404/404 403         403
GET    /api/v1/admin/devices/{device_id}/live            | device    | 200/404/404 200/404/404 200/404/404
GET    /api/v1/admin/devices/{device_id}/telemetry       | device    | 200/404/404 200/404/404 200/404/404
PATCH  /api/v1/admin/devices/{device_id}/params          | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/lock            | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/unlock          | device    | 200/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/reboot          | device    | 202/404/404 403         403
POST   /api/v1/admin/devices/{device_id}/open            | device    | 202/404/404 403         202/404/404
GET    /api/v1/admin/door-sessions                       | -         | 200         200         200
GET    /api/v1/admin/goods                               | -         | 200         200         200
POST   /api/v1/admin/goods/sync                          | -         | 403         403         403
GET    /api/v1/admin/goods/{good_id}                     | good      | 200/200/404 200/200/404 200/200/404
POST   /api/v1/admin/goods/{good_id}/push                | good      | 403         403         403
GET    /api/v1/admin/devices/{device_id}/planogram       | device    | 200/404/404 200/404/404 200/404/404
PUT    /api/v1/admin/devices/{device_id}/planogram       | device    | 202/404/404 403         403
GET    /api/v1/admin/devices/{device_id}/stock           | device    | 200/404/404 200/404/404 200/404/404
GET    /api/v1/admin/devices/{device_id}/stock-moves     | device    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/devices/{device_id}/stock-count     | device    | 200/404/404 403         403
GET    /api/v1/admin/expiring                            | -         | 200         200         200
GET    /api/v1/admin/sales-batches                       | -         | 403         403         403
GET    /api/v1/admin/sales-batches/{batch_id}            | batch     | 403         403         403
GET    /api/v1/admin/sales-totals                        | -         | 403         403         403
GET    /api/v1/admin/cabinet-orders                      | -         | 200         200         200
GET    /api/v1/admin/cabinet-orders/export.csv           | -         | 200         200         200
GET    /api/v1/admin/cabinet-orders/{order_id}           | bought    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/cabinet-orders/{order_id}/corrections | bought    | 403         200/404/404 200/404/404
POST   /api/v1/admin/cabinet-orders/{order_id}/refunds   | bought    | 403         201/404/404 403
POST   /api/v1/admin/cabinet-orders/{order_id}/waive     | unpaid    | 403         200/404/404 403
GET    /api/v1/admin/cabinet-orders/{order_id}/video     | filmed    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/cabinet-orders/{order_id}/video/reupload | filmed | 202/404/404 202/404/404 202/404/404
GET    /api/v1/admin/exceptions                          | -         | 200         200         200
GET    /api/v1/admin/exceptions/{exception_id}           | exception | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/exceptions/{exception_id}/take      | exception | 200/404/404 403         200/404/404
POST   /api/v1/admin/exceptions/{exception_id}/release   | exception | 200/404/404 403         200/404/404
POST   /api/v1/admin/exceptions/{exception_id}/approve   | exception | 200/404/404 403         200/404/404
POST   /api/v1/admin/exceptions/{exception_id}/reject    | exception | 200/404/404 403         200/404/404
POST   /api/v1/admin/exceptions/{exception_id}/close     | exception | 200/404/404 403         200/404/404
GET    /api/v1/admin/complaints                          | -         | 200         200         200
GET    /api/v1/admin/complaints/{complaint_id}           | complaint | 200/404/404 200/404/404 200/404/404
GET    /api/v1/admin/complaints/{complaint_id}/pictures/{n} | complaint | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | complaint | 403         200/404/404 200/404/404
POST   /api/v1/admin/complaints/{complaint_id}/resolve   | claim     | 403         200/404/404 403
GET    /api/v1/admin/members                             | -         | 200         200         200
POST   /api/v1/admin/members/search                      | -         | 200         200         200
GET    /api/v1/admin/members/{member_id}                 | member    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/members/{member_id}/phone           | member    | 403         403         200/404/404
GET    /api/v1/admin/members/{member_id}/tickets         | member    | 200/404/404 200/404/404 200/404/404
POST   /api/v1/admin/members/{member_id}/tickets         | member    | 403         403         403
POST   /api/v1/admin/members/{member_id}/bar             | member    | 403         403         403
POST   /api/v1/admin/members/{member_id}/unbar           | member    | 403         403         403
GET    /api/v1/admin/statistics/sales                    | -         | 200         200         403
GET    /api/v1/admin/reports                             | -         | 403         403         403
GET    /api/v1/admin/reports/{report_id}                 | report    | 403         403         403
GET    /api/v1/admin/reports/{report_id}/report.xlsx     | report    | 403         403         403
GET    /api/v1/admin/callbacks                           | -         | 403         403         403
POST   /api/v1/admin/callbacks/{event_id}/put-back       | event     | 403         403         403
POST   /cb/xiaomai/{endpoint_id:text}/events             | -         | 401         401         401
"""  # noqa: E501


class Asked(msgspec.Struct, frozen=True):
    """For what a body is made. target: what the cell is tried on. serial: another each time."""

    target: Any
    given: str
    serial: int


Body = Callable[[Asked], Any]

SKU = next(iter(PRICES))
SLOT = {"door_no": 1, "layer": 1, "slot": 1, "sku": SKU, "stock": 5, "capacity": 9}
_DEVICE = "/api/v1/admin/devices/{device_id}"
_ORDER = "/api/v1/admin/cabinet-orders/{order_id}"
_EXCEPTION = "/api/v1/admin/exceptions/{exception_id}"
_MEMBER = "/api/v1/admin/members/{member_id}"


def _because(_: Asked) -> Any:
    return {"reason": REASON}


def _resolution(asked: Asked) -> Any:
    return {"reason": REASON, **({"refund_fen": 1} if asked.given == "claim" else {})}


# What is sent with a request that is meant well.
DOOR_BODIES: dict[str, Body] = {
    "POST /api/v1/cabinets/open": lambda a: {"qr": a.target.qr, "pay_with": "ticket"},
    "POST /api/v1/cabinet-orders/{order_id}/pay": lambda _: {"with": "ticket"},
    "POST /api/v1/cabinet-orders/{order_id}/complaints": lambda _: {"text": "it was warm"},
    "PATCH /api/v1/members/me": lambda a: {"username": f"member {a.serial}"},
    "POST /api/v1/admin/stores": lambda a: {
        "code": f"S-{a.serial}", "name": "another", "type": "sports", "property": "own",
    },
    "PATCH /api/v1/admin/stores/{store_id}": lambda a: {"name": f"store {a.serial}"},
    "POST /api/v1/admin/stores/{store_id}/restore": _because,
    "POST /api/v1/admin/devices": lambda a: {
        "vendor": "xiaomai", "code": f"D-{a.serial}", "name": "another",
    },
    f"PATCH {_DEVICE}": lambda a: {"name": f"cabinet {a.serial}"},
    f"POST {_DEVICE}/maintenance": lambda _: {"on": True},
    **{f"POST {_DEVICE}/{verb}": _because
       for verb in ("retire", "restore", "unbind", "replace-qr", "lock", "unlock", "reboot")},
    f"POST {_DEVICE}/bind": lambda a: {"store_id": a.target.store_id},
    f"PATCH {_DEVICE}/params": lambda a: {"volume": a.serial % 100},
    f"POST {_DEVICE}/open": lambda _: {"purpose": "inspect"},
    f"PUT {_DEVICE}/planogram": lambda _: {"slots": [SLOT]},
    f"POST {_DEVICE}/stock-count": lambda a: {
        "door_no": 1, "counts": [{"sku": SKU, "quantity": a.serial % 100}],
    },
    f"POST {_ORDER}/corrections": lambda _: {
        "items": [{"sku": SKU, "quantity": 1}], "version": 3, "reason": REASON,
    },
    f"POST {_ORDER}/refunds": lambda _: {"amount_fen": 1, "reason": REASON},
    f"POST {_ORDER}/waive": _because,
    f"POST {_ORDER}/video/reupload": _because,
    **{f"POST {_EXCEPTION}/{verb}": _because for verb in ("approve", "reject", "close")},
    "POST /api/v1/admin/complaints/{complaint_id}/resolve": _resolution,
    "POST /api/v1/admin/members/search": lambda _: {"phone": PHONES["A"]},
    **{f"POST {_MEMBER}/{verb}": _because for verb in ("phone", "bar", "unbar")},
    "POST /api/v1/admin/callbacks/{event_id}/put-back": _because,
    f"POST {_MEMBER}/tickets": lambda _: {"tickets": 1, "reason": REASON},
}  # fmt: skip

# Without which a request is not one.
QUERIES_NEEDED = {"GET /api/v1/admin/sales-totals": "?day=2026-11-19"}
