"""
The app behind the tab and the list, mounted by Airflow's API server.

Airflow serves a plugin's app without authentication: every route here that answers with data asks Airflow's auth
manager itself. Reading takes read access to the task instance, cancelling edit access. Whether sweeps run is told to
anybody, as Airflow's own ``/monitor/health`` is: probes have no session, and it says no more than a time.
"""

# Without "from __future__ import annotations": FastAPI reads them.

import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.configuration import conf
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from airflow_provider_operations._airflow.compat import team_names
from airflow_provider_operations._airflow.redaction import log_exception, without_secrets
from airflow_provider_operations._connection.console_url import page
from airflow_provider_operations._protocol import clock
from airflow_provider_operations._protocol.rendering import printable
from airflow_provider_operations._sweep.latest import Latest, latest, status
from airflow_provider_operations._sweep.sweep import Fate, left_of
from airflow_provider_operations.ui import audit
from airflow_provider_operations.ui.live import Answered, Asking
from airflow_provider_operations.ui.orphans import Orphan, Orphans, has_records, iso, mark, ordered
from airflow_provider_operations.ui.table import SORTS, STATES, Asked, Show, counts, dags, rows
from airflow_provider_operations.ui.tasks import Seen, TaskKey, look
from airflow_provider_operations.ui.views import shown_operation, shown_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["CANCEL_HEADER", "create_app"]

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

CANCEL_HEADER = "x-airflow-operations"
"""A page of another origin can't send it without being asked first whether it may (CORS)."""

PAGE_ROWS = 50
"""Rows of the list that are shown at once; the page polls each operation that runs."""

MAX_HOURS = 31 * 24
MAX_AGE_S = MAX_HOURS * 3600
MAX_OFFSET = 10**6

