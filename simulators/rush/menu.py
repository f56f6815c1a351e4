"""What is eaten at noon."""

from random import Random

DISHES = (
    *("番茄鸡蛋面", "红烧牛肉面", "兰州拉面", "葱油拌面", "炸酱面", "重庆小面", "刀削面"),
    *("宫保鸡丁盖饭", "鱼香肉丝盖饭", "黄焖鸡米饭", "扬州炒饭", "咖喱鸡排饭", "照烧鸡腿饭"),
    *("麻辣香锅", "麻辣烫", "酸菜鱼", "水煮肉片", "回锅肉", "麻婆豆腐", "地三鲜", "糖醋里脊"),
    *("过桥米线", "桂林米粉", "酸辣粉", "螺蛳粉", "砂锅土豆粉", "鸭血粉丝汤"),
    *("韭菜鸡蛋饺子", "猪肉大葱包子", "小笼包", "煎饼果子", "手抓饼", "肉夹馍", "皮蛋瘦肉粥"),
)
WISHES = ("", "", "", "不要香菜", "少辣", "微辣", "多放辣", "少油少盐", "打包", "加个蛋", "大份")
MANY = ("", "", "", "", " ×2", "，米饭一份")


def note(rng: Random) -> str:
    """A dish as a diner writes it down: `番茄鸡蛋面 不要香菜`."""
    dish, wish = rng.choice(DISHES), rng.choice(WISHES)
    return dish + rng.choice(MANY) + (f" {wish}" if wish else "")
