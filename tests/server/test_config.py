"""Settings: defaults, file, environment, command line; and what is refused."""

from pathlib import Path

import pytest

from server.config import Config, ConfigError, load, masked, what_is_off

SECRET = "a secret of the tests, long enough to sign with"
GIVEN = {"CALLME_SERVER__SECRET": SECRET}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config.toml of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def file(tmp_path: Path, text: str, name: str = "config.toml") -> str:
    (tmp_path / name).write_text(text, "utf-8")
    return str(tmp_path / name)


def with_secret(**settings: str) -> Config:
    return load(
        environment={**GIVEN, **{f"CALLME_{key}": value for key, value in settings.items()}}
    )


def test_the_documented_defaults_hold() -> None:
    config = load(environment=GIVEN)

    assert (config.server.host, config.server.port) == ("127.0.0.1", 8000)
    assert config.base_url == "http://127.0.0.1:8000"
    assert config.database.url == "sqlite:///var/callme.db"
    assert config.redis.url == ""
    assert config.wechat.api_url == "https://api.weixin.qq.com"
    queue = config.queue
    assert (queue.pick, queue.rest_s, queue.double_tap_s) == ("cyclic", 300, 1.5)
    assert (queue.remind_after_s, queue.release_after_min) == (20, 120)
    assert queue.month_price_fen == 3000
    session = config.session
    assert (session.idle_s, session.max_s, session.sweep_s) == (3600, 43200, 600)
    assert config.limits.enabled
    assert not config.is_shared


def test_the_file_wins_over_defaults_the_environment_over_it_and_the_command_line_over_all(
    tmp_path: Path,
) -> None:
    file(tmp_path, f"[server]\nport = 1\nhost = 'file'\nsecret = '{SECRET}'\nlog_level = 'error'\n")
    environment = {"CALLME_SERVER__PORT": "2", "CALLME_SERVER__HOST": "environment"}

    config = load(environment=environment, overrides={"server": {"port": 3, "host": None}})

    assert config.server.port == 3
    assert config.server.host == "environment"
    assert config.server.log_level == "error"
    assert config.queue.rest_s == 300


def test_the_file_may_be_named_by_the_environment_or_the_command_line(tmp_path: Path) -> None:
    one = file(tmp_path, "[queue]\nrest_s = 1\n", "one.toml")
    two = file(tmp_path, "[queue]\nrest_s = 2\n", "two.toml")

    by_environment = load(environment={**GIVEN, "CALLME_CONFIG": one})
    by_argument = load(two, environment={**GIVEN, "CALLME_CONFIG": one})

    assert by_environment.queue.rest_s == 1
    assert by_argument.queue.rest_s == 2


def test_without_other_word_the_environment_of_the_process_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CALLME_SERVER__SECRET", SECRET)
    monkeypatch.setenv("CALLME_QUEUE__REST_S", "7")

    assert load().queue.rest_s == 7


