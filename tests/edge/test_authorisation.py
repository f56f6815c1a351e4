"""Who may do what: every route, command, topic and query, for everybody, on everybody's objects.

What is refused changes no row; what is another's is answered like what is not there; and no
answer tells a stranger's openid, phone, key or note. What has no row in these tables fails.
"""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from handlers import topics
from queueing.model import Ticket
from simulators.xiaomai import ENDPOINT_ID
from tests.edge.cabinet_tables import (
    CABINET_KEPT,
    CABINET_REST,
    CABINET_STAFF,
    DOOR_BODIES,
    QUERIES_NEEDED,
    Asked,
)
from tests.edge.matrix import OBJECTS, Cell, Row, read
from tests.edge.street import MISSING, SHOPPERS
from tests.edge.web import Answer, Web
from tests.edge.world import MISSING_ACCOUNT, PASSWORD, STAFF_ROLES, World
from tests.handlers.live import Client

# ---------------------------------------------------------------- the tables

# The object of a row is a stall, a ticket in the state named, a free number, an account of staff,
# a payment (an order that can be paid, or one that is), a refund (waiting for a second person, or
# failed), a difference between the bill and the books, or an alert (one a person may clear, or
# one that is watched). A notice is signed, not signed in for:
# WeChat reads a refusal in the body of version 2, and in the status of version 3.

REST = """
route                                           | object  | none expired board       diner       other       seller      rival       admin
POST   /                                        | -       | 200  200     200         200         200         200         200         200
GET    /healthz                                 | -       | 200  200     200         200         200         200         200         200
GET    /readyz                                  | -       | 200  200     200         200         200         200         200         200
GET    /metrics                                 | -       | 200  200     200         200         200         200         200         200
GET    /api/v1/openapi.json                     | -       | 200  200     200         200         200         200         200         200
POST   /api/v1/sessions                         | -       | 200  200     200         200         200         200         200         200
DELETE /api/v1/sessions/current                 | -       | 401  401     403         204         204         204         204         204
GET    /api/v1/stalls                           | -       | 200  200     200         200         200         200         200         200
GET    /api/v1/stalls/{stall_id}                | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/queue          | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/events         | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/stalls/{stall_id}/tickets        | stall   | 401  401     403         403         403         201/404/404 201/404/404 201/201/404
POST   /api/v1/stalls/{stall_id}/call-next      | stall   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/stalls/{stall_id}/clear          | stall   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/stalls/{stall_id}/follow         | number  | 401  401     403         200/409/422 200/409/422 200/409/422 200/409/422 200/409/422
GET    /api/v1/tickets/{ticket_id}              | noted   | 401  401     403         200/404/404 200/404/404 200/404/404 200/404/404 200/200/404
GET    /api/v1/tickets/{ticket_id}              | called  | 401  401     403         200/404/404 200/404/404 200/404/404 200/404/404 200/200/404
GET    /api/v1/tickets/{ticket_id}              | issued  | 401  401     403         404         404         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/call         | noted   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/recall       | called  | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/recall       | noted   | 401  401     403         403         403         409/404/404 409/404/404 409/409/404
POST   /api/v1/tickets/{ticket_id}/finish       | called  | 401  401     403         200/404/404 200/404/404 200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/finish       | issued  | 401  401     403         404         404         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/no-show      | called  | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/requeue      | no_show | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/cancel       | noted   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/undo         | called  | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
GET    /api/v1/admin/stalls                     | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/stalls                     | -       | 401  401     403         403         403         403         403         201
PATCH  /api/v1/admin/stalls/{stall_id}          | stall   | 401  401     403         403         403         403         403         200/200/404
POST   /api/v1/admin/stalls/{stall_id}/renewals | stall   | 401  401     403         403         403         403         403         201/201/404
GET    /api/v1/admin/stalls/{stall_id}/months   | stall   | 401  401     403         403         403         403         403         200/200/404
DELETE /api/v1/admin/stalls/{stall_id}/sellers  | stall   | 401  401     403         403         403         403         403         200/200/404
GET    /api/v1/admin/statistics/queue           | -       | 401  401     403         403         403         403         403         200
GET    /api/v1/admin/jobs                       | -       | 401  401     403         403         403         403         403         200
GET    /api/v1/admin/alerts                    | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/alerts/{alert_id}/clear    | alert   | 401  401     403         403         403         403         403         200/200/404
POST   /api/v1/admin/alerts/{alert_id}/clear    | watched | 401  401     403         403         403         403         403         409/409/404
GET    /api/v1/admin/incidents                 | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/sessions                   | -       | 200  200     200         200         200         200         200         200
GET    /api/v1/admin/me                         | -       | 401  401     403         403         403         403         403         403
PATCH  /api/v1/admin/me                         | -       | 401  401     403         403         403         403         403         403
POST   /api/v1/admin/me/password                | -       | 401  401     403         403         403         403         403         403
PUT    /api/v1/admin/me/totp                    | -       | 401  401     403         403         403         403         403         403
POST   /api/v1/admin/me/totp                    | -       | 401  401     403         403         403         403         403         403
DELETE /api/v1/admin/me/totp                    | -       | 401  401     403         403         403         403         403         403
GET    /api/v1/admin/accounts                   | -       | 401  401     403         403         403         403         403         403
POST   /api/v1/admin/accounts                   | -       | 401  401     403         403         403         403         403         403
GET    /api/v1/admin/accounts/{account_id}      | account | 401  401     403         403         403         403         403         403
PATCH  /api/v1/admin/accounts/{account_id}      | account | 401  401     403         403         403         403         403         403
DELETE /api/v1/admin/accounts/{account_id}      | account | 401  401     403         403         403         403         403         403
POST   /api/v1/admin/accounts/{account_id}/restore  | account | 401  401  403        403         403         403         403         403
POST   /api/v1/admin/accounts/{account_id}/password | account | 401  401  403        403         403         403         403         403
GET    /api/v1/admin/audit                      | -       | 401  401     403         403         403         403         403         403
GET    /api/v1/sellers/me/stall                 | -       | 401  401     403         403         403         200         200         404
POST   /api/v1/stalls/{stall_id}/renewals       | stall   | 401  401     403         403         403         201/404/404 201/404/404 404
GET    /api/v1/stalls/{stall_id}/renewals/code   | stall   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
GET    /api/v1/stalls/{stall_id}/renewals/qr.png | stall   | 401  401     403         403         403         200/404/404 200/404/404 200/200/404
GET    /api/v1/payments/{out_trade_no:text}     | order   | 401  401     403         404         404         200/404/404 200/404/404 200/200/404
POST   /api/v1/payments/{out_trade_no:text}/refresh | order | 401 401    403         404         404         200/404/404 200/404/404 200/200/404
GET    /api/v1/payments/{out_trade_no:text}/qr.png  | order | 401 401    403         404         404         200/404/404 200/404/404 200/200/404
GET    /api/v1/payments/{out_trade_no:text}/qr.png  | payment | 401 401  403         404         404         404         404         404
GET    /api/v1/admin/payments                   | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/payments/{out_trade_no:text}/refunds | payment | 401 401 403    403         403         403         403         201/201/404
POST   /api/v1/admin/payments/{out_trade_no:text}/refunds | order | 401 401 403      403         403         403         403         404
GET    /api/v1/admin/refunds                    | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/refunds/{out_refund_no:text}/approve  | waiting | 401 401 403   403         403         403         403         200/200/404
POST   /api/v1/admin/refunds/{out_refund_no:text}/reject   | waiting | 401 401 403   403         403         403         403         200/200/404
POST   /api/v1/admin/refunds/{out_refund_no:text}/retry    | failed  | 401 401 403   403         403         403         403         200/200/404
POST   /api/v1/admin/refunds/{out_refund_no:text}/withdraw | failed  | 401 401 403   403         403         403         403         200/200/404
GET    /api/v1/admin/bill-differences           | -       | 401  401     403         403         403         403         403         200
POST   /api/v1/admin/bill-differences/{difference_id}/explain | difference | 401 401 403 403     403         403         403         200/200/404
POST   /notify/wechatpay/v2/pay                 | -       | 200  200     200         200         200         200         200         200
POST   /notify/wechatpay/v2/refund              | -       | 200  200     200         200         200         200         200         200
POST   /notify/wechatpay/v2/native              | -       | 200  200     200         200         200         200         200         200
POST   /notify/wechatpay/v3                     | -       | 401  401     401         401         401         401         401         401
"""  # noqa: E501

