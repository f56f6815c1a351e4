"""What a simulated cabinet sells: the ERP lists it, the cabinets hold it, the crowd takes it."""

import msgspec


class Grocery(msgspec.Struct, frozen=True):
    sku: str
    barcode: str
    name: str
    price_fen: int
    weight_g: int


GROCERIES = (
    Grocery("SKU-1001", "6900000010014", "矿泉水 550ml", 200, 560),
    Grocery("SKU-1002", "6900000010021", "可乐 330ml", 300, 345),
    Grocery("SKU-1003", "6900000010038", "无糖乌龙茶 500ml", 450, 515),
    Grocery("SKU-1004", "6900000010045", "鲜牛奶 250ml", 550, 265),
    Grocery("SKU-1005", "6900000010052", "运动饮料 600ml", 500, 620),
    Grocery("SKU-1006", "6900000010069", "橙汁 300ml", 650, 320),
    Grocery("SKU-1007", "6900000010076", "苏打饼干", 480, 120),
    Grocery("SKU-1008", "6900000010083", "巧克力棒", 399, 45),
    Grocery("SKU-1009", "6900000010090", "三明治", 1280, 160),
    Grocery("SKU-1010", "6900000010106", "酸奶 200g", 620, 215),
    Grocery("SKU-1011", "6900000010113", "薯片 70g", 699, 85),
    Grocery("SKU-1012", "6900000010120", "香蕉", 350, 140),
)
