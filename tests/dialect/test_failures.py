"""What an old client is told when the fault is ours: a database that is away, a mistake."""

from collections.abc import AsyncIterator, Callable

import pytest

from queueing.model import Stall
from tests.dialect.canteen import Canteen
from tests.dialect.phones import Frames, Posts
from tests.servers import MariaDB


@pytest.fixture
def database_url(own_mariadb: MariaDB) -> str:
    return own_mariadb.fresh_database()


@pytest.fixture
async def socket(canteen: Canteen) -> AsyncIterator[Frames]:
    """The seller's, signed in."""
    await canteen.sign_in("chen")
    client = await Frames.connect(canteen.app.port)
    await client.exchange({"query": "login", "sessionKey": canteen.keys["chen"]})
    yield client
    await client.close()


async def status_and_body(canteen: Canteen, query: str) -> tuple[int, str]:
    phone = await canteen.posts()
    assert isinstance(phone, Posts)
    response = await phone.post({"query": query, "sessionKey": canteen.keys["chen"]})
    return response.status_code, response.text


@pytest.mark.mariadb
async def test_a_database_that_is_away_is_told_and_its_return_is_enough(
    canteen: Canteen, socket: Frames, own_mariadb: MariaDB, expect_log: Callable[[str], None]
) -> None:
    await canteen.hold_the_jobs()
    own_mariadb.kill()

    posted = await status_and_body(canteen, "seller_list")
    framed = await socket.exchange({"query": "fetch"})
    own_mariadb.start()

    assert posted == (503, '{"queryErr":"Server Busy"}')
    assert framed == {"push": "error", "msg": "server busy", "queryErr": "Server Busy"}
    assert (await socket.exchange({"query": "fetch"}))["marchSn"] == 1
    assert await status_and_body(canteen, "clear") == (200, '{"clearSuccess":"success"}')


@pytest.mark.mariadb
async def test_our_own_mistake_is_logged_and_ends_no_connection(
    canteen: Canteen,
    socket: Frames,
    monkeypatch: pytest.MonkeyPatch,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("request failed")
    expect_log("frame failed")

    async def mistaken() -> list[Stall]:
        raise ZeroDivisionError

    monkeypatch.setattr(canteen.app.stalls, "open_stalls", mistaken)
    posted = await status_and_body(canteen, "seller_list")
    framed = await socket.exchange({"query": "seller_list"})

    assert posted == (500, '{"queryErr":"Server Error"}')
    assert framed == {"push": "error", "msg": "server error", "queryErr": "Server Error"}
    assert await socket.exchange({"query": "hello"}) == {"push": "hi"}
