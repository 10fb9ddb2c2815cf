"""The type of the fixture `login` of the tests of Assay's pages."""

from collections.abc import Callable

from fastapi.testclient import TestClient

Login = Callable[[str | None], TestClient]
