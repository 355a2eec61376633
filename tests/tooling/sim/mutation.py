"""
Changes of the package's source while it runs: a text in one function, or a module's constant, is another one.

``probed`` tells instead when the package comes to where it would be another one.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, reduce
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Mutant", "NotInSourceError", "probed"]

PACKAGE = "airflow_provider_operations"


class NotInSourceError(LookupError):
    """What a mutant changes isn't in the package's source (any more)."""


@dataclass(frozen=True)
class Mutant:
    """
    A change, and what is wrong with the package then.

    :param name: in words, which promise's means is missing.
    :param place: a function, a method, or a constant of a module: ``triggers._kill:Kill._cancel``.
    :param old: a text that occurs there once, of a constant its value.
    :param new: what stands there instead; a function's further lines keep their indentation.
    """

    name: str
    place: str
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """
        Change the package for a while, wherever it has imported what is changed.

        :raises NotInSourceError: there is no such place, or it has no such text, or several.
        """
        with ExitStack() as stack:
            for place, attribute, changed in _changes(self):
                stack.enter_context(patch.object(place, attribute, changed))
            yield

    def changes(self) -> list[tuple[Any, str, Any]]:
        """Return what is put where: owner, attribute, value; raises as ``applied`` does."""
        owner, name, before = self._found()
        function = _function(before)
        if function is not None:
            changed = _compiled(ast.parse(_around(function, self._replaced)), function, owner)
        else:
            changed = self._changed_constant(owner, name)
        return [(place, attribute, changed) for place, attribute in _users(owner, name, before)]

    def _found(self) -> tuple[Any, str, Any]:
        """Return the owner of what is changed, its name there, and its value; raises as ``applied`` does."""
        module_name, _, path = self.place.partition(":")
        *outer, name = path.split(".")
        try:
            owner = reduce(getattr, outer, importlib.import_module(f"{PACKAGE}.{module_name}"))
            return owner, name, vars(owner)[name]
        except (ImportError, AttributeError, KeyError) as error:
            raise NotInSourceError(f"{self.name!r}: there is no {self.place}") from error

    def _probe(self, function: Any) -> _Probe:
        """Return what tells in a function that it does something else from there on."""
        before = _around(function, lambda source: source)
        line = before[: before.index(textwrap.dedent(self.old.split("\n")[0]))].count("\n") + 1
        was = _statement(ast.parse(before), line)
        now = _statement(ast.parse(_around(function, self._replaced)), line)
        told, part = f"__reach__({self.name!r})", ""
        if isinstance(was, ast.If) and isinstance(now, ast.If) and isinstance(now.test, ast.Constant):
            part = "orelse" if now.test.value else "body"
        elif (pair := _decide(was, now)) is not None:
            one, other = map(ast.unparse, pair)
            told = f"try:\n    ({one}) == ({other}) or {told}\nexcept Exception:\n    pass"
        return _Probe(was.lineno, was.col_offset, part, ast.parse(told).body[0])

    def _changed_constant(self, module: Any, name: str) -> Any:
        line = self._replaced(f"{name} = {self.old}")
        source = inspect.getsource(module).splitlines()
        if f"{name} = {self.old}" not in source:
            raise NotInSourceError(f"{self.name!r}: {self.place} isn't {self.old!r}")
        return eval(line.partition(" = ")[2], vars(module))

    def _replaced(self, source: str) -> str:
        if (count := source.count(self.old)) != 1:
            raise NotInSourceError(f"{self.name!r}: {self.place} has {count} times, not once: {self.old!r}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class _Probe:
    """
    A statement that goes before another one, or to the beginning of a block of it.

    :param line: of that one, as ``column``.
    :param part: ``body`` or ``orelse``: what a constant condition of the mutant doesn't come to.
    """

    line: int
    column: int
    part: str
    statement: ast.stmt


@contextmanager
def probed(mutants: Sequence[Mutant], reach: Callable[[str], None]) -> Iterator[None]:
    """
    Tell for a while, by a mutant's name, when the package comes to where it would do something else with it.

    A mutant of a constant is never told of.

    :raises NotInSourceError: as ``Mutant.applied`` does.
    """
    by_place: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_place.setdefault(mutant.place, []).append(mutant)
    with ExitStack() as stack:
        for here in by_place.values():
            owner, name, before = here[0]._found()
            if (function := _function(before)) is not None:
                changed = _compiled(_with_probes(function, here), function, owner, reach)
                for place, attribute in _users(owner, name, before):
                    stack.enter_context(patch.object(place, attribute, changed))
        yield


def _with_probes(function: Any, mutants: Sequence[Mutant]) -> ast.Module:
    tree = ast.parse(_around(function, lambda source: source))
    blocks = [
        block
        for node in ast.walk(tree)
        for name in ("body", "orelse", "finalbody")
        if isinstance(block := getattr(node, name, None), list)
    ]
    where = {(one.lineno, one.col_offset): (block, one) for block in blocks for one in block}
    for mutant in mutants:
        probe = mutant._probe(function)
        block, statement = where[probe.line, probe.column]
        into = getattr(statement, probe.part) if probe.part else block
        into.insert(0 if probe.part else block.index(statement), probe.statement)
    return ast.fix_missing_locations(tree)


def _decide(was: ast.AST, now: ast.AST) -> tuple[ast.expr, ast.expr] | None:
    """Return the outermost expressions by which two statements differ, for both of which one may ask twice."""
    effects = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)
    pure = not any(isinstance(node, effects) for one in (was, now) for node in ast.walk(one))
    if pure and isinstance(was, ast.expr) and isinstance(now, ast.expr):
        return was, now
    inside = [[*ast.iter_child_nodes(one)] for one in (was, now)]
    if type(was) is not type(now) or len(inside[0]) != len(inside[1]):
        return None
    differ = [(one, other) for one, other in zip(*inside, strict=True) if ast.dump(one) != ast.dump(other)]
    return _decide(*differ[0]) if len(differ) == 1 else None


def _statement(tree: ast.Module, line: int) -> ast.stmt:
    """Return the innermost statement of a line."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return min(around, key=lambda node: ((node.end_lineno or node.lineno) - node.lineno, -node.col_offset))


