"""
The table of methods that start an operation, made of Google's API documents; read when it is asked, a document at a time.

``methods.zip`` has a member for each document, ``defaults.txt`` the version that is meant where none is said. Both are
made by ``python -m tests.tooling.google_apis.generate``.

Source: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Document", "Method", "Parameter", "default_version", "document", "documents"]

_ROOM = Path(__file__).parent

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
"""The scope that is asked for where nothing else is said."""


@dataclass(frozen=True)
class Parameter:
    """
    A parameter of a method, in its path or its query.

    :param type: ``string``, ``boolean`` or ``integer``.
    :param format: e.g. ``google-fieldmask``.
    :param pattern: regular expression of the whole value.
    :param values: all that are allowed; empty: any.
    """

    name: str
    in_path: bool
    type: str
    format: str | None = None
    pattern: str | None = None
    values: tuple[str, ...] = ()
    repeated: bool = False
    deprecated: bool = False

    @classmethod
    def of(cls, name: str, kind: dict[str, Any], *, in_path: bool) -> Parameter:
        """Read what the table says of it."""
        return cls(
            name,
            in_path,
            kind["type"],
            kind.get("format"),
            kind.get("pattern"),
            tuple(kind.get("enum", ())),
            kind.get("repeated", False),
            kind.get("deprecated", False),
        )


@dataclass(frozen=True)
class Method:
    """
    A method that starts an operation.

    :param short_id: without the API: ``projects.locations.instances.create``.
    :param path: URI template below the host: ``v1/{+parent}/instances``.
    :param parameters: by name; those of the path come first.
    :param takes_body: whether it is called with a JSON body.
    :param scopes: OAuth scopes of which one is enough; none are known of a few.
    :param request_id_in: ``query`` or ``body``: where it takes a ``requestId`` by which the service recognises a
        repetition; ``None``: nowhere.
    :param validates_in: ``query`` or ``body``: where ``validateOnly`` makes it start nothing.
    """

    document: Document
    short_id: str
    verb: str
    path: str
    parameters: dict[str, Parameter]
    takes_body: bool
    scopes: tuple[str, ...]
    request_id_in: str | None
    validates_in: str | None
    deprecated: bool

    def __str__(self) -> str:
        """Return its id: Airflow stores a mapped task's arguments as text."""
        return self.id

    @property
    def scope(self) -> str | None:
        """The scope to ask for; ``None``: ``cloud-platform`` will do, or none are known."""
        scope = _scope_of(self.scopes)
        return None if scope == CLOUD_PLATFORM else scope

    @property
    def id(self) -> str:
        """With API and version: ``file:v1.projects.locations.instances.create``."""
        return f"{self.document.name}.{self.short_id}"