MAX_MAP_INDEX = 2**31 - 1
"""Of the column in Airflow's database."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
}

_reads_task = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
_edits_task = Depends(requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE))


def create_app(asking: Asking | None = None) -> FastAPI:
    """
    Return the app.

    :param asking: how the service is asked.
    """
    app = FastAPI(title="Long-Running Operations", docs_url=None, redoc_url=None, openapi_url=None)
    asks, orphans = asking or Asking(), Orphans()

    @app.middleware("http")
    async def harden(request: Request, call_next: "Callable[[Request], Awaitable[Response]]") -> Response:
        response: Response
        if "\0" in unquote(f"{request.url.path}?{request.url.query}"):
            # No id has one, and PostgreSQL refuses it: checked before Airflow's own checks, which query it.
            response = JSONResponse({"detail": "there is a NUL in the address"}, 400)
        else:
            response = await call_next(request)
        response.headers.update(_HEADERS)
        static = "/static/" in request.url.path
        response.headers["Cache-Control"] = "no-cache" if static else "no-store"
        return response

    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/task")
    async def task_page(_user: GetUserDep) -> FileResponse:
        return FileResponse(STATIC / "task.html")

    @app.get("/list")
    async def list_page(_user: GetUserDep) -> FileResponse:
        return FileResponse(STATIC / "list.html")

    @app.get("/health")
    def health(
        max_age_s: Annotated[int | None, Query(ge=1, le=MAX_AGE_S)] = None,
    ) -> dict[str, str | None]:
        try:
            with create_session() as session:
                sweep = latest(session)
        except SQLAlchemyError:
            log_exception(log, "Airflow's database doesn't say when a sweep ran")
            return {"status": "unhealthy", "last_sweep": None}
        return {
            "status": status(sweep, clock.now(), max_age_s),
            "last_sweep": iso(sweep.at_epoch_s) if sweep else None,
        }

    @app.get("/api/dags/{dag_id}/operation", dependencies=[_reads_task])
    async def get_operation(key: Annotated[TaskKey, Depends(_key)], user: GetUserDep) -> JSONResponse:
        seen, asked, may_edit = await run_in_threadpool(_look, key, user)
        answered = await asks.ask(seen.target) if seen.target else None
        # A service may answer megabytes, and the event loop is that of all of Airflow's API.
        return await run_in_threadpool(
            lambda: JSONResponse(_shown(key, seen, asked, answered, may_edit=may_edit))
        )

    @app.post("/api/dags/{dag_id}/operation/cancel", dependencies=[Depends(_from_our_page), _edits_task])
    async def cancel_operation(
        key: Annotated[TaskKey, Depends(_key)], name: Annotated[str, Query()], user: GetUserDep
    ) -> dict[str, Any]:
        seen, _, _ = await run_in_threadpool(_look, key, user)
        if seen.target is None:
            raise HTTPException(409, "this task has no operation that could be asked to cancel")
        if seen.by_xcom:
            raise HTTPException(
                409, "only an XCom says that this is the task's operation, which cancels nothing"
            )
        if name != printable(seen.target.name):
            raise HTTPException(409, "by now this task has another operation; look at it first")
        by = user.get_name()
        first = await run_in_threadpool(audit.note, key, seen.target.name, seen.try_number, by)
        log.info("%s asks to cancel %s", by, seen.target.name)
        problem = await asks.cancel(seen.target)
        if problem is not None:
            if first:
                await run_in_threadpool(audit.take_back, key)
            raise HTTPException(502, shown_text(problem, 2000, without_secrets))
        return {"cancelling": True}

    @app.get("/api/operations")
    def list_operations(
        user: GetUserDep,
        dag_id: Annotated[str, Query(max_length=250)] = "",
        conn_id: Annotated[str, Query(max_length=250)] = "",
        state: Annotated[str, Query(max_length=50)] = "",
        show: Annotated[Show, Query()] = "running",
        hours: Annotated[int, Query(ge=1, le=MAX_HOURS)] = 24,
        sort: Annotated[str, Query(pattern=f"^(-?({'|'.join(SORTS)}))?$")] = "",
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    ) -> dict[str, Any]:
        after = datetime.now(timezone.utc) - timedelta(hours=hours)
        asked = Asked(show, after, dag_id, conn_id, state)
        return _listed(user, orphans, asked, sort or ("since" if show == "running" else "-ended"), offset)

    return app


def _key(
    dag_id: str,
    run_id: Annotated[str, Query(max_length=250)],
    task_id: Annotated[str, Query(max_length=250)],
    map_index: Annotated[int, Query(ge=-1, le=MAX_MAP_INDEX)] = -1,
) -> TaskKey:
    return TaskKey(dag_id, run_id, task_id, map_index)


def _from_our_page(request: Request) -> None:
    """
    Refuse what another site makes a user's browser send.

    The session's cookie is SameSite=Lax, which doesn't keep out other hosts of the same site.
    """
    site = request.headers.get("sec-fetch-site")
    sent_from = request.headers.get("origin")
    ours = {_origin(str(request.base_url)), _origin(conf.get("api", "base_url", fallback=""))}
    ours.discard(("", ""))  # of a base_url that isn't set, and of the origin "null"
    if (
        request.headers.get(CANCEL_HEADER) != "cancel"
        or (site is not None and site != "same-origin")
        or (sent_from is not None and site is None and _origin(sent_from) not in ours)
    ):
        raise HTTPException(403, "only Airflow's own page may ask this")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _look(key: TaskKey, user: Any) -> tuple[Seen, dict[str, Any] | None, bool]:
    """Return the task, who has asked to cancel its operation, and whether this user may."""
    with create_session() as session:
        seen = look(key, session)
        asked = audit.noted(key, seen.name, session) if seen and seen.name else None
        team_name = DagModel.get_team_name(key.dag_id, session=session)
    if seen is None:
        raise HTTPException(404, "there is no such task instance")
    may_edit = get_auth_manager().is_authorized_dag(
        method="PUT",
        access_entity=DagAccessEntity.TASK_INSTANCE,
        details=DagDetails(id=key.dag_id, team_name=team_name),
        user=user,
    )
    return seen, asked, may_edit


def _shown(
    key: TaskKey, seen: Seen, asked: dict[str, Any] | None, answered: Answered | None, *, may_edit: bool
) -> dict[str, Any]:
    """
    Return what the tab shows.

    :return: ``{"task": {...}, "operation": {...} | None, "problem": str | None, "remembered": bool, "live": bool,
        "may_cancel": bool, "cancel_asked": {"by": str, "at": str} | None, "conn_id": str | None,
        "console_url": str | None}``; live: it is worth asking again.
    """
    operation = answered.operation if answered else None
    problem = answered.problem if answered else None
    remembered = False
    if operation is None and seen.final is not None and (seen.over or answered is None):
        operation, remembered = seen.final, True
        if answered is not None and answered.forgotten:
            problem = None
    shown = shown_operation(operation, without_secrets) if operation else None
    if shown and not shown["name"]:
        shown["name"] = printable(seen.name or "")
    running = operation is not None and not operation.done and not remembered
    return {
        "task": {
            **key._asdict(),
            "state": seen.state,
            "started": seen.started and seen.started.isoformat(),
            "ended": seen.ended and seen.ended.isoformat(),
        },
        "name": printable(seen.name) if seen.name else None,
        "operation": shown,
        "problem": None if problem is None else shown_text(problem, 2000, without_secrets),
        "remembered": remembered,
        "live": running if operation else not seen.over,
        "may_cancel": running and may_edit and not seen.by_xcom,
        "cancel_asked": asked,
        "conn_id": seen.target.options.operations_conn_id if seen.target else None,
        "console_url": page(answered.console_url, seen.target.name) if answered and seen.target else None,
    }


def _listed(user: Any, orphans: Orphans, asked: Asked, sort: str, offset: int) -> dict[str, Any]:
    """
    Return a page of the list.

    :return: ``{"operations": [...], "counts": {"running": int, "orphans": int, "failed": int, "ended": int},
        "more_orphans": bool, "sweep": {...} | None, "offset": int, "page_rows": int, "sort": str, "states": [...]}``;
        ``more_orphans``: not all were read; no sweep: this Airflow has no records.
    """
    auth, now, keeps_records = get_auth_manager(), clock.now(), has_records()
    sweep: Latest | None = None
    strays: list[Orphan] = []
    more = False
    with create_session() as session:
        readable = auth.get_authorized_dag_ids(user=user, method="GET", session=session)
        if keeps_records:
            sweep = latest(session)
            strays, more = orphans.read(session, readable, sweep, now, anew=asked.show == "orphans")
            strays = [one for one in strays if one.matches(asked)]
        found = sorted({*dags(session, readable, asked), *(one.dag_id for one in strays)})
        teams = team_names(found, session)
    # Whoever may read a DAG need not be allowed to read its task instances.
    allowed = [
        one
        for one in found
        if auth.is_authorized_dag(
            method="GET",
            access_entity=DagAccessEntity.TASK_INSTANCE,
            details=DagDetails(id=one, team_name=teams.get(one)),
            user=user,
        )
    ]
    strays = [one for one in strays if one.dag_id in allowed]
    with create_session() as session:
        if asked.show == "orphans":
            listed = ordered(strays, sort)[offset : offset + PAGE_ROWS]
        else:
            listed = rows(session, allowed, asked, sort=sort, offset=offset, limit=PAGE_ROWS)
            mark(listed, strays)
        return {
            "operations": listed,
            "counts": {**counts(session, allowed, asked), "orphans": len(strays)},
            "more_orphans": more,
            "sweep": _swept(sweep, now) if keeps_records else None,
            "offset": offset,
            "page_rows": PAGE_ROWS,
            "sort": sort,
            "states": STATES[asked.show],
        }


def _swept(sweep: Latest | None, now_epoch_s: float) -> dict[str, Any]:
    """
    Return what the list says of the latest sweep; its counts are of all of Airflow, and tell of no DAG.

    :return: ``{"status": str, "last_sweep": str | None, "looked": int, "cancelled": int, "left": int}``
    """
    fates = sweep.fates if sweep else {}
    return {
        "status": status(sweep, now_epoch_s),
        "last_sweep": iso(sweep.at_epoch_s) if sweep else None,
        "looked": sweep.looked if sweep else 0,
        "cancelled": fates.get(Fate.CANCELLED.value, 0),
        "left": left_of(fates),
    }
