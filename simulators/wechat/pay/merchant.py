"""The one merchant this WeChat Pay knows, and what it is told when it signs up.

Nothing here is secret, and all of it can be told from the real thing: a real merchant number
begins with a 1, a real key is not a sentence, and a real certificate's serial number is random.
"""

from simulators.wechat.apps import DINER_APPID, SELLER_APPID

MCH_ID = "9000000051"
API_V2_KEY = "SIMULATEDv2KEYSIMULATEDv2KEY0000"
API_V3_KEY = "SIMULATEDv3KEYSIMULATEDv3KEY0000"
SERVICE_ID = "00005100000000000000000000000001"

APPIDS = (DINER_APPID, SELLER_APPID)
# A mini-program WeChat knows and this merchant is not bound to.
STRANGE_APPID = "wx5a1e000000057a4e"

# Every serial number and public key id made here begins like this.
SERIAL_MARK = "51A1"
PUB_KEY_MARK = "PUB_KEY_ID_51A1"