class Document:
    """
    What the table has of one API in one version.

    :param name: ``file:v1``.
    """

    def __init__(self, name: str, entry: dict[str, Any]) -> None:
        self.name = name
        self.api, _, self.version = name.partition(":")
        self.revision: str = entry["revision"]
        self.title: str = entry["title"]
        self.documentation: str = entry["documentation"]
        self.root_url: str = entry["root"]
        self.path_prefix: str = entry["prefix"]
        self.cancel_suffix: str = entry.get("cancel_suffix", ":cancel")
        self.cancel_method: str = entry.get("cancel_method", "POST")
        self.wait_timeout_in: str = entry.get("wait_timeout_in", "query")
        self._entry = entry

    @property
    def as_argument(self) -> str | Document:
        """What stands for it where an API is asked for: its name."""
        return self.name

    @property
    def method_ids(self) -> tuple[str, ...]:
        """The starts, without the API: ``projects.locations.instances.create``."""
        return tuple(self._entry["methods"])

    def method(self, short_id: str) -> Method | None:
        """Return a start; ``None``: it has none of this id."""
        found = self._entry["methods"].get(short_id)
        if found is None:
            return None
        kinds = self._entry["kinds"]
        parameters = {
            name: Parameter.of(name, kinds[kind], in_path=in_path)
            for place, in_path in (("path_parameters", True), ("query", False))
            for name, kind in found[place].items()
        }
        return Method(
            self,
            short_id,
            found["verb"],
            found["path"],
            parameters,
            found["body"],
            tuple(self._entry["scopes"][found["scopes"]]),
            found.get("request_id"),
            found.get("validate_only"),
            found.get("deprecated", False),
        )

    @property
    def scopes(self) -> str | None:
        """Scopes with which all of it can be called; ``None``: ``cloud-platform`` will do, or none are known."""
        scopes = list(dict.fromkeys(filter(None, map(_scope_of, self._entry["scopes"]))))
        return None if CLOUD_PLATFORM in map(_scope_of, self._entry["scopes"]) else " ".join(scopes) or None

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Why methods that have to do with operations are no starts of ours, by id without the API."""
        return {short: why for why, listed in self._entry["left_out"].items() for short in listed}

    @property
    def has_get(self) -> bool:
        """Whether any of its operations can be asked for."""
        return any("get" in verbs for _, verbs in self._entry["operations"])

    @property
    def verbs(self) -> frozenset[str]:
        """What can be done to some of its operations: of ``get``, ``cancel``, ``delete``, ``list`` and ``wait``."""
        return frozenset(verb for _, verbs in self._entry["operations"] for verb in verbs)

    def verbs_of(self, name: str) -> frozenset[str]:
        """Return what can be done to an operation of this name; it may begin with the prefix."""
        bare = name.removeprefix(f"{self.path_prefix}/")
        return frozenset(
            verb
            for pattern, verbs in self._entry["operations"]
            if re.fullmatch(pattern, bare)
            for verb in verbs
        )

    def endpoint(self, kind: str, location: str) -> str | None:
        """
        Return the base URL for a location; ``None``: there is none of this kind.

        :param kind: ``locational``, a name of its own such as ``europe-west1-aiplatform.googleapis.com``, without which
            some APIs don't answer; or ``regional``, ``redis.europe-west1.rep.googleapis.com``.
        """
        template, locations = self._entry["endpoints"].get(kind, ("", ()))
        return str(template).replace("{location}", location) if location in locations else None

    def location_of(self, host: str) -> str | None:
        """Return the location whose address a host is; ``None``: it is that of none."""
        for template, _ in self._entry["endpoints"].values():
            before, after = str(template).partition("://")[2].split("{location}")
            if found := re.fullmatch(f"{re.escape(before)}([a-z][a-z0-9-]*){re.escape(after)}", host):
                return found[1]
        return None

    @property
    def is_locational(self) -> bool:
        """Whether it has an address for each location."""
        return "locational" in self._entry["endpoints"]


def _scope_of(scopes: Sequence[str]) -> str | None:
    """Return one of several scopes of which each is enough: the shortest, as the longer ones are for a part of it."""
    if CLOUD_PLATFORM in scopes:
        return CLOUD_PLATFORM
    return min(scopes, key=len) if scopes else None


@lru_cache(maxsize=1)
def _members() -> zipfile.ZipFile:
    # From memory: no file is held open, and processes that are forked share no position in it.
    return zipfile.ZipFile(io.BytesIO((_ROOM / "methods.zip").read_bytes()))


@lru_cache(maxsize=32)
def document(name: str) -> Document | None:
    """Read one document, e.g. ``file:v1``; ``None``: the table has none of this name."""
    try:
        text = _members().read(name)
    except KeyError:
        return None
    return Document(name, json.loads(text))


def documents(api: str | None = None) -> tuple[str, ...]:
    """Return the names of all documents, or of an API's: ``("file:v1", "file:v1beta1")``."""
    return tuple(name for name in _members().namelist() if api is None or name.partition(":")[0] == api)


@lru_cache(maxsize=1)
def _defaults() -> bytes:
    return (_ROOM / "defaults.txt").read_bytes()


def default_version(name: str) -> str | None:
    """
    Return the version that is meant where none is said; ``None``: it must be said.

    :param name: an API (``file``), or a method with it (``file.projects.locations.instances.create``).
    """
    # 120 kB are searched sooner than made a dict. The first line is about the file.
    begins = _defaults().find(f"\n{name} ".encode())
    if begins < 0:
        return None
    line = _defaults()[begins + 1 : _defaults().index(b"\n", begins + 1)]
    return line.decode("ascii").partition(" ")[2]
