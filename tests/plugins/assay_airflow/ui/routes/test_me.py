"""`api/me`: a viewer reads and decides nothing."""

import pytest
from page_users import Login


@pytest.mark.parametrize(("role", "may"), [("VIEWER", False), ("USER", True), ("ADMIN", True)])
def test_who_may_decide(login: Login, role: str, may: bool) -> None:
    answer = login(role).get("/api/me").json()
    assert answer == {"name": f"a {role}", "may": {"decide": may, "label": may}}
