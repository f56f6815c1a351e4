"""Configuration: defaults < config.toml < environment < command line.

The only module that reads the environment or a file of settings. Every key is a field
below; `CALLME_<SECTION>__<KEY>` in the environment, `key` under `[section]` in the file.
An unknown key is an error: a setting with a slip of the pen in it must not be silently off.
"""

import ipaddress
import os
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from devices.fleet.qr import PREFIX_MAX

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]

SECRET_MIN_BYTES = 32
WECHATPAY_KEY_BYTES = 32


class ConfigError(Exception):
    """The configuration is wrong; the text names the key."""


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: Port = 8000
    base_url: str = ""
    """As clients reach us; "" is http://host:port."""
    trusted_proxies: str = ""
    """Addresses or networks, comma separated, whose X-Forwarded-For is believed."""
    allowed_origins: str = ""
    """Other origins whose pages may open a WebSocket, comma separated."""
    secret: str = ""
    """At least 32 bytes; signs tokens."""
    media_dir: str = "var/media"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    access_log: bool = True


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = "sqlite:///var/callme.db"


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """"" keeps everything in this process."""


class WeChat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api_url: str = "https://api.weixin.qq.com"
    diner_appid: str = ""
    diner_secret: str = ""
    seller_appid: str = ""
    seller_secret: str = ""
    call_fields: str = (
        "character_string1=number,thing2=stall,thing3=note,time4=called_at,thing5=hint"
    )
    """The fields of the template a reminder fills (as it was chosen on WeChat's platform), each
    with what goes into it: number, stall, note, called_at or hint."""
    call_hint: str = "您的餐品已备好,请尽快取餐"
    call_page: str = "pages/qu/qu"


class WeChatPay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is not set is off: no V3 key, no Payscore; no certificate, refunds by V3 only."""

    url: str = "https://api.mch.weixin.qq.com"
    mch_id: str = ""
    api_v2_key: str = ""
    api_v3_key: str = ""
    sign_type: Literal["MD5", "HMAC-SHA256"] = "HMAC-SHA256"
    merchant_key_file: str = ""
    merchant_cert_file: str = ""
    platform_keys_dir: str = ""
    """Platform certificates and public keys (PUB_KEY_ID_….pem) that are trusted from the start."""
    notify_base: str = ""
    """Where WeChat reaches us; "" is the base URL."""
    payscore_service_id: str = ""
    allow_simulator: bool = False
    """Let payments go to a WeChat that is none. Never where real money is."""


class Payments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    two_person_above_fen: Annotated[int, Meta(ge=0)] = 50_000
    """A refund above this waits for a second person."""


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    admin_openids: str = ""
    """Comma separated; they hold the administrator's role."""
    pick: Literal["cyclic", "lowest"] = "cyclic"
    rest_s: Annotated[int, Meta(ge=0, le=3600)] = 300
    double_tap_s: Annotated[float, Meta(ge=0, le=60)] = 1.5
    remind_after_s: Annotated[int, Meta(ge=1, le=3600)] = 20
    release_after_min: Annotated[int, Meta(ge=1, le=1440)] = 120
    month_price_fen: Positive = 3000