# The same for the back office: staff look everywhere, and do what their role is for. At the
# counter they do nothing.
STAFF_REST = """
route                                               | object  | owner       operator    finance     support     readonly
POST   /                                            | -       | 200         200         200         200         200
GET    /healthz                                     | -       | 200         200         200         200         200
GET    /readyz                                      | -       | 200         200         200         200         200
GET    /metrics                                     | -       | 200         200         200         200         200
GET    /api/v1/openapi.json                         | -       | 200         200         200         200         200
POST   /api/v1/sessions                             | -       | 200         200         200         200         200
DELETE /api/v1/sessions/current                     | -       | 204         204         204         204         204
GET    /api/v1/stalls                               | -       | 200         200         200         200         200
GET    /api/v1/stalls/{stall_id}                    | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/queue              | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/events             | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/stalls/{stall_id}/tickets            | stall   | 403         403         403         403         403
POST   /api/v1/stalls/{stall_id}/call-next          | stall   | 403         403         403         403         403
POST   /api/v1/stalls/{stall_id}/clear              | stall   | 403         403         403         403         403
POST   /api/v1/stalls/{stall_id}/follow             | number  | 403         403         403         403         403
GET    /api/v1/tickets/{ticket_id}                  | noted   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/tickets/{ticket_id}                  | issued  | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
POST   /api/v1/tickets/{ticket_id}/call             | noted   | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/recall           | called  | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/finish           | called  | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/no-show          | called  | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/requeue          | no_show | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/cancel           | noted   | 403         403         403         403         403
POST   /api/v1/tickets/{ticket_id}/undo             | called  | 403         403         403         403         403
GET    /api/v1/admin/stalls                         | -       | 200         200         200         200         200
POST   /api/v1/admin/stalls                         | -       | 201         201         403         403         403
PATCH  /api/v1/admin/stalls/{stall_id}              | stall   | 200/200/404 200/200/404 403         403         403
POST   /api/v1/admin/stalls/{stall_id}/renewals     | stall   | 201/201/404 201/201/404 403         403         403
GET    /api/v1/admin/stalls/{stall_id}/months       | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
DELETE /api/v1/admin/stalls/{stall_id}/sellers      | stall   | 200/200/404 200/200/404 403         403         403
GET    /api/v1/admin/statistics/queue               | -       | 200         200         200         200         200
GET    /api/v1/admin/jobs                           | -       | 200         200         403         403         200
GET    /api/v1/admin/alerts                        | -       | 200         200         200         403         200
POST   /api/v1/admin/alerts/{alert_id}/clear        | alert   | 200/200/404 403         200/200/404 403         403
POST   /api/v1/admin/alerts/{alert_id}/clear        | watched | 409/409/404 403         409/409/404 403         403
GET    /api/v1/admin/incidents                     | -       | 200         200         200         403         200
POST   /api/v1/admin/sessions                       | -       | 200         200         200         200         200
GET    /api/v1/admin/me                             | -       | 200         200         200         200         200
PATCH  /api/v1/admin/me                             | -       | 200         200         200         200         200
POST   /api/v1/admin/me/password                    | -       | 204         204         204         204         204
PUT    /api/v1/admin/me/totp                        | -       | 409         409         409         409         409
POST   /api/v1/admin/me/totp                        | -       | 201         201         201         201         201
DELETE /api/v1/admin/me/totp                        | -       | 200         200         200         200         200
GET    /api/v1/admin/accounts                       | -       | 200         403         403         403         403
POST   /api/v1/admin/accounts                       | -       | 201         403         403         403         403
GET    /api/v1/admin/accounts/{account_id}          | account | 200/200/404 403         403         403         403
PATCH  /api/v1/admin/accounts/{account_id}          | account | 200/200/404 403         403         403         403
DELETE /api/v1/admin/accounts/{account_id}          | account | 200/200/404 403         403         403         403
POST   /api/v1/admin/accounts/{account_id}/restore  | account | 200/200/404 403         403         403         403
POST   /api/v1/admin/accounts/{account_id}/password | account | 200/200/404 403         403         403         403
GET    /api/v1/admin/audit                          | -       | 200         403         200         403         403
GET    /api/v1/sellers/me/stall                     | -       | 403         403         403         403         403
POST   /api/v1/stalls/{stall_id}/renewals           | stall   | 403         403         403         403         403
GET    /api/v1/stalls/{stall_id}/renewals/code        | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/renewals/qr.png      | stall   | 200/200/404 200/200/404 200/200/404 200/200/404 200/200/404
GET    /api/v1/payments/{out_trade_no:text}         | order   | 200/200/404 403         200/200/404 200/200/404 200/200/404
POST   /api/v1/payments/{out_trade_no:text}/refresh | order   | 200/200/404 403         200/200/404 403         403
GET    /api/v1/payments/{out_trade_no:text}/qr.png  | order   | 200/200/404 403         200/200/404 200/200/404 200/200/404
GET    /api/v1/admin/payments                       | -       | 200         403         200         200         200
POST   /api/v1/admin/payments/{out_trade_no:text}/refunds | payment | 201/201/404 403   201/201/404 403         403
GET    /api/v1/admin/refunds                        | -       | 200         403         200         200         200
POST   /api/v1/admin/refunds/{out_refund_no:text}/approve  | waiting | 200/200/404 403  200/200/404 403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/reject   | waiting | 200/200/404 403  200/200/404 403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/retry    | failed  | 200/200/404 403  200/200/404 403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/withdraw | failed  | 200/200/404 403  200/200/404 403         403
GET    /api/v1/admin/bill-differences               | -       | 200         403         200         200         200
POST   /api/v1/admin/bill-differences/{difference_id}/explain | difference | 200/200/404 403 200/200/404 403    403
POST   /notify/wechatpay/v2/pay                     | -       | 200         200         200         200         200
POST   /notify/wechatpay/v2/refund                  | -       | 200         200         200         200         200
POST   /notify/wechatpay/v2/native                  | -       | 200         200         200         200         200
POST   /notify/wechatpay/v3                         | -       | 401         401         401         401         401
"""  # noqa: E501

