"""Changes of the package's source while it runs: a text in one function, or a module's constant, is another one."""

from __future__ import annotations

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
    from collections.abc import Iterator

__all__ = ["Mutant", "NotInSourceError"]

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
        module_name, _, path = self.place.partition(":")
        *outer, name = path.split(".")
        try:
            module = importlib.import_module(f"{PACKAGE}.{module_name}")
            owner = reduce(getattr, outer, module)
            before = vars(owner)[name]
        except (ImportError, AttributeError, KeyError) as error:
            raise NotInSourceError(f"{self.name!r}: there is no {self.place}") from error
        function: Any = inspect.unwrap(getattr(before, "fget", before))
        if inspect.isfunction(function):
            changed = self._changed_function(function, owner)
            users = [(owner, name), *_imported(before)] if owner is module else [(owner, name)]
        else:
            changed = self._changed_constant(module, name)
            users = [(module, name), *_imported(before, name)]
        return [(place, attribute, changed) for place, attribute in dict.fromkeys(users)]

    def _changed_function(self, function: Any, owner: Any) -> Any:
        lines, first = inspect.getsourcelines(function)
        source = textwrap.indent(self._replaced(textwrap.dedent("".join(lines))), "    ")
        # In another function, so that ``super()`` finds its class; and on the lines where it was, for whoever traces.
        around = (
            "\n" * max(first - 2, 0) + f"def around(__class__):\n{source}\n    return {function.__name__}\n"
        )
        code = compile(
            around,
            inspect.getsourcefile(function) or "",
            "exec",
            annotations.compiler_flag,
            dont_inherit=True,
        )
        made: dict[str, Any] = {}
        exec(code, function.__globals__, made)
        return made["around"](owner)

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