class Xiaomai(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The platform the cabinets are reached through; without a url there are none."""

    url: str = ""
    app_id: str = ""
    key_id: str = ""
    secret: str = ""
    """Signs what we ask."""
    callback_secret: str = ""
    """Signs what comes to /cb/xiaomai/{endpoint_id}/events."""
    callback_secret_old: str = ""
    """Still believed while the platform changes to a new one."""
    endpoint_id: str = ""
    """Random, and told to nobody but the platform."""


class Erp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Goods come from there and sales go there; without a url neither does."""

    url: str = ""
    token: str = ""


class Cabinet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    review_limit_fen: Positive = 20_000
    """An order above this waits for a person, unless its store says otherwise."""
    heartbeat_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    """How often a cabinet is heard of; what it is judged by is a multiple of this."""
    settling_pause_min: Annotated[int, Meta(ge=0, le=1440)] = 10
    """So long a purchase that is not settled keeps its person from the next one."""
    auto_unlock: bool = False
    """Whether a cabinet that was away sells again by itself after five quiet minutes."""
    complaints_dir: str = "var/complaints"
    """Pictures of complaints: for those who may see the complaint, so not in the media."""


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    idle_s: Positive = 3600
    max_s: Positive = 43200
    sweep_s: Positive = 600


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    session_per_s: Positive = 50
    session_burst: Positive = 200
    address_per_s: Positive = 300
    address_burst: Positive = 1500
    sign_in_per_min: Positive = 10
    wrong_numbers_per_min: Positive = 10
    sign_up_per_hour: Positive = 5
    openings_per_min: Positive = 10


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything an operator can set."""

    server: Server = Server()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    wechat: WeChat = WeChat()
    wechatpay: WeChatPay = WeChatPay()
    payments: Payments = Payments()
    queue: Queue = Queue()
    xiaomai: Xiaomai = Xiaomai()
    erp: Erp = Erp()
    cabinet: Cabinet = Cabinet()
    session: Session = Session()
    limits: Limits = Limits()

    @property
    def sticker_prefix(self) -> str:
        """What stands before the code on a cabinet: the page that an ordinary scanner opens."""
        return f"{self.base_url}/h5/cabinet/?c="

    @property
    def base_url(self) -> str:
        """As clients reach us, without a slash at the end."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        given = self.server.base_url or f"http://{host}:{self.server.port}"
        return given.rstrip("/")

    @property
    def notify_base(self) -> str:
        """Where WeChat Pay reaches us, without a slash at the end."""
        return self.wechatpay.notify_base.rstrip("/") or self.base_url

    @property
    def admins(self) -> frozenset[str]:
        return frozenset(_words(self.queue.admin_openids))

    @property
    def trusted_proxies(self) -> list[str]:
        return _words(self.server.trusted_proxies)

    @property
    def allowed_origins(self) -> list[str]:
        return _words(self.server.allowed_origins)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may work on the same database."""
        return not self.database.url.startswith("sqlite:")

    @property
    def call_fields(self) -> dict[str, str]:
        return dict(_pair(word) for word in _words(self.wechat.call_fields))


# What a reminder may say.
CALL_SOURCES = frozenset({"stall", "number", "note", "called_at", "hint"})

# Printed as ****.
SECRETS = frozenset(
    {
        *("secret", "diner_secret", "seller_secret", "api_v2_key", "api_v3_key", "url"),
        *("callback_secret", "callback_secret_old", "endpoint_id", "token"),
    }
)


def load(
    file: str | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read the configuration; the file is config.toml, `file` or CALLME_CONFIG.

    overrides: what the command line says, by section and key. Raises ConfigError.
    """
    given = os.environ if environment is None else environment
    path = file or given.get("CALLME_CONFIG")
    tree = _read_file(Path(path or "config.toml"), must_exist=path is not None)
    _merge(tree, _from_environment(given))
    _merge(tree, overrides or {})
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error)) from None
    return check(config)


def check(config: Config) -> Config:
    """Refuse what can be read but cannot work. Raises ConfigError."""
    secret = config.server.secret.encode()
    if len(secret) < SECRET_MIN_BYTES:
        raise ConfigError(
            f"server.secret must have at least {SECRET_MIN_BYTES} bytes "
            f"(CALLME_SERVER__SECRET; for example: {secrets.token_hex(24)})"
        )
    if len(set(secret)) < 8:
        raise ConfigError("server.secret is too simple to sign anything with")
    if not config.database.url.startswith(("sqlite:///", "mysql://", "mariadb://")):
        raise ConfigError("database.url must begin with sqlite:/// or mysql://")
    if config.redis.url and not config.redis.url.startswith(("redis://", "rediss://", "unix://")):
        raise ConfigError("redis.url must begin with redis://, rediss:// or unix://")
    if config.redis.url and not config.is_shared:
        raise ConfigError("redis.url is set, but a SQLite database belongs to one process alone")
    for name in ("api_url",):
        _check_url(f"wechat.{name}", getattr(config.wechat, name))
    _check_url("server.base_url", config.base_url)
    _check_wechatpay(config)
    _check_cabinets(config)
    for proxy in config.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError as error:
            raise ConfigError(f"server.trusted_proxies: {error}") from None
    try:
        unknown = set(config.call_fields.values()) - CALL_SOURCES
    except ValueError:
        raise ConfigError("wechat.call_fields must be like thing2=stall,thing3=note") from None
    if unknown:
        raise ConfigError(f"wechat.call_fields: nothing is called {', '.join(sorted(unknown))}")
    if config.session.max_s < config.session.idle_s:
        raise ConfigError("session.max_s is shorter than session.idle_s")
    return config


