"""
Errors as Google's REST services answer them.

Source: https://google.aip.dev/193
"""

from __future__ import annotations

from typing import Any, NamedTuple

DOMAIN = "operations.emulator"
"""The ``domain`` of every ErrorInfo the emulator makes."""

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""HTTP status of each canonical code the emulator answers (``google/rpc/code.proto``)."""

_V1_REASON = {400: "badRequest", 401: "authError", 403: "forbidden", 404: "notFound", 409: "conflict"}


class Violation(NamedTuple):
    """One ``BadRequest.FieldViolation``."""

    field: str
    description: str


class ApiError(Exception):
    """
    A request is refused.

    :param status: canonical code by name, a key of :data:`HTTP_STATUS`.
    :param message: for developers, in English.
    :param reason: ``ErrorInfo.reason``, UPPER_SNAKE_CASE.
    :param metadata: ``ErrorInfo.metadata``.
    :param violations: what is wrong field by field; becomes a ``BadRequest`` detail.
    """

    def __init__(
        self,
        status: str,
        message: str,
        reason: str,
        metadata: dict[str, str] | None = None,
        violations: list[Violation] | None = None,
    ) -> None:
        super().__init__(status, message, reason, metadata, violations)
        self.status = status
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations or []

    @property
    def http_status(self) -> int:
        """The HTTP status this error is answered with."""
        return HTTP_STATUS[self.status]

    @classmethod
    def invalid(cls, *violations: Violation) -> ApiError:
        """Return the 400 that names every bad field."""
        message = "; ".join(f"{field}: {description}" for field, description in violations)
        return cls("INVALID_ARGUMENT", message, "INVALID_FIELD", violations=list(violations))

    def details(self) -> list[dict[str, Any]]:
        """Return the details as JSON: ErrorInfo, then BadRequest if fields are at fault."""
        details: list[dict[str, Any]] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": self.reason,
                "domain": DOMAIN,
                "metadata": self.metadata,
            }
        ]
        if self.violations:
            details.append(
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [violation._asdict() for violation in self.violations],
                }
            )
        return details

    def envelope(self, *, v1: bool = False) -> dict[str, Any]:
        """
        Return the body of the answer.

        :param v1: the older format, which a client asks for with ``$.xgafv=1``.
        """
        error: dict[str, Any] = {"code": self.http_status, "message": self.message, "status": self.status}
        if v1:
            reason = _V1_REASON.get(self.http_status, "backendError")
            error["errors"] = [{"domain": "global", "reason": reason, "message": self.message}]
        else:
            error["details"] = self.details()
        return {"error": error}


def envelope_of(http_status: int, message: str) -> dict[str, Any]:
    """Return Google's envelope for a bare HTTP status, ``UNKNOWN`` where no canonical code fits."""
    status = next((name for name, number in HTTP_STATUS.items() if number == http_status), "UNKNOWN")
    return {"error": {"code": http_status, "message": message, "status": status}}
