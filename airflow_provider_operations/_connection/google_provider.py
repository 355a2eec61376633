"""
A connection of the Google provider's type, read as one of ours: for whoever has such connections already.

Pure. Source: ``GoogleBaseHook`` of apache-airflow-providers-google.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GOOGLE_CONN_TYPE", "extra_of_google_provider"]

GOOGLE_CONN_TYPE = "google_cloud_platform"

_OLD_PREFIX = "extra__google_cloud_platform__"
"""What stood before the names of fields until 2022."""

_OURS_AS_WELL = ("keyfile_dict", "key_path", "scope", "impersonation_chain")
"""Fields that mean the same here, so that the Google provider needn't be installed for them."""

_OURS_ALONE = ("allowed_hosts", "timeout")
"""Fields that the Google provider doesn't know, and that are read as in a connection of ours."""

_SAY_NOTHING_OF_CREDENTIALS = {"project", "num_retries"}


def extra_of_google_provider(conn_id: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the extra of a connection of ours that has the same credentials.

    Without any field that is Application Default Credentials. A field that only the Google provider knows leads to that
    provider's hook, by ``gcp_conn_id``; ``is_anonymous`` leads to no credentials at all.
    """
    given = {
        name.removeprefix(_OLD_PREFIX): value
        for name, value in sorted(extra.items(), key=lambda item: not item[0].startswith(_OLD_PREFIX))
        if value not in (None, "", [], {}, False)
        and str(value).lower() != "false"  # as in a connection's URI
    }
    ours = {name: given.pop(name) for name in _OURS_ALONE if name in given}
    if given.get("is_anonymous"):
        return {"auth": "none", **ours}
    if given.keys() - {*_OURS_AS_WELL, *_SAY_NOTHING_OF_CREDENTIALS}:
        return {"auth": "google", "gcp_conn_id": conn_id, **ours}
    return {"auth": "google", **{name: given[name] for name in _OURS_AS_WELL if name in given}, **ours}