# Whoever is kept to a store has nothing of what is of no store.
KEPT_REST = """
route                                                      | object     | operator-a  finance-a   support-a
POST   /                                                   | -          | 200         200         200
GET    /healthz                                            | -          | 200         200         200
GET    /readyz                                             | -          | 200         200         200
GET    /metrics                                            | -          | 200         200         200
GET    /api/v1/openapi.json                                | -          | 200         200         200
POST   /api/v1/sessions                                    | -          | 200         200         200
DELETE /api/v1/sessions/current                            | -          | 204         204         204
GET    /api/v1/stalls                                      | -          | 200         200         200
GET    /api/v1/stalls/{stall_id}                           | stall      | 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/queue                     | stall      | 200/200/404 200/200/404 200/200/404
GET    /api/v1/stalls/{stall_id}/events                    | stall      | 200/200/404 200/200/404 200/200/404
POST   /api/v1/stalls/{stall_id}/tickets                   | stall      | 403         403         403
POST   /api/v1/stalls/{stall_id}/call-next                 | stall      | 403         403         403
POST   /api/v1/stalls/{stall_id}/clear                     | stall      | 403         403         403
POST   /api/v1/stalls/{stall_id}/follow                    | number     | 403         403         403
GET    /api/v1/tickets/{ticket_id}                         | noted      | 403         403         403
GET    /api/v1/tickets/{ticket_id}                         | issued     | 403         403         403
POST   /api/v1/tickets/{ticket_id}/call                    | noted      | 403         403         403
POST   /api/v1/tickets/{ticket_id}/recall                  | called     | 403         403         403
POST   /api/v1/tickets/{ticket_id}/finish                  | called     | 403         403         403
POST   /api/v1/tickets/{ticket_id}/no-show                 | called     | 403         403         403
POST   /api/v1/tickets/{ticket_id}/requeue                 | no_show    | 403         403         403
POST   /api/v1/tickets/{ticket_id}/cancel                  | noted      | 403         403         403
POST   /api/v1/tickets/{ticket_id}/undo                    | called     | 403         403         403
GET    /api/v1/admin/stalls                                | -          | 403         403         403
POST   /api/v1/admin/stalls                                | -          | 403         403         403
PATCH  /api/v1/admin/stalls/{stall_id}                     | stall      | 403         403         403
POST   /api/v1/admin/stalls/{stall_id}/renewals            | stall      | 403         403         403
GET    /api/v1/admin/stalls/{stall_id}/months              | stall      | 403         403         403
DELETE /api/v1/admin/stalls/{stall_id}/sellers             | stall      | 403         403         403
GET    /api/v1/admin/statistics/queue                      | -          | 403         403         403
GET    /api/v1/admin/jobs                                  | -          | 403         403         403
GET    /api/v1/admin/alerts                                | -          | 403         403         403
POST   /api/v1/admin/alerts/{alert_id}/clear               | alert      | 403         403         403
POST   /api/v1/admin/alerts/{alert_id}/clear               | watched    | 403         403         403
GET    /api/v1/admin/incidents                             | -          | 403         403         403
POST   /api/v1/admin/sessions                              | -          | 200         200         200
GET    /api/v1/admin/me                                    | -          | 200         200         200
PATCH  /api/v1/admin/me                                    | -          | 200         200         200
POST   /api/v1/admin/me/password                           | -          | 204         204         204
PUT    /api/v1/admin/me/totp                               | -          | 409         409         409
POST   /api/v1/admin/me/totp                               | -          | 201         201         201
DELETE /api/v1/admin/me/totp                               | -          | 200         200         200
GET    /api/v1/admin/accounts                              | -          | 403         403         403
POST   /api/v1/admin/accounts                              | -          | 403         403         403
GET    /api/v1/admin/accounts/{account_id}                 | account    | 403         403         403
PATCH  /api/v1/admin/accounts/{account_id}                 | account    | 403         403         403
DELETE /api/v1/admin/accounts/{account_id}                 | account    | 403         403         403
POST   /api/v1/admin/accounts/{account_id}/restore         | account    | 403         403         403
POST   /api/v1/admin/accounts/{account_id}/password        | account    | 403         403         403
GET    /api/v1/admin/audit                                 | -          | 403         403         403
GET    /api/v1/sellers/me/stall                            | -          | 403         403         403
POST   /api/v1/stalls/{stall_id}/renewals                  | stall      | 403         403         403
GET    /api/v1/stalls/{stall_id}/renewals/code             | stall      | 403         403         403
GET    /api/v1/stalls/{stall_id}/renewals/qr.png           | stall      | 403         403         403
GET    /api/v1/payments/{out_trade_no:text}                | order      | 403         403         403
POST   /api/v1/payments/{out_trade_no:text}/refresh        | order      | 403         403         403
GET    /api/v1/payments/{out_trade_no:text}/qr.png         | order      | 403         403         403
GET    /api/v1/admin/payments                              | -          | 403         403         403
POST   /api/v1/admin/payments/{out_trade_no:text}/refunds  | payment    | 403         403         403
GET    /api/v1/admin/refunds                               | -          | 403         403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/approve  | waiting    | 403         403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/reject   | waiting    | 403         403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/retry    | failed     | 403         403         403
POST   /api/v1/admin/refunds/{out_refund_no:text}/withdraw | failed     | 403         403         403
GET    /api/v1/admin/bill-differences                      | -          | 403         403         403
POST   /api/v1/admin/bill-differences/{difference_id}/explain | difference | 403         403         403
POST   /notify/wechatpay/v2/pay                            | -          | 200         200         200
POST   /notify/wechatpay/v2/refund                         | -          | 200         200         200
POST   /notify/wechatpay/v2/native                         | -          | 200         200         200
POST   /notify/wechatpay/v3                                | -          | 401         401         401
"""  # noqa: E501

