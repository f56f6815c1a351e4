"""Which names a module may mention, read from its syntax tree.

Import-linter knows packages; it does not know that the clock belongs to one of them, or that
SQLAlchemy may be used in a file called store.py. This walk does.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

BROAD = {"Exception", "BaseException"}


@dataclass(frozen=True)
class Rule:
    """Names (with all that is below them) that only some places may mention."""

    names: tuple[str, ...]
    places: tuple[str, ...]
    why: str

    def forbids(self, mention: str, path: str) -> bool:
        return any(mention == name or mention.startswith(f"{name}.") for name in self.names) and (
            not any(fnmatch(path, place) for place in self.places)
        )


def breaches(path: str, source: str, rules: Iterable[Rule]) -> list[str]:
    """`path:line: name: why`, for every forbidden mention."""
    found = {
        f"{path}:{line}: {mention}: {rule.why}"
        for mention, line in mentions(ast.parse(source, path))
        for rule in rules
        if rule.forbids(mention, path)
    }
    return sorted(found)


def mentions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported name, and every use of one, in full: `datetime.datetime.now`, and its line."""
    meanings: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
                local = alias.asname or alias.name.partition(".")[0]
                meanings[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full, node.lineno
                meanings[alias.asname or alias.name] = full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (full := in_full(node, meanings)):
            yield full, node.lineno


def in_full(node: ast.AST, meanings: dict[str, str]) -> str:
    """The full name of `a.b.c`, or nothing if `a` was not imported."""
    if isinstance(node, ast.Name):
        return meanings.get(node.id, "")
    if isinstance(node, ast.Attribute) and (owner := in_full(node.value, meanings)):
        return f"{owner}.{node.attr}"
    return ""


def broad_catches(path: str, source: str) -> set[str]:
    """`path: function` for each place that swallows any exception whatever.

    A handler that ends in a bare `raise` only tidies up, and is not counted.
    """
    return {f"{path}: {function}" for function in swallowing(ast.parse(source, path), "<module>")}


def swallowing(node: ast.AST, function: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inside = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = child.name if function == "<module>" else f"{function}.{child.name}"
        if is_broad_handler(child) or is_broad_suppress(child):
            yield inside
        yield from swallowing(child, inside)


def is_broad_handler(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    last = node.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    return node.type is None or names_broad(node.type)


def is_broad_suppress(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "suppress"
        and any(names_broad(argument) for argument in node.args)
    )


def names_broad(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id in BROAD for part in ast.walk(node))
