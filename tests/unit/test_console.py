from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_operations._connection.console_url import checked_template, page
from airflow_provider_operations._connection.fields import InvalidConnection

NAME = "projects/p/locations/l/operations/o"


@pytest.mark.parametrize(
    ("template", "name", "url"),
    [
        ("https://c.example/{name}", NAME, f"https://c.example/{NAME}"),
        (
            "https://c.example/{location}/{operation_id}?project={project}",
            NAME,
            "https://c.example/l/o?project=p",
        ),
        ("https://c.example:8443/x#/{operation_id}", NAME, "https://c.example:8443/x#/o"),
        ("http://c.example/all", NAME, "http://c.example/all"),
        ("https://c.example/{operation_id}", "operations/build/p/b64==", "https://c.example/b64%3D%3D"),
        (
            "https://c.example/{name}",
            "operations/a?b=1#c&d=2 ü",
            "https://c.example/operations/a%3Fb%3D1%23c%26d%3D2%20%C3%BC",
        ),
        (
            "https://c.example/?q={name}&x=1",
            "operations/a&x=2",
            "https://c.example/?q=operations/a%26x%3D2&x=1",
        ),
        ("https://c.example/{name}", "operations/{project}", "https://c.example/operations/%7Bproject%7D"),
        ("https://c.example/{project}", "operations/o", None),
        ("https://c.example/{location}", "projects/p/operations/o", None),
        ("https://c.example/{name}", "", None),
        ("https://c.example/{name}", "../../other", None),
        ("https://c.example/{name}", "operations//evil.example", None),
        ("https://c.example/{operation_id}", "operations/", None),
        (None, NAME, None),
    ],
)
def test_parts_of_a_name_fill_the_template(template: str | None, name: str, url: str | None) -> None:
    """The name's parts are percent-encoded into the template; without one of them there is no page."""
    assert page(template, name) == url


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("https://c.example/{operation}", "an unknown placeholder, {operation}"),
        ("https://c.example/{}", "an unknown placeholder, {}"),
        ("https://c.example/{name!r}", "an unknown placeholder, {name!r}"),
        ("https://c.example/{name.__class__}", "an unknown placeholder"),
        ("https://c.example/{name", "a brace that belongs to no placeholder"),
        ("https://c.example/{{name}}", "a brace that belongs to no placeholder"),
        ("https://{project}.c.example/", "a placeholder in its host"),
        ("https://c.example{name}", "a placeholder in its host"),
        ("https://c.example:{project}/", "is not a URL"),
        ("{name}", "is not http:// or https://"),
        ("//c.example/{name}", "is not http:// or https://"),
        ("https:/c.example/{name}", "is not http:// or https://"),
        ("javascript:alert(1)//{name}", "is not http:// or https://"),
        ("ftp://c.example/{name}", "is not http:// or https://"),
        ("https://u:secret@c.example/{name}", "has credentials in it"),
        ("https://c.example/a b", "has ' ' in it"),
        ('https://c.example/"', "has '\"' in it"),
        ("https://c.example\\@evil.example/", "has credentials in it"),
        ("https://c.example/\\evil", "in it"),
        ("https://[c.example/", "is not a URL"),
    ],
)
def test_templates_that_could_lead_elsewhere_are_refused(template: str, problem: str) -> None:
    """A template that could lead elsewhere, or that nothing can be put into, is refused with the reason."""
    with pytest.raises(InvalidConnection) as refused:
        checked_template(template, "connection 'c'")
    assert str(refused.value).startswith("connection 'c': 'console_url' ")
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60))
def test_names_stay_where_they_are_put(name: str) -> None:
    """Whatever the name: same scheme, host and query, and as many path segments as it has."""
    url = page("https://c.example/ops/{name}?a=1", name)
    if url is None:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "c.example", "a=1", "")
    assert parts.path.startswith("/ops/")
    assert parts.path.count("/") == 2 + name.count("/")
    assert url.isascii()