KEPT_TOPICS = """
topic           | object   | operator-a    finance-a     support-a
stall:ID        | stall    | ok=/ok=/lost  ok=/ok=/lost  ok=/ok=/lost
stall:ID:staff  | stall    | lost          lost          lost
ticket:ID       | called   | lost          lost          lost
me              | -        | ok=           ok=           ok=
cabinets        | -        | lost          lost          lost
cabinet:ID      | device   | ok=/lost/lost ok=/lost/lost ok=/lost/lost
door:ID         | session  | ok=/lost/lost ok=/lost/lost ok=/lost/lost
auction-item:ID | stall    | lost          lost          lost
"""

STAFF_FRAMES = """
frame            | object | owner        readonly
auth             | -      | ok           ok
ping             | -      | pong         pong
unsubscribe      | stall  | ok=          ok=
ack              | called | lost         lost
ticket.issue     | stall  | role         role
ticket.call_next | stall  | role         role
ticket.follow    | number | role         role
ticket.call      | noted  | role         role
ticket.recall    | called | role         role
ticket.finish    | called | role         role
ticket.no_show   | called | role         role
ticket.requeue   | no_show | role         role
ticket.cancel    | noted  | role         role
ticket.undo      | called | role         role
subscribe        | stall  | ok=/ok=/lost ok=/ok=/lost
"""

STAFF_TOPICS = """
topic           | object | owner        readonly
stall:ID        | stall  | ok=/ok=/lost ok=/ok=/lost
stall:ID:staff  | stall  | ok=/ok=/lost ok=/ok=/lost
ticket:ID       | called | ok=/ok=/lost ok=/ok=/lost
ticket:ID       | issued | ok=/ok=/lost ok=/ok=/lost
me              | -      | ok=          ok=
cabinets        | -       | ok=          ok=
cabinet:ID      | device  | ok=/ok=/lost ok=/ok=/lost
door:ID         | session | ok=/ok=/lost ok=/ok=/lost
auction-item:ID | stall  | lost         lost
"""

STAFF_QUERIES = """
query       | object | owner        readonly
login       | -      | ok           ok
seller_list | -      | illegal      illegal
menu        | stall  | illegal      illegal
fetch       | -      | illegal      illegal
note        | called | illegal      illegal
push        | number | illegal      illegal
hungry      | called | illegal      illegal
call        | noted  | illegal      illegal
done        | called | illegal      illegal
done seller | called | illegal      illegal
clear       | issued | illegal      illegal
signup      | -      | illegal      illegal
info        | -      | illegal      illegal
admin       | -      | illegal      illegal
renew       | -      | illegal      illegal
update      | -      | illegal      illegal
qrcode      | -      | illegal      illegal
"""

# auth: auth.required; late: session.expired; role: forbidden; lost: stall.not_found,
# ticket.not_found or topic.not_found; taken: ticket.taken; wrong: ticket.invalid_number.
FRAMES = """
frame            | object  | none expired board diner          other          seller         rival          admin
auth             | -       | late late    ok    ok             ok             ok             ok             ok
ping             | -       | pong late    pong  pong           pong           pong           pong           pong
unsubscribe      | stall   | auth late    ok=   ok=            ok=            ok=            ok=            ok=
ack              | called  | auth late    auth  ok/lost/lost   ok/lost/lost   lost           lost           lost
ticket.issue     | stall   | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.call_next | stall   | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.follow    | number  | auth late    auth  ok/taken/wrong ok/taken/wrong ok/taken/wrong ok/taken/wrong ok/taken/wrong
ticket.call      | noted   | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.recall    | called  | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.finish    | called  | auth late    auth  ok/lost/lost   ok/lost/lost   ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.no_show   | called  | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.requeue   | no_show | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.cancel    | noted   | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
ticket.undo      | called  | auth late    auth  role           role           ok/lost/lost   ok/lost/lost   ok/ok/lost
subscribe        | stall   | auth late    ok=/ok=/lost ok=/ok=/lost ok=/ok=/lost ok=/ok=/lost ok=/ok=/lost ok=/ok=/lost
"""  # noqa: E501

# What may be listened to. A stream that nobody writes yet is nobody's.
TOPICS = """
topic           | object | none expired board        diner         other         seller        rival         admin
stall:ID        | stall  | auth late    ok=/ok=/lost ok=/ok=/lost  ok=/ok=/lost  ok=/ok=/lost  ok=/ok=/lost  ok=/ok=/lost
stall:ID:staff  | stall  | auth late    lost         lost          lost          ok=/lost/lost ok=/lost/lost ok=/ok=/lost
ticket:ID       | called | auth late    lost         ok=/lost/lost ok=/lost/lost ok=/lost/lost ok=/lost/lost ok=/ok=/lost
ticket:ID       | issued | auth late    lost         lost          lost          ok=/lost/lost ok=/lost/lost ok=/ok=/lost
me              | -      | auth late    lost         ok=           ok=           ok=           ok=           ok=
cabinets        | -      | auth late    lost         lost          lost          lost          lost          ok=
cabinet:ID      | device | auth late    lost         lost          lost          lost          lost          ok=/ok=/lost
door:ID         | session | auth late   lost         ok=/lost/lost ok=/lost/lost lost          lost          ok=/ok=/lost
auction-item:ID | stall  | auth late    lost         lost          lost          lost          lost          lost
"""  # noqa: E501

