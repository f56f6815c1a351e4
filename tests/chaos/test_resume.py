"""A board or a phone comes back: with what it missed, or with a picture of now."""

import asyncio
from pathlib import Path

import pytest

from simulators.wechat import CALLED_TEMPLATE_ID
from tests.chaos.cluster import Cluster, Node, run_py, until
from tests.chaos.database import Books
from tests.chaos.people import Person, Refused, Socket, open_stall

MISSED = 50


async def board(
    cluster: Cluster, node: Node, stall_id: int, since: dict[str, object] | None = None
) -> tuple[Socket, dict[str, object]]:
    socket = await Socket.connect(cluster, node)
    await socket.ask("auth", board=True)
    more = {"since": since} if since else {}
    return socket, await socket.ask("subscribe", topic=f"stall:{stall_id}", **more)


async def calls(cluster: Cluster, node: Node, seller: Person, stall_id: int, count: int) -> None:
    """So many events: one number, called again and again."""
    socket = await seller.socket(node)
    ticket = await socket.ask("ticket.issue", stall_id=stall_id)
    await socket.ask("ticket.call", ticket_id=ticket["id"])
    for _ in range(count - 2):
        await socket.ask("ticket.recall", ticket_id=ticket["id"])
    await socket.close()


async def test_a_board_cut_off_gets_exactly_what_it_missed_also_after_a_restart(
    cluster: Cluster,
) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node, double_tap_s=0)
    first, picture = await board(cluster, node, stall_id)
    await calls(cluster, node, seller, stall_id, 3)
    await first.hear(3)
    seen = {"epoch": first.events[-1]["epoch"], "seq": first.events[-1]["seq"]}
    first.wire.vanish()

    await calls(cluster, node, seller, stall_id, MISSED)
    second, live = await board(cluster, node, stall_id, seen)
    await node.stop()
    await node.start()
    third, restarted = await board(cluster, node, stall_id, seen)

    for answer in (live, restarted):
        assert answer["recovered"] is True
        assert answer["epoch"] == picture["epoch"] == seen["epoch"]
        assert "snapshot" not in answer
        assert [event["seq"] for event in answer["events"]] == [  # type: ignore[attr-defined]
            first.events[-1]["seq"] + step for step in range(1, MISSED + 1)
        ]
    assert live["events"] == restarted["events"]
    assert second.events == third.events == []
    # And what comes next comes once, behind them.
    await calls(cluster, node, seller, stall_id, 2)
    assert (await third.hear(2))[0]["seq"] == int(str(restarted["seq"])) + 1


async def test_who_knows_another_history_is_told_and_shown_the_present(cluster: Cluster) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node)
    await calls(cluster, node, seller, stall_id, 4)
    _, now = await board(cluster, node, stall_id)

    _, foreign = await board(cluster, node, stall_id, {"epoch": "another", "seq": 2})
    _, ahead = await board(
        cluster, node, stall_id, {"epoch": now["epoch"], "seq": int(str(now["seq"])) + 10}
    )

    for answer in (foreign, ahead):
        assert answer["recovered"] is False
        assert answer["snapshot"] == now["snapshot"]
        assert (answer["epoch"], answer["seq"]) == (now["epoch"], now["seq"])


async def command(cluster: Cluster, *arguments: str) -> None:
    process = run_py(*arguments, environment=cluster.given, folder=cluster.folder)
    output, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, output + errors


async def test_a_restore_begins_a_new_history_and_uses_no_ticket_id_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node, double_tap_s=0)
    await calls(cluster, node, seller, stall_id, 4)
    await command(cluster, "backup", str(tmp_path / "saved.db"))
    lost = await seller.socket(node)
    ids = {(await lost.ask("ticket.issue", stall_id=stall_id))["id"] for _ in range(20)}
    watcher, before = await board(cluster, node, stall_id)
    await node.stop()
    with Books.open(cluster.database_url) as books:
        ids |= {row[0] for row in books.rows("SELECT id FROM tickets")}

    await command(cluster, "restore", str(tmp_path / "saved.db"))
    await node.start()
    _, after = await board(
        cluster, node, stall_id, {"epoch": before["epoch"], "seq": before["seq"]}
    )
    with Books.open(cluster.database_url) as books:
        kept = {row[0] for row in books.rows("SELECT id FROM tickets")}
    socket = await seller.socket(node)
    new = {(await socket.ask("ticket.issue", stall_id=stall_id))["id"] for _ in range(20)}

    assert watcher.close_code == 1012
    assert after["recovered"] is False
    assert after["epoch"] != before["epoch"]
    assert kept <= ids
    assert len(new) == 20
    assert not new & ids


