"""The fixture of these tests. What they share is in `running_stack`, because other folders have a `conftest` too."""

from running_stack import pytest_collection_modifyitems, stack

__all__ = ["pytest_collection_modifyitems", "stack"]