# The old dialect answers always 200; `illegal` and `late` are queryErr, the others failMsg.
QUERIES = """
query       | object | none    expired board          diner          other          seller         rival          admin
login       | -      | ok      ok      ok             ok             ok             ok             ok             ok
seller_list | -      | illegal late    ok=            ok=            ok=            ok=            ok=            ok=
menu        | stall  | illegal late    ok=/ok=/lapsed ok=/ok=/lapsed ok=/ok=/lapsed ok=/ok=/lapsed ok=/ok=/lapsed ok=/ok=/lapsed
fetch       | -      | illegal late    due            due            due            ok             ok             due
note        | called | illegal late    ok=            ok=            ok=            ok=            ok=            ok=
push        | number | illegal late    ok/taken/wrong ok/taken/wrong ok/taken/wrong ok/taken/wrong ok/taken/wrong ok/taken/wrong
hungry      | called | illegal late    ok=/ok=/wait   ok/ok=/wait    ok/ok=/wait    ok=/ok=/wait   ok=/ok=/wait   ok=/ok=/wait
hungry      | noted  | illegal late    wait           wait           wait           wait           wait           wait
call        | noted  | illegal late    wrong          wrong          wrong          ok/wrong/wrong ok/wrong/wrong wrong
done        | called | illegal late    ok=            ok/ok=/ok=     ok/ok=/ok=     ok=            ok=            ok=
done seller | called | illegal late    ok=            ok=            ok=            ok/ok=/ok=     ok/ok=/ok=     ok=
clear       | issued | illegal late    ok=            ok=            ok=            ok             ok             ok=
signup      | -      | illegal late    tel            tel            tel            tel            tel            tel
info        | -      | illegal late    whose          whose          whose          ok=            ok=            whose
admin       | -      | illegal late    admin          admin          admin          admin          admin          ok=
renew       | -      | illegal late    admin          admin          admin          admin          admin          ok
update      | -      | illegal late    join           join           join           ok             ok             join
qrcode      | -      | illegal late    whose          whose          whose          ok             ok             whose
"""  # noqa: E501

LONG = {
    "auth": "auth.required",
    "late": "session.expired",
    "role": "forbidden",
    "taken": "ticket.taken",
    "wrong": "ticket.invalid_number",
}
OLD_LONG = {
    "illegal": "Illegal query",
    "late": "Session Time Out",
    "lapsed": "Illegal Seller Error",
    "due": "Due Date Error",
    "taken": "Taken Error",
    "wrong": "Invalid Sn Error",
    "wait": "Not Ready Yet",
    "tel": "Invalid Tel Error",
    "whose": "Invalid Session Error",
    "admin": "Not Admin Error",
    "join": "Need Signup Error",
}

GOOD = frozenset({"200", "201", "202", "204", "ok", "pong"})
ROUTES, COMMANDS = read(REST, good=GOOD), read(FRAMES, good=GOOD)
DOORS, STAFF_DOORS = read(CABINET_REST, good=GOOD), read(CABINET_STAFF, good=GOOD)
KEPT_DOORS, KEPT_ROUTES = read(CABINET_KEPT, good=GOOD), read(KEPT_REST, good=GOOD)
KEPT_SUBSCRIPTIONS = read(KEPT_TOPICS, good=GOOD)
SUBSCRIPTIONS, OLD_QUERIES = read(TOPICS, good=GOOD), read(QUERIES, good=GOOD)
STAFF_ROUTES, STAFF_COMMANDS = read(STAFF_REST, good=GOOD), read(STAFF_FRAMES, good=GOOD)
STAFF_SUBSCRIPTIONS, STAFF_OLD = read(STAFF_TOPICS, good=GOOD), read(STAFF_QUERIES, good=GOOD)

# A cell takes MariaDB some twenty times as long, and the rules are the same: there the shorter
# tables are tried, which write, read and refuse as the others do.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# ---------------------------------------------------------------- nothing without a row


@on_sqlite
def test_every_route_has_a_row(world: World) -> None:
    routes = {f"{route.method} {route.path}" for route in world.app.table.routes}

    for rows in (ROUTES + DOORS, STAFF_ROUTES + STAFF_DOORS, KEPT_ROUTES + KEPT_DOORS):
        assert routes == {row.name for row in rows}


@on_sqlite
def test_every_frame_has_a_row(world: World) -> None:
    frames = set(world.app.desk._readers) | {"ping"}

    assert frames == {row.name for row in COMMANDS} == {row.name for row in STAFF_COMMANDS}


def test_every_kind_of_topic_has_a_row() -> None:
    told = re.findall(r"^\| ([\w:-]+) +\|", topics.__doc__ or "", re.MULTILINE)
    taken = re.findall(r"[a-z-]+", topics._TOPIC.pattern.partition(")")[0])

    rows = {row.name for row in SUBSCRIPTIONS}

    assert {re.sub(r"\d+", "ID", name) for name in told} - {"topic"} == rows
    assert set(taken) == {name.partition(":")[0] for name in rows if ":" in name}
    assert rows == {row.name for row in STAFF_SUBSCRIPTIONS}
    assert rows == {row.name for row in KEPT_SUBSCRIPTIONS}


@on_sqlite
def test_every_query_of_the_old_dialect_has_a_row(world: World) -> None:
    queries = set(world.app.dialect._queries) | {"login"}

    for rows in (OLD_QUERIES, STAFF_OLD):
        assert queries == {row.name.partition(" ")[0] for row in rows}


# ---------------------------------------------------------------- trying all of it


class Target(msgspec.Struct, frozen=True):
    """What a cell is tried on."""

    stall_id: int = 0
    ticket_id: int = 0
    number: int = 0
    seq: int = 0
    account_id: int = 0
    out_trade_no: str = ""
    out_refund_no: str = ""
    difference_id: int = 0
    alert_id: int = 0
    store_id: int = 0
    device_id: int = 0
    session_id: int = 0
    order_id: int = 0
    exception_id: int = 0
    complaint_id: int = 0
    member_id: int = 0
    good_id: int = 0
    batch_id: int = 0
    report_id: int = 0
    event_id: int = 0
    n: int = 1
    qr: str = "C1.S.1.AAAAAAAAAAAAAAAAAAAAAA"
    endpoint_id: str = ENDPOINT_ID


class Reply(msgspec.Struct, frozen=True):
    """outcome: as in the tables; text: all that was said, for what must not be in it."""

    outcome: str
    text: str


