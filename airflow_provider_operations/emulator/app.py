"""The emulator's application: the protocol at every path, its own controls under ``/emulator/``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from .errors import ApiError, Violation

if TYPE_CHECKING:
    from starlette.requests import Request

    from .protocol import Protocol


def create_app(protocol: Protocol) -> Starlette:
    """Return the application; requests under ``/emulator/`` are not journaled and meet no faults."""
    service, faults = protocol.service, protocol.faults

    async def journal(request: Request) -> Response:
        if request.method == "DELETE":
            service.store.clear_journal()
            return JSONResponse({})
        asked = request.query_params
        entries = service.store.journal(asked.get("kind"), asked.get("operation"))
        # In ASCII: half of a surrogate pair, as somebody may have sent it, has no UTF-8.
        return Response(json.dumps({"journal": entries}), media_type="application/json")

    async def operations(request: Request) -> Response:
        name = request.query_params.get("name")
        records = service.store.operations() if name is None else [service.record(name)]
        now = service.clock()
        # The name is shown even where the script leaves it out of the protocol's answers.
        return JSONResponse({"operations": [{"name": each.name, **each.resource(now)} for each in records]})

    async def fault_list(request: Request) -> Response:
        if request.method == "POST":
            return JSONResponse({"id": faults.add(await _object(request))})
        if request.method == "DELETE":
            faults.clear()
            return JSONResponse({})
        return JSONResponse({"faults": faults.to_json()})

    async def scripts(request: Request) -> Response:
        service.add_script(await _object(request))
        return JSONResponse({})

    async def reset(_request: Request) -> Response:
        service.store.reset()
        service.forget_scripts()
        faults.clear()
        return JSONResponse({})

    controls = [
        Route("/journal", journal, methods=["GET", "DELETE"]),
        Route("/operations", operations, methods=["GET"]),
        Route("/faults", fault_list, methods=["GET", "POST", "DELETE"]),
        Route("/scripts", scripts, methods=["POST"]),
        Route("/reset", reset, methods=["POST"]),
    ]
    return Starlette(
        routes=[Mount("/emulator", routes=controls), Mount("/", app=protocol)],
        exception_handlers={ApiError: _refuse},
    )


async def _object(request: Request) -> dict[str, Any]:
    try:
        value = await request.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ApiError.invalid(Violation("body", "must be a JSON object"))
    return value


async def _refuse(_request: Request, exc: Exception) -> Response:
    if not isinstance(exc, ApiError):
        raise exc
    return JSONResponse(exc.envelope(), status_code=exc.http_status)
