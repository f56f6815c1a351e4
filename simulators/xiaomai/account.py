"""The one customer the simulated platform has: published on purpose, worth nothing elsewhere."""

APP_ID = "xm_app_callme"
KEY_ID = "k1"
SECRET = "xm_play_requests_0123456789abcdef"

# The other direction has a pair of its own, as the contract asks.
CALLBACK_KEY_ID = "cb1"
CALLBACK_SECRET = "xm_play_callbacks_0123456789abcdef"
ENDPOINT_ID = "ep_demo"