STREET = {"store", "empty", "device", "loose", "scan", "session", "bought", "filmed", "unpaid",
          "exception", "complaint", "claim", "member", "good", "batch", "report"}  # fmt: skip

# A refusal that must not say whether there is such a thing.
HIDDEN = {"403", "404", "lost"}

Ask = Callable[[Row, Cell, Target], Awaitable[Reply]]


async def targets(world: World, who: str, what: str) -> dict[str, list[Target]]:
    """The objects of a row for somebody, by whose they are."""
    if what == "-":
        return {"own": [Target()]}
    if what == "stall":
        await world.ticket(world.stall_a, "diner", "noted")
        await world.ticket(world.stall_b, "other", "noted")
        stalls = world.stalls(who)
        return {whose: [Target(stall_id=each) for each in stalls[whose]] for whose in OBJECTS}
    if what == "number":
        return await _numbers(world, who)
    if what == "account":
        clerk = Target(account_id=world.people["clerk"].account_id)
        return {"own": [clerk], "foreign": [clerk], "missing": [Target(account_id=MISSING_ACCOUNT)]}
    if what in {"difference", "alert", "watched"}:
        return await _of_money(world, what)
    if what in {"order", "payment", "waiting", "failed"}:
        numbers = await world.payments(who, what)
        return {whose: [Target(out_trade_no=each, out_refund_no=each) for each in numbers[whose]]
                for whose in OBJECTS}  # fmt: skip
    if what == "event":
        events = [await world.street.event(), await world.street.event(), MISSING]
        return dict(zip(OBJECTS, ([Target(event_id=each)] for each in events), strict=True))
    if what in STREET:
        return await _of_street(world, who, what)
    tickets = await world.tickets(who, what)
    return {whose: [await _of(world, each) for each in tickets[whose]] for whose in OBJECTS}


async def _of_money(world: World, what: str) -> dict[str, list[Target]]:
    """What staff look after; it is nobody's."""
    if what == "difference":
        ids = [await world.money.difference(), await world.money.difference(), MISSING]
        return dict(zip(OBJECTS, ([Target(difference_id=each)] for each in ids), strict=True))
    kind = "bill" if what == "watched" else "payment.mismatch"
    raised = [await world.money.alert(kind), await world.money.alert(kind), MISSING]
    return dict(zip(OBJECTS, ([Target(alert_id=each)] for each in raised), strict=True))


async def _of_street(world: World, who: str, what: str) -> dict[str, list[Target]]:
    """Of what is in store A, and the one who shops there; foreign is what is of B."""
    places = ("B", "A") if who == SHOPPERS["B"] else ("A", "B")
    own, foreign = [await _at(world, what, place) for place in places]
    return {"own": [own], "foreign": [foreign], "missing": [nowhere(world, what)]}


def nowhere(world: World, what: str) -> Target:
    ids = ("store_id", "device_id", "session_id", "order_id", "exception_id", "complaint_id",
           "member_id", "good_id", "batch_id", "report_id")  # fmt: skip
    missing = msgspec.structs.replace(Target(), **dict.fromkeys(ids, MISSING))
    # A cabinet that is not there is put into a store that is.
    is_bound = what in {"loose", "device"}
    store_id = world.street.stores["A"] if is_bound else MISSING
    return msgspec.structs.replace(missing, store_id=store_id)


async def _at(world: World, what: str, place: str) -> Target:
    """It stands, was bought or is lived in store A or B."""
    street = world.street
    store_id = street.stores[place]
    if what in {"complaint", "claim"}:
        complaint_id, order_id = await street.complaint(place)
        return Target(complaint_id=complaint_id, order_id=order_id)
    if what in {"device", "loose", "scan"}:
        device = await (street.loose_device() if what == "loose" else street.device(place))
        await street.grant("A", 5_000)
        await street.grant("B", 5_000)
        # A client sends what stands behind the address that an ordinary scanner opens.
        code = street.sticker(device).partition("?c=")[2]
        return Target(store_id=store_id, device_id=device.id, qr=code)
    made: dict[str, Callable[[], Awaitable[dict[str, int]]]] = {
        "store": lambda: _named(store_id=store_id),
        "empty": lambda: _named(store_id=street.empty_store(place)),
        "session": lambda: _named(session_id=street.session(place)),
        "bought": lambda: _named(order_id=street.order(place)),
        "filmed": lambda: _named(order_id=street.filmed(place)),
        "unpaid": lambda: _named(order_id=street.order(place, is_paid=False)),
        "exception": lambda: _named(exception_id=street.exception(place)),
        "member": lambda: _named(member_id=street.members[place]),
        "good": lambda: _named(good_id=street.good()),
        "batch": lambda: _named(batch_id=street.batch()),
        "report": lambda: _named(report_id=street.report()),
    }
    return msgspec.structs.replace(Target(), **await made[what]())


async def _named(**ids: int | Awaitable[int]) -> dict[str, int]:
    return {name: each if isinstance(each, int) else await each for name, each in ids.items()}


async def _numbers(world: World, who: str) -> dict[str, list[Target]]:
    """Free to be bound; bound to somebody else; held by nobody."""
    free = await world.ticket(world.stall_a, "", "issued")
    bound = await world.ticket(world.stall_a, "other" if who == "diner" else "diner", "noted")
    live = {ticket.number for ticket in await world.app.queues.live_tickets(world.stall_a)}
    dead = next(number for number in range(1, 100) if number not in live)
    return {
        "own": [Target(world.stall_a, free.id, free.number)],
        "foreign": [Target(world.stall_a, bound.id, bound.number)],
        "missing": [Target(world.stall_a, 0, dead)],
    }


async def _of(world: World, ticket: Ticket | int) -> Target:
    if isinstance(ticket, int):
        return Target(ticket >> 32 or 1, ticket, 99)
    version = await world.app.queues.version(ticket.stall_id)
    _, events = await world.app.queues.missed(f"stall:{ticket.stall_id}", 0, 10_000, ticket.id)
    assert int(version.partition(".")[2]) >= events[-1].seq
    return Target(ticket.stall_id, ticket.id, ticket.number, events[-1].seq)