def _function(value: Any) -> Any:
    """Return the function of what an owner has; ``None`` if it is none."""
    function = inspect.unwrap(getattr(value, "fget", value))
    return function if inspect.isfunction(function) else None


def _users(owner: Any, name: str, before: Any) -> list[tuple[Any, str]]:
    """Return where the package has what is changed: by the same name if it isn't a function."""
    if not inspect.ismodule(owner):
        return [(owner, name)]
    imported = _imported(before) if _function(before) is not None else _imported(before, name)
    return [*dict.fromkeys([(owner, name), *imported])]


def _around(function: Any, change: Callable[[str], str]) -> str:
    """
    Return the changed source of a function that returns the function.

    In another function, so that ``super()`` finds its class; and on the lines where it was, for whoever traces.
    """
    lines, first = inspect.getsourcelines(function)
    source = textwrap.indent(change(textwrap.dedent("".join(lines))), "    ")
    head = "\n" * max(first - 2, 0) + "def around(__class__, __reach__):"
    return f"{head}\n{source}\n    return {function.__name__}\n"


def _compiled(tree: ast.Module, function: Any, owner: Any, reach: Callable[[str], None] | None = None) -> Any:
    file = inspect.getsourcefile(function) or ""
    code = compile(tree, file, "exec", annotations.compiler_flag, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)
    return made["around"](owner, reach)


@cache
def _changes(mutant: Mutant) -> list[tuple[Any, str, Any]]:
    """Return its changes; to read and compile the source takes longer than a schedule."""
    return mutant.changes()


def _imported(value: Any, name: str | None = None) -> list[tuple[Any, str]]:
    """
    Return where modules of the package have imported a value by name.

    :param name: only under this one, as numbers may be equal by chance.
    """
    return [
        (module, attribute)
        for module_name, module in list(sys.modules.items())
        if module_name.startswith(f"{PACKAGE}.")
        for attribute, found in list(vars(module).items())
        if found is value and name in {None, attribute}
    ]