@pytest.mark.parametrize("on", ["true", "1", "True"])
def test_the_environment_says_yes_and_no_in_words(on: str) -> None:
    assert with_secret(LIMITS__ENABLED=on).limits.enabled
    assert not with_secret(LIMITS__ENABLED="false").limits.enabled


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[server]\nprot = 1\n", "prot"),
        ("[sever]\nport = 1\n", "sever"),
        ("[server\n", "config.toml"),
        ("server = 1\n", "server must be a section"),
        ("[server]\nport = 'x'\n", "server.port"),
        ("[server]\nport = 65536\n", "server.port"),
        ("[queue]\npick = 'random'\n", "queue.pick"),
        ("[queue]\nrest_s = 3601\n", "queue.rest_s"),
    ],
)
def test_a_file_with_a_slip_of_the_pen_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file(tmp_path, text)

    with pytest.raises(ConfigError, match=complaint):
        load(environment={**GIVEN, "CALLME_SERVER__HOST": "here"})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"config\.toml"):
        load(environment=GIVEN)


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"no file missing\.toml"):
        load("missing.toml", environment=GIVEN)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"SERVER__SECRET": ""}, r"server\.secret must have"),
        ({"SERVER__SECRET": "x" * 31}, r"server\.secret must have"),
        ({"SERVER__SECRET": "ab" * 20}, r"server\.secret is too simple"),
        ({"DATABASE__URL": "postgres://db"}, r"database\.url"),
        ({"DATABASE__URL": "sqlite://relative"}, r"database\.url"),
        ({"DATABASE__URL": "mysql://db/x", "REDIS__URL": "http://r"}, r"redis\.url"),
        ({"REDIS__URL": "redis://r"}, r"redis\.url is set, but a SQLite"),
        ({"WECHAT__API_URL": "api.weixin.qq.com"}, r"wechat\.api_url"),
        ({"SERVER__BASE_URL": "callme.example"}, r"server\.base_url"),
        (
            {"SERVER__BASE_URL": "https://" + "x" * 100},
            r"server\.base_url has 1 characters too many .* at most 107",
        ),
        ({"SERVER__TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, r"server\.trusted_proxies"),
        ({"WECHAT__CALL_FIELDS": "thing2"}, r"wechat\.call_fields must"),
        ({"WECHAT__CALL_FIELDS": "thing2=stal"}, r"wechat\.call_fields: nothing is called stal"),
        ({"SESSION__MAX_S": "3599"}, r"session\.max_s"),
        ({"SERVER__LOG_LEVEL": "loud"}, r"server\.log_level"),
        ({"SERVER": "x"}, r"CALLME_SERVER: settings are named"),
        ({"SERVER__PORT": "-1"}, r"server\.port"),
        ({"SESSION__IDLE_S": "0"}, r"session\.idle_s"),
        ({"QUEUE__DOUBLE_TAP_S": "nan"}, r"queue\.double_tap_s"),
    ],
)
def test_what_cannot_work_is_refused_by_name(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        with_secret(**settings)


def test_lists_are_read_with_commas() -> None:
    config = with_secret(
        QUEUE__ADMIN_OPENIDS="one, two,,",
        SERVER__TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8",
        SERVER__ALLOWED_ORIGINS="https://h5.example",
        WECHAT__CALL_FIELDS=" number1 = number , thing2=note",
    )

    assert config.admins == {"one", "two"}
    assert config.trusted_proxies == ["127.0.0.1", "10.0.0.0/8"]
    assert config.allowed_origins == ["https://h5.example"]
    assert config.call_fields == {"number1": "number", "thing2": "note"}


@pytest.mark.parametrize("url", ["mysql://u:p@db:3306/callme", "mariadb://db/callme"])
def test_a_server_database_is_shared(url: str) -> None:
    config = with_secret(DATABASE__URL=url, REDIS__URL="redis://r")

    assert config.is_shared
    assert with_secret(SERVER__BASE_URL="https://callme.example/").base_url == (
        "https://callme.example"
    )


def test_an_address_of_six_is_put_in_brackets() -> None:
    assert with_secret(SERVER__HOST="::1").base_url == "http://[::1]:8000"


def test_nothing_secret_is_printed() -> None:
    config = with_secret(
        DATABASE__URL="mysql://callme:hidden@db:3306/callme",
        REDIS__URL="redis://:hidden@r:6379/0",
        WECHAT__DINER_SECRET="hidden",
        WECHAT__SELLER_SECRET="hidden",
        WECHAT__DINER_APPID="wx-diner",
    )

    tree = masked(config)

    assert "hidden" not in str(tree)
    assert SECRET not in str(tree)
    assert tree["server"]["secret"] == "****"
    assert tree["database"]["url"] == "mysql://callme:****@db:3306/callme"
    assert tree["redis"]["url"] == "redis://:****@r:6379/0"
    assert tree["wechat"]["diner_appid"] == "wx-diner"


def test_what_holds_no_secret_is_printed_as_it_is() -> None:
    tree = masked(with_secret(DATABASE__URL="mysql://root@db/callme"))

    assert tree["database"]["url"] == "mysql://root@db/callme"
    assert tree["redis"]["url"] == ""
    assert tree["wechat"]["diner_secret"] == ""


def test_what_is_off_is_said_in_words() -> None:
    bare = what_is_off(with_secret(DATABASE__URL="mysql://db/callme"))
    full = what_is_off(
        with_secret(
            DATABASE__URL="mysql://db/callme",
            REDIS__URL="redis://r",
            QUEUE__ADMIN_OPENIDS="one",
            WECHAT__DINER_APPID="a",
            WECHAT__DINER_SECRET="b",
            WECHAT__SELLER_APPID="c",
            WECHAT__SELLER_SECRET="d",
        )
    )

    missing = {
        "wechat.diner_appid/diner_secret",
        "wechat.seller_appid/seller_secret",
        "queue.admin_openids",
        "redis.url",
    }
    assert missing <= {text.partition(":")[0] for text in bare}
    assert not missing & {text.partition(":")[0] for text in full}


# ---------------------------------------------------------------- WeChat Pay


KEY = "0123456789abcdef0123456789abcdef"


def paying(**settings: str) -> Config:
    given = {f"CALLME_WECHATPAY__{name.upper()}": value for name, value in settings.items()}
    return load(environment={"CALLME_SERVER__SECRET": SECRET, **given})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"api_v2_key": KEY[1:]}, "api_v2_key"),
        ({"api_v3_key": KEY + "0"}, "api_v3_key"),
        ({"merchant_key_file": __file__}, "merchant_cert_file"),
        ({"platform_keys_dir": "/nowhere"}, "platform_keys_dir"),
        ({"notify_base": "https://a.example/?x=1"}, "notify_base"),
        ({"notify_base": "a.example"}, "notify_base"),
        ({"url": "api.mch.weixin.qq.com"}, "url"),
        ({"mch_id": "1900000001", "url": "http://127.0.0.1:9101"}, "allow_simulator"),
    ],
)
def test_payments_that_cannot_work_are_refused(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        paying(**settings)


def test_a_simulator_is_paid_only_when_told_so() -> None:
    url = "http://127.0.0.1:9101"

    config = paying(mch_id="1900000001", url=url, allow_simulator="true", api_v2_key=KEY)

    assert config.wechatpay.url == url
    assert config.notify_base == config.base_url


def test_what_payments_lack_is_said() -> None:
    nothing, some = paying(), paying(mch_id="1900000001", api_v2_key=KEY)

    assert any("nothing can be paid" in text for text in what_is_off(nothing))
    assert {text.partition(":")[0] for text in what_is_off(some) if "wechatpay" in text} == {
        "wechatpay.api_v3_key",
        "wechatpay.merchant_cert_file",
    }
    assert masked(some)["wechatpay"]["api_v2_key"] == "****"
