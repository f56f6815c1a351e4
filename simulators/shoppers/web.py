"""Asking over HTTP, as a phone does: a clear answer, a clear no, or none at all."""

from typing import Any

import httpx

from simulators.rush.desk import problem_code
from simulators.rush.links import LinkLostError, RefusedError


async def ask(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """The JSON of a good answer. Raises LinkLostError, RefusedError."""
    try:
        answer = await http.request(method, url, json=body, headers=headers)
    except httpx.HTTPError as error:
        raise LinkLostError(f"{url}: {error!r}") from error
    if answer.status_code >= 500:
        raise LinkLostError(f"{url}: {answer.status_code}")
    if answer.is_error:
        raise RefusedError(problem_code(answer), answer.text[:200])
    return answer.json()
