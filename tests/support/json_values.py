"""Values that hypothesis makes up."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_KEYS = st.text(max_size=8) | st.sampled_from(
    [
        "name",
        "done",
        "error",
        "response",
        "metadata",
        "code",
        "message",
        "details",
        "status",
        "@type",
        "typeUrl",
        "value",
        "progress",
        "progressPercent",
        "workCompleted",
        "workEstimated",
        "statusMessage",
        "detail",
        "title",
        "error_description",
        "operations",
        "nextPageToken",
    ]
)
_SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["42", "42%", "3.5s", "type.googleapis.com/google.rpc.RetryInfo", "NOT_FOUND"])
)

JSON: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
"""Any JSON value, with the protocol's own keys more often than chance."""
