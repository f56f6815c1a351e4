"""A server that stops: what a socket has in hand is answered, and nothing else is begun."""

import pytest

from tests.handlers.live import Live, until


@pytest.mark.parametrize("repeats", [1, 3])
async def test_the_command_in_hand_is_answered_before_the_goodbye(live: Live, repeats: int) -> None:
    client = await live.diner()
    for number in range(repeats):
        client.send(id=100 + number, type="echo", text=f"wish {number}", wait=True)
    await until(lambda: live.begun == ["wish 0"])

    live.hub.close()
    client.send(id=200, type="echo", text="too late")
    live.gate.set()
    answer = await client.message()
    code = await client.close_code()

    assert answer["id"] == 100
    assert answer["data"]["text"] == "wish 0"
    assert code == 1012
    assert client.events == []
    assert live.begun == ["wish 0"]
