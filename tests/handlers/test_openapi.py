"""The document: valid, whole, the same every time, and true."""

import json
from typing import Any, cast

import jsonschema_rs
import msgspec
import pytest

from handlers import openapi
from handlers.routing import Route
from tests.handlers.toys import Toys, routes, serving

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi.document(routes(Toys()))


def test_the_same_routes_give_the_same_document(document: dict[str, Any]) -> None:
    again = openapi.document(routes(Toys()))

    assert json.dumps(again) == json.dumps(document)


def test_every_schema_is_a_valid_one(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert {"Toy", "ToyOut", "ProblemBody", "FieldError"} <= set(schemas)
    for schema in schemas.values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return (
            [ref for value in node for ref in references(value)] if isinstance(node, list) else []
        )

    for reference in references(document):
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
        assert node


def test_a_third_party_can_load_it(document: dict[str, Any]) -> None:
    import schemathesis
    from schemathesis.core.result import Ok

    schema = schemathesis.openapi.from_dict(msgspec.json.decode(msgspec.json.encode(document)))
    schema.validate()

    operations = [cast("Ok[Any]", each).ok().label for each in schema.get_all_operations()]
    assert "POST /api/v1/toys" in operations
    assert len(operations) == len([route for route in routes(Toys()) if route.in_document])


def test_an_operation_says_what_it_takes_and_refuses(document: dict[str, Any]) -> None:
    make = document["paths"]["/api/v1/toys"]["post"]
    show = document["paths"]["/api/v1/toys/{toy_id}"]["get"]
    listing = document["paths"]["/api/v1/toys"]["get"]
    named = document["paths"]["/api/v1/names/{name}"]["post"]

    assert make["security"] == [{"bearer": []}]
    assert make["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Toy")
    assert "`toy.broken`" in make["description"]
    assert {"201", "400", "401", "403", "413", "415", "429", "503"} <= set(make["responses"])
    assert [each["name"] for each in make["parameters"]] == ["Idempotency-Key"]
    assert [each["name"] for each in show["parameters"]] == ["toy_id", "If-None-Match"]
    assert {"200", "304", "404"} <= set(show["responses"])
    assert show["security"] == []
    by_name = {each["name"]: each for each in listing["parameters"]}
    assert by_name["page"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100_000,
                                         "default": 1}  # fmt: skip
    assert by_name["from"]["description"] == "The cheapest, in fen."
    assert named["parameters"][0]["schema"]["type"] == "string"


def test_no_two_operations_have_one_name(document: dict[str, Any]) -> None:
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [operation["operationId"] for operation in operations]

    assert len(names) == len(set(names))
    assert "post_toys" in names


def test_a_route_without_any_words_is_described_too() -> None:
    document = openapi.document([Route("GET", "/", Toys().drop, media_type="image/png")])

    operation = document["paths"]["/"]["get"]
    assert operation["operationId"] == "get"
    assert operation["responses"]["200"]["content"] == {"image/png": {}}


async def test_it_is_served_and_not_sent_twice() -> None:
    async with serving() as server:
        first = await server.ask("GET", "/api/v1/openapi.json")
        seen = {"If-None-Match": first.headers["ETag"]}
        second = await server.ask("GET", "/api/v1/openapi.json", headers=seen)

    assert first.json["openapi"] == "3.1.0"
    assert first.headers["Content-Type"] == "application/json"
    assert second.status == 304