class Trial:
    """A table on its way: what is tried, on what, and what was not as it should be."""

    def __init__(self, world: World, ask: Ask) -> None:
        self.world = world
        self.wrong: list[str] = []
        self.tried = 0
        self._ask = ask
        # While nothing was changed, the same objects serve the next one who is refused.
        self._found: dict[tuple[str, str], dict[str, list[Target]]] = {}
        self._rows: Mapping[str, Any] | None = None

    async def run(self, rows: list[Row]) -> str:
        for row in rows:
            for who in dict.fromkeys(cell.who for cell in row.cells):
                await self._run(row, who, [cell for cell in row.cells if cell.who == who])
        return "\n".join(self.wrong)

    async def _run(self, row: Row, who: str, cells: list[Cell]) -> None:
        said: dict[str, set[str]] = defaultdict(set)
        for cell in cells:
            for nth in range(len((await self._targets(row.given, who)).get(cell.whose, ()))):
                target = (await self._targets(row.given, who))[cell.whose][nth]
                said[cell.whose].add(_anonymous(await self._try(row, cell, target)))
        hidden = {cell.outcome for cell in cells if cell.whose != "own"}
        is_hidden = who not in {"admin", *STAFF_ROLES} and len(hidden) == 1 and hidden <= HIDDEN
        if is_hidden and len(said["foreign"] | said["missing"]) > 1:
            self.wrong.append(f"{row.name}, {who}: foreign and missing differ: {dict(said)}")

    async def _targets(self, what: str, who: str) -> dict[str, list[Target]]:
        kind = who if who in {"diner", "other", "rival"} else "anyone"
        if (what, kind) not in self._found:
            self._rows = None
            self._found[what, kind] = await targets(self.world, who, what)
        return self._found[what, kind]

    async def _try(self, row: Row, cell: Cell, target: Target) -> str:
        self.tried += 1
        at = f"{row.name} ({row.given}), {cell.who}, {cell.whose}:"
        before = await self._rows_now() if cell.is_refused else {}
        commits = self.world.app.db.commits
        reply = await self._ask(row, cell, target)
        if reply.outcome != cell.outcome:
            self.wrong.append(f"{at} {reply.outcome} instead of {cell.outcome}: {reply.text}")
        secrets = self.world.secrets_from(cell.who, is_phone=row.name.endswith("/phone"))
        if told := [each for each in secrets if each in reply.text]:
            self.wrong.append(f"{at} told {told}: {reply.text}")
        if self.world.app.db.commits == commits:
            # Nothing was committed, so nothing is changed.
            return reply.text
        if not cell.is_refused:
            await self._begin_anew()
        elif changed := _changes(before, await self._rows_now(anew=True)):
            self.wrong.append(f"{at} changed {changed}")
        return reply.text

    async def _begin_anew(self) -> None:
        self._found, self._rows = {}, None
        await self.world.mend()

    async def _rows_now(self, *, anew: bool = False) -> Mapping[str, Any]:
        if self._rows is None or anew:
            self._rows = await self.world.rows()
        return self._rows


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: set(after[name]) ^ set(before[name])
            for name in after if after[name] != before[name]}  # fmt: skip


def _anonymous(text: str) -> str:
    """An answer without what differs from one to the next."""
    without = re.sub(r'(?m)"(request_)?id": ?("[^"]*"|\d+),?|^(x-request-id|date): .*$', "", text)
    return re.sub(r"\d+", "N", without)


# ---------------------------------------------------------------- over REST


# Whatever else there is, these are told the same.
BODIES = {
    "/explain": {"text": "a night at WeChat"},
    "/alerts/{alert_id}/clear": {"reason": "looked at"},
}


def _body(world: World, row: Row, target: Target) -> Any:
    name = row.name
    if name in DOOR_BODIES:
        return DOOR_BODIES[name](Asked(target, row.given, world.next()))
    return _body_of_numbers(world, name, target)


def _body_of_numbers(world: World, name: str, target: Target) -> Any:
    method, path = name.split()
    if path.endswith("/follow"):
        return {"number": target.number or 1, "note": "noodles"}
    if path == "/api/v1/sessions" and method == "POST":
        return {"app": "diner", "code": f"sim:somebody-new:{world.next()}"}
    if path.endswith("/renewals"):
        return {"months": 1, "reason": "paid in cash", "trade_type": "NATIVE"}
    if ending := next((each for each in BODIES if path.endswith(each)), ""):
        return BODIES[ending]
    if "/refunds" in path and method == "POST":
        return {"amount_fen": 1, "reason": "no noodles"}
    if path.startswith(("/api/v1/admin/me", "/api/v1/admin/accounts", "/api/v1/admin/sessions")):
        return _staff_body(world, name)
    if "/admin/stalls" in path:
        return (
            {"name": "another", "phone": f"137{world.next():08d}"}
            if method == "POST"
            else {"person": f"Li {world.next()}"}
        )
    return None


def _staff_body(world: World, name: str) -> Any:
    proof = {"password": PASSWORD}
    return {
        "POST /api/v1/admin/sessions": {"login_name": "clerk", **proof},
        "PATCH /api/v1/admin/me": {"nickname": f"Li {world.next()}"},
        "POST /api/v1/admin/me/password": {"old_password": PASSWORD, "new_password": PASSWORD},
        "PUT /api/v1/admin/me/totp": {"totp": "000000"},
        "POST /api/v1/admin/me/totp": proof,
        "DELETE /api/v1/admin/me/totp": proof,
        "POST /api/v1/admin/accounts": {
            "login_name": f"new{world.next()}",
            "role": "support",
            **proof,
        },
        "PATCH /api/v1/admin/accounts/{account_id}": {"nickname": f"Li {world.next()}"},
        "POST /api/v1/admin/accounts/{account_id}/password": {"new_password": PASSWORD},
    }.get(name)


@on_sqlite
@pytest.mark.parametrize(
    "rows",
    [ROUTES, STAFF_ROUTES, KEPT_ROUTES, DOORS, STAFF_DOORS, KEPT_DOORS],
    ids=["everybody", "staff", "kept", "doors", "doors-staff", "doors-kept"],
)
async def test_rest_is_as_its_table_says(world: World, web: Web, rows: list[Row]) -> None:
    async def ask(row: Row, cell: Cell, target: Target) -> Reply:
        method, path = row.name.split()
        at = path.replace(":text", "").format_map(msgspec.structs.asdict(target))
        at += QUERIES_NEEDED.get(row.name, "")
        body, token = _body(world, row, target), world.people[cell.who].token
        is_money = path.endswith(("/renewals", "/refunds", "/pay", "/tickets"))
        key = [("Idempotency-Key", f"k-{world.next()}")] if is_money and method == "POST" else []
        answer = await web.ask(method, at, body, key, token=token)
        if answer.status == 204 and path.endswith("/current"):
            await world.refresh(cell.who)
        return Reply(str(answer.status), _told(answer))

    await world.street.open_shop()
    assert await Trial(world, ask).run(rows) == ""