def _check_wechatpay(config: Config) -> None:
    pay = config.wechatpay
    _check_url("wechatpay.url", pay.url)
    _check_url("wechatpay.notify_base", config.notify_base)
    if "?" in config.notify_base or "#" in config.notify_base:
        raise ConfigError("wechatpay.notify_base must be an address without a query")
    for name in ("api_v2_key", "api_v3_key"):
        key = getattr(pay, name)
        if key and len(key.encode()) != WECHATPAY_KEY_BYTES:
            raise ConfigError(f"wechatpay.{name} must have exactly {WECHATPAY_KEY_BYTES} bytes")
    if bool(pay.merchant_key_file) != bool(pay.merchant_cert_file):
        raise ConfigError(
            "wechatpay.merchant_key_file and merchant_cert_file belong together: set both"
        )
    for name in ("merchant_key_file", "merchant_cert_file", "platform_keys_dir"):
        path = getattr(pay, name)
        if path and not Path(path).exists():
            raise ConfigError(f"wechatpay.{name}: there is no {path}")
    if pay.mch_id and not pay.allow_simulator and _is_local(pay.url):
        raise ConfigError(
            "wechatpay.url is this machine: set wechatpay.allow_simulator to pay nobody"
        )


def _check_cabinets(config: Config) -> None:
    too_long = len(config.sticker_prefix) - PREFIX_MAX
    if too_long > 0:
        raise ConfigError(
            f"server.base_url has {too_long} characters too many for the codes on cabinets: "
            f"at most {len(config.base_url) - too_long}"
        )
    xiaomai = config.xiaomai
    if xiaomai.url:
        _check_url("xiaomai.url", xiaomai.url)
        for name in ("app_id", "key_id", "secret", "callback_secret", "endpoint_id"):
            if not getattr(xiaomai, name):
                raise ConfigError(f"xiaomai.url is set, and xiaomai.{name} is not")
    if config.erp.url:
        _check_url("erp.url", config.erp.url)
        if not config.erp.token:
            raise ConfigError("erp.url is set, and erp.token is not")


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}


def masked(config: Config) -> dict[str, Any]:
    """The configuration with secrets masked, for printing."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for section in tree.values():
        for key, value in section.items():
            if key in SECRETS and value:
                section[key] = _mask(str(value)) if key == "url" else "****"
    return tree


def what_is_off(config: Config) -> list[str]:
    """What does not work because it is not set, in words."""
    off = []
    if not (config.wechat.diner_appid and config.wechat.diner_secret):
        off.append("wechat.diner_appid/diner_secret: diners cannot sign in, no messages are sent")
    if not (config.wechat.seller_appid and config.wechat.seller_secret):
        off.append("wechat.seller_appid/seller_secret: sellers cannot sign in")
    pay = config.wechatpay
    if not (pay.mch_id and pay.api_v2_key):
        off.append("wechatpay.mch_id/api_v2_key: nothing can be paid; numbers work all the same")
    else:
        if not pay.api_v3_key:
            off.append("wechatpay.api_v3_key: no Payscore")
        if not pay.merchant_cert_file:
            off.append("wechatpay.merchant_cert_file: no refunds")
    if not config.xiaomai.url:
        off.append("xiaomai.url: no cabinet is reached")
    if not config.erp.url:
        off.append("erp.url: no goods come from an ERP, and no sales go there")
    if not config.admins:
        off.append("queue.admin_openids: nobody is an administrator")
    if config.is_shared and not config.redis.url:
        off.append("redis.url: several processes hear of each other's calls once a second only")
    return off


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"there is no file {path}") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    tree: dict[str, dict[str, Any]] = {}
    for name, value in environment.items():
        if not name.startswith("CALLME_") or name == "CALLME_CONFIG":
            continue
        section, separator, key = name.removeprefix("CALLME_").partition("__")
        if not separator:
            raise ConfigError(f"{name}: settings are named CALLME_<SECTION>__<KEY>")
        tree.setdefault(section.lower(), {})[key.lower()] = value
    return tree


def _merge(tree: dict[str, Any], more: Mapping[str, Mapping[str, Any]]) -> None:
    for section, values in more.items():
        target = tree.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{section} must be a section")
        target.update({key: value for key, value in values.items() if value is not None})


def _explain(error: msgspec.ValidationError) -> str:
    text, _, path = str(error).partition(" - at `$.")
    return f"{path.rstrip('`')}: {text}" if path else text


def _check_url(name: str, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{name} must begin with http:// or https://")


def _mask(url: str) -> str:
    """A url without the password in it."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{colon}{'****' if colon else ''}@{place}"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _pair(word: str) -> tuple[str, str]:
    field, separator, source = word.partition("=")
    if not separator:
        raise ValueError(word)
    return field.strip(), source.strip()
