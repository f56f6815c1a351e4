"""Which route a path means."""

from typing import Any

import pytest

from handlers.calls import Call
from handlers.routing import Route, Table


def nothing(call: Call) -> None: ...


def table(*paths: str) -> Table:
    return Table(Route("GET", path, nothing) for path in paths)


def found(paths: Table, path: str) -> tuple[str, dict[str, Any]] | None:
    match = paths.find(path)
    return (match[0].path, match[1]) if match else None


def test_the_most_definite_route_wins_and_the_others_are_tried() -> None:
    paths = table("/a/me", "/a/{id}", "/a/{name:text}", "/a/me/x", "/a/{name:text}/y", "/")

    assert found(paths, "/a/me") == ("/a/me", {})
    assert found(paths, "/a/7") == ("/a/{id}", {"id": 7})
    assert found(paths, "/a/007") == ("/a/{name:text}", {"name": "007"})
    assert found(paths, "/a/me/y") == ("/a/{name:text}/y", {"name": "me"})
    assert found(paths, "/a/7/y") == ("/a/{name:text}/y", {"name": "7"})
    assert found(paths, "/") == ("/", {})
    assert found(paths, "") == ("/", {})
    assert found(paths, "/a") is None
    assert found(paths, "/a/7/z") is None
    assert found(paths, "*") == ("/", {})


def test_parameters_keep_their_order() -> None:
    paths = table("/{a_id}/x/{b:text}/{c_id}")

    assert found(paths, "/1/x/two.png/3") == (
        "/{a_id}/x/{b:text}/{c_id}", {"a_id": 1, "b": "two.png", "c_id": 3},
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "..", ".hidden", "a b", "a%2fb", "é", "x" * 65, "a\\b"])
def test_a_text_is_one_plain_segment(text: str) -> None:
    assert found(table("/a/{name:text}"), f"/a/{text}") is None


def test_two_routes_for_the_same_thing_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two routes"):
        table("/a/{id}", "/a/{id}")
    with pytest.raises(ValueError, match="the same path"):
        Table([Route("GET", "/a/{id}", nothing), Route("POST", "/a/{other_id}", nothing)])
    with pytest.raises(ValueError, match="neither"):
        table("/a/{id:int}")


def test_a_path_that_only_begins_like_a_route_is_not_found() -> None:
    assert found(table("/a/{id}/b"), "/a/7") is None
