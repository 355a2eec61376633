"""What it means that a service refuses a start: by code, and not by HTTP status, as the task's author says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from airflow_provider_operations._protocol.polling import as_seconds
from airflow_provider_operations.operation import Code

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from airflow_provider_operations._protocol.response import CallFailure

__all__ = ["Refusals"]

_REASON = re.compile(r"[A-Z][A-Z0-9_]+[A-Z0-9]")
"""``google.rpc.ErrorInfo.reason``, as google/rpc/error_details.proto has it."""


@dataclass(frozen=True)
class Refusals:
    """
    What a refused start means.

    :param skips_existing: ALREADY_EXISTS skips the task.
    :param follows_existing: then the operation is waited for that creates what exists.
    :param skips_missing: NOT_FOUND skips a task that deletes.
    :param codes: such a start is repeated;
    :param reasons: and one with such a reason.
    :param retry_for_s: for so long, from the first start.
    """

    skips_existing: bool
    follows_existing: bool
    skips_missing: bool
    codes: frozenset[Code | int]
    reasons: frozenset[str]
    retry_for_s: float

    @classmethod
    def of(
        cls,
        if_exists: str,
        if_missing: str,
        start_retry_on: Collection[Code | int | str] | Code | int | str,
        start_timeout: timedelta | float,
    ) -> Refusals:
        """
        Read the arguments of a task.

        :raises ValueError: one of them is wrong.
        """
        if if_exists not in ("fail", "skip", "wait"):
            raise ValueError(f"'if_exists' is 'fail', 'skip' or 'wait', not {if_exists!r}")
        if if_missing not in ("fail", "skip"):
            raise ValueError(f"'if_missing' is 'fail' or 'skip', not {if_missing!r}")
        if isinstance(start_retry_on, bytes) or not isinstance(start_retry_on, int | str | Iterable):
            raise _no_code(start_retry_on)
        given = [start_retry_on] if isinstance(start_retry_on, int | str) else list(start_retry_on)
        read = [(one, Code.parse(one)) for one in given]
        reasons = [one for one, code in read if code is None]
        for reason in reasons:
            if not isinstance(reason, str) or not _REASON.fullmatch(reason):
                raise _no_code(reason)
            near = get_close_matches(reason, [code.name for code in Code], 1, 0.85)
            # IAM_PERMISSION_DENIED is a reason of Google's, and no misspelt code.
            if near and near[0].count("_") == reason.count("_"):
                raise ValueError(f"'start_retry_on' has {reason!r}: is {near[0]!r} meant?")
        codes = [code for _, code in read if code is not None]
        for code in codes:  # a refusal has no other: a number of the service's own isn't read as its code
            if not isinstance(code, Code) or code is Code.OK:
                raise _no_code(int(code))
        return cls(
            if_exists == "skip",
            if_exists == "wait",
            if_missing == "skip",
            frozenset(codes),
            frozenset(str(reason) for reason in reasons),
            as_seconds("start_timeout", start_timeout),
        )

    def skips(self, failure: CallFailure, *, doubtful: bool) -> bool:
        """
        Tell whether the task is to be skipped.

        :param doubtful: what exists may be what an earlier start of the task has begun.
        """
        if not failure.code_is_named:  # a proxy's page, perhaps
            return False
        missing = self.skips_missing and failure.method == "DELETE" and failure.status.code == Code.NOT_FOUND
        exists = self.skips_existing and failure.status.code == Code.ALREADY_EXISTS
        return missing or (exists and not doubtful)

    def follows(self, failure: CallFailure) -> bool:
        """Tell whether another's operation is to be looked for; only if this start has certainly started nothing."""
        exists = failure.code_is_named and failure.status.code == Code.ALREADY_EXISTS
        return self.follows_existing and exists and failure.had_no_effect

    def repeats(self, failure: CallFailure) -> bool:
        """Tell whether a later start may be taken; only of what has certainly started nothing."""
        by_code = failure.code_is_named and failure.status.code in self.codes
        return (by_code or failure.status.reason in self.reasons) and failure.had_no_effect


def _no_code(given: object) -> ValueError:
    return ValueError(
        f"'start_retry_on' has codes such as 'ABORTED' and reasons such as 'RATE_LIMIT_EXCEEDED', not {given!r}"
    )
