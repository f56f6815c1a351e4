"""Messages that nobody honest sends. None of them may do anything but be refused."""

import random
from collections.abc import Iterator

from tests.payments.wechat import speech

GOOD = speech.xml(speech.signed(speech.payment()))

# What a thief of the signature would like to slip into a message that is signed.
_INNER = GOOD.removeprefix(b"<xml>").removesuffix(b"</xml>")


def _xml(inner: bytes | str) -> bytes:
    return b"<xml>" + (inner.encode() if isinstance(inner, str) else inner) + b"</xml>"


def _prolog(text: str) -> bytes:
    return text.encode() + GOOD


_BILLION_LAUGHS = (
    '<!DOCTYPE xml [<!ENTITY a0 "lol">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
)

DOCTYPES = {
    "file": '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "http": '<!DOCTYPE xml [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>',
    "public": '<!DOCTYPE xml [<!ENTITY x PUBLIC "a" "http://127.0.0.1:9/x">]>',
    "parameter": '<!DOCTYPE xml [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>',
    "inner parameter": "<!DOCTYPE xml [<!ENTITY % p \"<!ENTITY x '1'>\"> %p;]>",
    "external dtd": '<!DOCTYPE xml SYSTEM "http://127.0.0.1:9/x.dtd">',
    "public dtd": '<!DOCTYPE xml PUBLIC "-//W3C//DTD" "http://127.0.0.1:9/x.dtd">',
    "plain": "<!DOCTYPE xml>",
    "empty": "<!DOCTYPE xml []>",
    "lower case": "<!doctype xml>",
    "element": "<!DOCTYPE xml [<!ELEMENT xml ANY>]>",
    "attlist": '<!DOCTYPE xml [<!ATTLIST total_fee currency CDATA "USD">]>',
    "notation": '<!DOCTYPE xml [<!NOTATION n SYSTEM "n">]>',
    "unparsed": '<!DOCTYPE xml [<!NOTATION n SYSTEM "n"><!ENTITY x SYSTEM "x" NDATA n>]>',
    "billion laughs": _BILLION_LAUGHS,
    "quadratic": f'<!DOCTYPE xml [<!ENTITY x "{"a" * 20_000}">]>',
    "recursive": '<!DOCTYPE xml [<!ENTITY x "&y;"><!ENTITY y "&x;">]>',
    "conditional": "<!DOCTYPE xml [<![INCLUDE[<!ENTITY x '1'>]]>]>",
    "unfinished": "<!DOCTYPE xml [",
}

PROLOGS = {
    "gbk": '<?xml version="1.0" encoding="gbk"?>',
    "gb18030": '<?xml version="1.0" encoding="GB18030"?>',
    "utf-16": '<?xml version="1.0" encoding="UTF-16"?>',
    "utf-7": '<?xml version="1.0" encoding="utf-7"?>',
    "latin 1": '<?xml version="1.0" encoding="ISO-8859-1"?>',
    "ascii": '<?xml version="1.0" encoding="US-ASCII"?>',
    "nonsense": '<?xml version="1.0" encoding="x"?>',
    "version 1.1": '<?xml version="1.1" encoding="UTF-8"?>',
    "version 2": '<?xml version="2.0"?>',
    "no version": '<?xml encoding="UTF-8"?>',
    "two": '<?xml version="1.0"?><?xml version="1.0"?>',
    "late": '\n<?xml version="1.0"?>',
    "unfinished": '<?xml version="1.0"',
    "mixed quotes": "<?xml version=\"1.0' encoding='utf-8\"?>",
    "style sheet": '<?xml-stylesheet href="http://127.0.0.1:9/x"?>',
    "instruction": "<?php echo 1 ?>",
    "comment": "<!-- -->",
    "hidden doctype": "<!-- <![CDATA[ --><!DOCTYPE xml> <!-- ]]> -->",
    "doctype in an instruction": "<?x <![CDATA[ ?><!DOCTYPE xml><?x ]]> ?>",
    "text": "x",
    "nul": "\0",
    "mark twice": "\ufeff\ufeff",
    "other root": "<xml></xml>",
}

SHAPES = {
    "nothing": b"",
    "blank": b" ",
    "line feeds": b"\r\n\r\n",
    "nul": b"\0",
    "json": b'{"return_code": "SUCCESS"}',
    "form": b"return_code=SUCCESS&sign=",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "text": b"SUCCESS",
    "empty root": b"<xml/>",
    "empty root, open": b"<xml></xml>",
    "blank root": b"<xml> </xml>",
    "root of text": b"<xml>SUCCESS</xml>",
    "two roots": GOOD + GOOD,
    "rest": GOOD + b"x",
    "rest in angles": GOOD + b"<x/>",
    "cut": GOOD[:-1],
    "half": GOOD[: len(GOOD) // 2],
    "another root": GOOD.replace(b"<xml>", b"<XML>").replace(b"</xml>", b"</XML>"),
    "root of refunds": GOOD.replace(b"xml>", b"root>"),
    "root within": b"<a>" + GOOD + b"</a>",
    "root with an attribute": b"<xml a='1'>" + _INNER + b"</xml>",
    "root with a namespace": b"<xml xmlns='urn:x'>" + _INNER + b"</xml>",
    "root with a prefix": b"<p:xml xmlns:p='urn:x'>" + _INNER + b"</p:xml>",
    "undeclared prefix": b"<p:xml>" + _INNER + b"</p:xml>",
    "text between": _xml(b"x" + _INNER),
    "cdata between": _xml(b"<![CDATA[x]]>" + _INNER),
    "reference between": _xml(b"&#65;" + _INNER),
    "no break space between": _xml(b"\xc2\xa0" + _INNER),
    "comment within": _xml(b"<!-- x -->" + _INNER),
    "instruction within": _xml(b"<?x y?>" + _INNER),
    "doctype within": _xml(b"<!DOCTYPE xml>" + _INNER),
    "entity within": _xml(b"<!ENTITY x '1'>" + _INNER),
    "too long": _xml(_INNER + b"<pad>" + b"x" * 70_000 + b"</pad>"),
    "too long by blanks": GOOD + b" " * 70_000,
    "many fields": _xml(_INNER + b"".join(b"<a%d/>" % n for n in range(6000))),
    "many fields, signed no": _xml(b"".join(b"<a%d>1</a%d>" % (n, n) for n in range(3000))),
    "deep": b"<xml>" + b"<a>" * 9000 + b"</a>" * 9000 + b"</xml>",
    "deep, open": b"<xml>" + b"<a>" * 20_000,
    "deep root": b"<xml>" * 5000 + b"</xml>" * 5000,
    "mark": b"\xef\xbb\xbf" + b"<xml></xml>",
    "utf-16 with a mark": GOOD.decode().encode("utf-16"),
    "utf-16 le": GOOD.decode().encode("utf-16-le"),
    "utf-16 be": GOOD.decode().encode("utf-16-be"),
    "utf-32": GOOD.decode().encode("utf-32"),
    "gbk": GOOD.decode().encode("gbk"),
    "utf-7": GOOD.decode().encode("utf-7"),
    "latin 1 within": _xml(_INNER + b"<a>\xe9</a>"),
    "overlong slash": _xml(_INNER + b"<a>\xc0\xaf</a>"),
    "overlong angle": GOOD.replace(b"<xml>", b"\xc0\xbcxml>"),
    "surrogate": _xml(_INNER + b"<a>\xed\xa0\x80</a>"),
    "beyond unicode": _xml(_INNER + b"<a>\xf4\x90\x80\x80</a>"),
    "cut character": GOOD + b"\xe6",
    "nul within": _xml(_INNER + b"<a>\0</a>"),
    "nul at the end": GOOD + b"\0",
    "nul in a name": GOOD.replace(b"<total_fee>", b"<total_fee\0>"),
    "escape": _xml(_INNER + b"<a>\x1b[31m</a>"),
    "noncharacter": _xml(_INNER + b"<a>\xef\xbf\xbe</a>"),
}

FIELDS = {
    "twice the same": "<total_fee>1</total_fee>",
    "twice another": "<total_fee>100</total_fee>",
    "twice empty": "<total_fee></total_fee>",
    "twice by a short tag": "<total_fee/>",
    "twice nested": "<total_fee><total_fee>100</total_fee></total_fee>",
    "twice in cdata": "<total_fee><![CDATA[100]]></total_fee>",
    "two signs": "<sign>A</sign>",
    "two empty signs": "<sign/>",
    "another case": "<Total_fee>100</Total_fee>",
    "capitals": "<SIGN>A</SIGN>",
    "a blank after": "<total_fee >100</total_fee >",
    "nested": "<a><b>1</b></a>",
    "nested, blank": "<a> <b/> </a>",
    "mixed": "<a>1<b/>2</a>",
    "attribute": "<a b='1'>1</a>",
    "attribute, empty": "<a b=''/>",
    "namespace": "<a xmlns='urn:x'>1</a>",
    "prefixed": "<p:a xmlns:p='urn:x'>1</p:a>",
    "prefix": "<p:a>1</p:a>",
    "xml space": "<a xml:space='preserve'>1</a>",
    "not closed": "<a>",
    "not opened": "</a>",
    "crossed": "<a><b></a></b>",
    "named by a number": "<1>1</1>",
    "named by a sign": "<a=b>1</a=b>",
    "named in chinese": "<金额>1</金额>",
    "named at": "<@a>1</@a>",
    "named text": "<#text>1</#text>",
    "named by blanks": "< a>1</ a>",
    "named at length": f"<{'a' * 65}>1</{'a' * 65}>",
    "unknown entity": "<a>&foo;</a>",
    "unfinished entity": "<a>&amp</a>",
    "bare ampersand": "<a>1&2</a>",
    "bare angle": "<a>1<2</a>",
    "nul by number": "<a>&#0;</a>",
    "nul by hexadecimal": "<a>&#x0;</a>",
    "control by number": "<a>&#8;</a>",
    "surrogate by number": "<a>&#xD800;</a>",
    "beyond by number": "<a>&#x110000;</a>",
    "no number": "<a>&#;</a>",
    "endless number": f"<a>&#{'9' * 400};</a>",
    "end of cdata in text": "<a>]]></a>",
    "cdata in cdata": "<a><![CDATA[<![CDATA[x]]>]]></a>",
    "cdata in small letters": "<a><![cdata[x]]></a>",
    "cdata with a blank": "<a><! [CDATA[x]]></a>",
    "cdata not closed": "<a><![CDATA[x</a>",
    "cdata closed twice": "<a><![CDATA[x]]>]]></a>",
    "cdata across": "<a><![CDATA[</a><b>]]></b>",
    "cdata around a name": "<<![CDATA[a]]>>1</a>",
    "cdata in a tag": "<a <![CDATA[x]]>>1</a>",
    "cdata joined to a doctype": "<<![CDATA[x]]>!DOCTYPE xml>",
    "cdata in an attribute": "<a b='<![CDATA['>]]>'</a>",
    "cdata in a comment": "<!-- <![CDATA[ --><a>1</a><!-- ]]> -->",
    "comment in cdata, then one": "<a><![CDATA[<!--]]></a><!-- -->",
    "comment in a value": "<a>1<!-- -->2</a>",
    "comment not closed": "<!-- ",
    "comment of two hyphens": "<!-- -- -->",
    "instruction in a value": "<a>1<?x?>2</a>",
    "declaration in a value": "<a><?xml version='1.0'?></a>",
    "section to be left out": "<![IGNORE[<a/>]]>",
    "one more field": "<a>1</a>",
    "one more blank field": "<a> </a>",
    "one more zero": "<coupon_fee>0</coupon_fee>",
    "one more of chinese": "<a>中文</a>",
    "one more of cdata": "<a><![CDATA[<xml/>]]></a>",
    "a way to sign": "<sign_type>MD5</sign_type>",
}


def _replaced() -> dict[str, bytes]:
    """Things said of a field instead of what was signed."""
    fee = b"<total_fee>1</total_fee>"
    others = {
        "other fee": "<total_fee>100</total_fee>",
        "plus": "<total_fee>+1</total_fee>",
        "minus": "<total_fee>-1</total_fee>",
        "blank before": "<total_fee> 1</total_fee>",
        "blank after": "<total_fee>1 </total_fee>",
        "line feed": "<total_fee>1\n</total_fee>",
        "return by number": "<total_fee>1&#13;</total_fee>",
        "point": "<total_fee>1.0</total_fee>",
        "zero before": "<total_fee>01</total_fee>",
        "wide digit": "<total_fee>１</total_fee>",
        "hidden sign": "<total_fee>1\u200b</total_fee>",
        "other name": "<total_fée>1</total_fée>",
        "gone": "",
    }
    found = {name: GOOD.replace(fee, other.encode()) for name, other in others.items()}
    return {f"replaced: {name}": body for name, body in found.items()} | {
        "sign gone": GOOD[: GOOD.index(b"<sign>")] + b"</xml>",
        "sign empty": GOOD[: GOOD.index(b"<sign>")] + b"<sign/></xml>",
        "sign blank": GOOD[: GOOD.index(b"<sign>")] + b"<sign> </sign></xml>",
        "no return_code, no sign": speech.xml({"result_code": "SUCCESS", "total_fee": "1"}),
        "fail envelope": speech.xml({"return_code": "FAIL", "return_msg": "签名失败"}),
        "success envelope": speech.xml({"return_code": "SUCCESS", "return_msg": "OK"}),
        "by another key": speech.xml(speech.signed(speech.payment(), key="k" * 32)),
        "by an empty key": speech.xml(speech.signed(speech.payment(), key="")),
        "by md5": speech.xml(speech.signed(speech.payment(), md5=True)),
        "by md5, and saying so": speech.xml(
            speech.signed(speech.payment(sign_type="MD5"), md5=True)
        ),
    }


def table() -> dict[str, bytes]:
    return (
        {f"doctype: {name}": _prolog(text) for name, text in DOCTYPES.items()}
        | {
            f"doctype, used: {name}": text.encode() + _xml(_INNER + b"<a>&x;&a9;</a>")
            for name, text in DOCTYPES.items()
        }
        | {f"before: {name}": text.encode() + GOOD for name, text in PROLOGS.items()}
        | {f"shape: {name}": body for name, body in SHAPES.items()}
        | {f"field: {name}": _xml(_INNER + text.encode()) for name, text in FIELDS.items()}
        | {f"field first: {name}": _xml(text.encode() + _INNER) for name, text in FIELDS.items()}
        | _replaced()
    )


_PIECES = [
    b"<!DOCTYPE xml>", b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x", b"?>", b"&x;", b"&#0;", b"\0",
    b"<xml>", b"</xml>", b"<a>", b"</a>", b"<a/>", b" a='1'", b"<total_fee>9</total_fee>", b"\xff",
    b"\xef\xbb\xbf", b"&lt;", b"\r\n", b"<sign></sign>", b"]]", b"<", b">", b"&", b"'", b"\xe4\xb8",
]  # fmt: skip


def mutated(dice: random.Random, rounds: int) -> Iterator[bytes]:
    """Good and bad messages, cut, doubled, swapped and mixed; never a good one as it was."""
    seeds = [GOOD, *table().values()]
    seeds = [seed for seed in seeds if len(seed) < 4000]
    while rounds:
        body = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 4)):
            _mutate(body, dice, seeds)
        if bytes(body) != GOOD:
            rounds -= 1
            yield bytes(body)


def _mutate(body: bytearray, dice: random.Random, seeds: list[bytes]) -> None:
    at, to = sorted(dice.randint(0, len(body)) for _ in range(2))
    match dice.randint(0, 5):
        case 0:
            body[at:to] = b""
        case 1:
            body[at:at] = dice.choice(_PIECES)
        case 2:
            body[at:to] = bytes(body[at:to]) * 2
        case 3:
            body[at : at + 1] = bytes([dice.randint(0, 255)])
        case 4:
            other = dice.choice(seeds)
            body[at:] = other[dice.randint(0, len(other)) :]
        case _:
            body[at:to] = dice.choice(_PIECES) + bytes(body[at:to]) + dice.choice(_PIECES)


def bent(body: bytes, dice: random.Random, share: float) -> Iterator[bytes]:
    """The message with one byte changed: each to each other value, or as large a share of that."""
    changes = len(body) * 255
    chosen = range(changes) if share >= 1 else dice.sample(range(changes), round(changes * share))
    for change in chosen:
        at, by = divmod(change, 255)
        yield body[:at] + bytes([body[at] ^ (by + 1)]) + body[at + 1 :]
