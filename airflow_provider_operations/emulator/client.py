"""The emulator's controls, from a test's side."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit


class EmulatorControls:
    """
    Reads and steers a running emulator through its routes under ``/emulator/``.

    :param url: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def journal(self, kind: str | None = None, operation: str | None = None) -> list[dict[str, Any]]:
        """
        Return the requests so far, in order of arrival.

        :param kind: only this kind: get, cancel, list, delete, wait, start, other.
        :param operation: only those about the operation of this name.
        :return: ``{"seq": int, "time": float, "kind": str, "method": str, "path": str, "query": dict,
            "headers": dict, "body": Any, "operation": str | None, "status": int | None,
            "fault": str | None, "deduplicated": bool}``; the status is ``None`` if no answer was sent (yet).
        """
        entries: list[dict[str, Any]] = self._call("GET", "journal", kind=kind, operation=operation)[
            "journal"
        ]
        return entries

    def clear_journal(self) -> None:
        """Forget the requests so far."""
        self._call("DELETE", "journal")

    def operations(self) -> list[dict[str, Any]]:
        """Return every operation as it is now, oldest first."""
        found: list[dict[str, Any]] = self._call("GET", "operations")["operations"]
        return found

    def operation(self, name: str) -> dict[str, Any]:
        """
        Return one operation as it is now.

        :raises LookupError: there is none of this name.
        """
        found: dict[str, Any] = self._call("GET", "operations", name=name)["operations"][0]
        return found

    def script_operation(self, **script: Any) -> None:
        """
        Say what the next operation does that is started by a request without a script under ``operation``.

        :param script: the keys of a script, all optional: ``duration``, ``steps``, ``metadata``, ``response`` or
            ``error``, ``on_cancel``, ``cancel_delay``, ``name``. Several calls are for several starts, in order.
        :raises ValueError: a key or value is not allowed.
        """
        self._call("POST", "scripts", {_camel(key): value for key, value in script.items()})

    def script_fault(self, **fault: Any) -> str:
        """
        Let requests go wrong from now on.

        :param fault: the keys of a fault, all optional: which requests (``kind``, ``operation``,
            ``after``, ``times``, ``for``) and what happens to them (``status``, ``headers``, ``body``,
            ``delay``, ``truncate``, ``drop``, ``effect``, ``dropAfterEffect``). Python's spelling is
            understood too: ``for_``, ``drop_after_effect``.
        :return: the fault's id, which the journal shows.
        :raises ValueError: a key or value is not allowed.
        """
        fault_id: str = self._call("POST", "faults", {_camel(key): value for key, value in fault.items()})[
            "id"
        ]
        return fault_id

    def faults(self) -> list[dict[str, Any]]:
        """Return ``{"id": str, "fault": dict, "seen": int, "fired": int, "spent": bool}`` of each fault."""
        faults: list[dict[str, Any]] = self._call("GET", "faults")["faults"]
        return faults

    def clear_faults(self) -> None:
        """Remove every fault."""
        self._call("DELETE", "faults")

    def reset(self) -> None:
        """Forget operations, request ids, journal, faults and scripts that no start has taken."""
        self._call("POST", "reset")

    def _call(self, method: str, route: str, body: object = None, **query: str | None) -> dict[str, Any]:
        asked = {key: value for key, value in query.items() if value is not None}
        # Not urllib: a proxy from the environment must not come between.
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, f"/emulator/{route}?{urlencode(asked)}", payload)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status == http.client.NOT_FOUND:
            raise LookupError(answer["error"]["message"])
        if response.status != http.client.OK:
            raise ValueError(answer["error"]["message"])
        return answer


def _camel(key: str) -> str:
    first, *rest = key.rstrip("_").split("_")
    return first + "".join(word.capitalize() for word in rest)