def _told(answer: Answer) -> str:
    lines = [f"{name}: {value}" for name, value in answer.headers]
    return "\n".join([str(answer.status), *lines, answer.body.decode(errors="replace")])


# ---------------------------------------------------------------- over the WebSocket


@on_sqlite
async def test_frames_are_as_their_table_says(world: World) -> None:
    async def ask(row: Row, cell: Cell, target: Target) -> Reply:
        client = await Client.connect(world.app.port)
        try:
            return await _ask_frame(world, client, row, cell, target)
        finally:
            client.hang_up()

    assert await Trial(world, ask).run(COMMANDS + STAFF_COMMANDS) == ""


async def test_topics_are_as_their_table_says(world: World) -> None:
    async def ask(row: Row, cell: Cell, target: Target) -> Reply:
        client = await Client.connect(world.app.port)
        one = target.ticket_id or target.stall_id or target.device_id or target.session_id
        topic = row.name.replace("ID", str(one))
        try:
            refused = await _introduce(world, client, cell.who)
            answer = refused or await client.ask("subscribe", topic=topic)
            return _outcome(answer)
        finally:
            client.hang_up()

    assert (
        await Trial(world, ask).run(SUBSCRIPTIONS + STAFF_SUBSCRIPTIONS + KEPT_SUBSCRIPTIONS) == ""
    )


async def _ask_frame(world: World, client: Client, row: Row, cell: Cell, target: Target) -> Reply:
    if row.name == "auth" and cell.who == "none":
        return _outcome(await client.ask("auth"))
    refused = await _introduce(world, client, cell.who)
    if refused is not None or row.name == "auth":
        return _outcome(refused or {"ok": True})
    return _outcome(await client.ask(row.name, **_fields(row.name, target)))


async def _introduce(world: World, client: Client, who: str) -> dict[str, Any] | None:
    """Sign in as somebody; the refusal, if it is one, and then the connection is closed."""
    assert (await client.message())["type"] == "hello"
    if who == "none":
        return None
    if who == "board":
        assert (await client.ask("auth", board=True))["ok"]
        return None
    answer = await client.ask("auth", token=world.people[who].token)
    if answer["ok"]:
        return None
    assert await client.close_code() == 4401
    return answer


def _fields(name: str, target: Target) -> dict[str, Any]:
    if name in {"subscribe", "unsubscribe"}:
        return {"topic": f"stall:{target.stall_id}"}
    if name == "ack":
        return {"topic": f"ticket:{target.ticket_id}", "seq": target.seq}
    if name == "ticket.follow":
        return {"stall_id": target.stall_id, "number": target.number, "note": "noodles"}
    if name in {"ticket.issue", "ticket.call_next"}:
        return {"stall_id": target.stall_id}
    return {"ticket_id": target.ticket_id}


def _outcome(answer: dict[str, Any]) -> Reply:
    text = msgspec.json.encode(answer).decode()
    if answer.get("type") == "pong":
        return Reply("pong", text)
    if answer["ok"]:
        return Reply("ok", text)
    code = answer["error"]["code"]
    if code.endswith(".not_found"):
        return Reply("lost", text)
    return Reply({long: short for short, long in LONG.items()}.get(code, code), text)


# ---------------------------------------------------------------- in the old dialect


def _query(world: World, name: str, who: str, target: Target) -> dict[str, str]:
    query, _, more = name.partition(" ")
    fields = {
        "login": {"code": f"sim:somebody-new:{world.next()}"},
        "signup": {"telNum": world.phone_of("seller")},
        "renew": {"telNum": f"137{world.next():08d}", "term": "1"},
        "update": {"personName": f"Li {world.next()}"},
    }.get(query, {})
    if target.stall_id:
        fields["sellerId"] = str(target.stall_id)
        fields["marchSn"] = str(target.number)
    if query == "push":
        fields["noteContent"] = "noodles"
    if more == "seller":
        fields["isseller"] = "yes"
    return {"query": query, **fields}


def _old_outcome(query: str, answer: dict[str, Any]) -> Reply:
    text = msgspec.json.encode(answer).decode()
    if answer.get(f"{query}Success") == "success":
        return Reply("ok", text)
    said = answer.get("queryErr") or answer.get("failMsg") or text
    return Reply({long: short for short, long in OLD_LONG.items()}.get(said, said), text)


async def test_the_old_dialect_is_as_its_table_says(world: World, web: Web) -> None:
    async def ask(row: Row, cell: Cell, target: Target) -> Reply:
        fields = _query(world, row.name, cell.who, target)
        if row.name != "login" and (key := world.people[cell.who].key):
            fields["sessionKey"] = key
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        answer = await web.ask("POST", "/", urlencode(fields).encode(), form)
        assert answer.status == 200
        return _old_outcome(fields["query"], answer.json)

    assert await Trial(world, ask).run(OLD_QUERIES + STAFF_OLD) == ""


@on_sqlite
async def test_the_old_dialect_is_the_same_on_its_socket(world: World) -> None:
    async def ask(row: Row, cell: Cell, target: Target) -> Reply:
        client = await Client.connect(world.app.port, path="/ws")
        try:
            client.send(query="login", sessionKey=world.people[cell.who].key)
            greeting = await client.message()
            fields = _query(world, row.name, cell.who, target)
            client.send(**fields)
            answer = await client.message()
        finally:
            client.hang_up()
        if row.name == "login" or cell.who not in {"none", "expired"}:
            assert answer.pop("push") == fields["query"]
            return _old_outcome(fields["query"], answer)
        # Whoever is not known is asked who it is, whatever it wants.
        assert greeting["state"] == "fail"
        assert answer == {"push": "whoareyou"}
        return Reply(cell.outcome, "")

    assert await Trial(world, ask).run(OLD_QUERIES + STAFF_OLD) == ""


async def test_a_session_nobody_gave_is_refused_before_anything_is_done(
    world: World, web: Web
) -> None:
    before = await world.rows()
    for query in world.app.dialect._queries:
        for key in ("0" * 40, "x", "0" * 39, "' OR 1=1 --", world.people["seller"].key.upper()):
            answer = await web.ask("POST", "/", {"query": query, "sessionKey": key})
            assert answer.json == {"queryErr": "Session Time Out"}

    assert await world.rows() == before