async def diner_with_number(
    cluster: Cluster, node: Node, stall_id: int, seller: Person, *, grant: str = ""
) -> tuple[Person, int]:
    """A diner who has bound a new number; the ticket's id."""
    socket = await seller.socket(node)
    ticket = await socket.ask("ticket.issue", stall_id=stall_id)
    diner = await Person(cluster, "openid-of-the-diner-0001", "diner").sign_in(node)
    await bind(node, diner, stall_id, ticket["number"], grant=grant)
    return diner, ticket["id"]


async def bind(node: Node, diner: Person, stall_id: int, number: int, *, grant: str) -> None:
    body = {"number": number, "note": "牛肉面", "grant": grant}
    await diner.rest(node, "POST", f"/api/v1/stalls/{stall_id}/follow", body)


async def test_that_the_call_was_shown_is_shown_to_the_seller(cluster: Cluster) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node)
    diner, ticket_id = await diner_with_number(cluster, node, stall_id, seller)
    phone, tablet = await diner.socket(node), await seller.socket(node)
    await phone.ask("subscribe", topic=f"ticket:{ticket_id}")
    await tablet.ask("subscribe", topic=f"stall:{stall_id}:staff")

    await tablet.ask("ticket.call", ticket_id=ticket_id)
    called = await phone.hear_named("ticket.called")
    phone.send(type="ack", topic=f"ticket:{ticket_id}", seq=called["seq"])
    reached = await tablet.hear_named("ticket.reached")

    assert reached["data"]["ticket_id"] == ticket_id
    assert reached["data"]["reached"] is True
    assert [event["name"] for event in tablet.events] == ["ticket.called", "ticket.reached"]


async def test_who_is_not_reached_gets_one_message_a_grant(cluster: Cluster) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node, remind_after_s=1)
    openid = "openid-of-the-diner-0001"
    grants = cluster.wechat.messages.grants
    cluster.wechat.messages.grant(openid, CALLED_TEMPLATE_ID)
    diner, ticket_id = await diner_with_number(
        cluster, node, stall_id, seller, grant=CALLED_TEMPLATE_ID
    )
    tablet = await seller.socket(node)
    await tablet.ask("subscribe", topic=f"stall:{stall_id}:staff")

    async def messages(count: int) -> bool:
        return len(cluster.wechat.messages.inbox) >= count

    # The first call, which the phone does not show.
    await tablet.ask("ticket.call", ticket_id=ticket_id)
    await tablet.hear_named("ticket.unreached")
    await until(lambda: messages(1))
    (first,) = cluster.wechat.messages.inbox
    assert (first.openid, first.data["thing3"]) == (openid, "牛肉面")
    assert str(ticket_id) in first.page
    assert grants[openid, CALLED_TEMPLATE_ID] == 0

    # A second one without a new grant: it is marked, and nothing is sent.
    await tablet.ask("ticket.recall", ticket_id=ticket_id)
    await tablet.hear(4)
    assert [event["name"] for event in tablet.events] == [
        *("ticket.called", "ticket.unreached", "ticket.recalled", "ticket.unreached")
    ]
    with Books.open(cluster.database_url) as books:
        assert books.rows("SELECT state, attempts FROM outbox") == [("done", 1)]

    # With a new grant the third is sent.
    cluster.wechat.messages.grant(openid, CALLED_TEMPLATE_ID)
    number = int(first.data["character_string1"])
    await bind(node, diner, stall_id, number, grant=CALLED_TEMPLATE_ID)
    await tablet.ask("ticket.recall", ticket_id=ticket_id)
    await until(lambda: messages(2))
    assert grants[openid, CALLED_TEMPLATE_ID] == 0
    assert len(cluster.wechat.messages.inbox) == 2


async def test_another_diner_hears_and_acknowledges_nothing(cluster: Cluster) -> None:
    (node,) = await cluster.serve()
    stall_id, seller = await open_stall(cluster, node)
    _, ticket_id = await diner_with_number(cluster, node, stall_id, seller)
    stranger = await Person(cluster, "openid-of-a-stranger-001", "diner").sign_in(node)
    phone = await stranger.socket(node)

    for frame in ("subscribe", "ack"):
        with pytest.raises(Refused, match=r"topic\.not_found"):
            await phone.ask(frame, topic=f"ticket:{ticket_id}", seq=1)
