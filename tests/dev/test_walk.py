"""dev.walk counts a list of steps only if the list matches the code."""

from pathlib import Path

import pytest

from dev.walk import find_fault, format_counts, read_steps

CALLER = """
def plan(checkpoint_uri):
    return Spec(resolve(checkpoint_uri))

class Runner:
    def __init__(self, spec):
        self.spec = spec
    def run(self): ...
"""
WALK = """
# a comment
~ caller.py plan checkpoint_uri
> called.py resolve uri,name   # renamed
> caller.py Spec.__init__ uri
~ caller.py Runner.run -
"""


REPO = Path(__file__).parents[2]
WALKS = sorted((REPO / "dev" / "walks").glob("*.txt"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "caller.py").write_text(f"{CALLER}\nclass Spec:\n    def __init__(self, uri): ...\n")
    (tmp_path / "called.py").write_text("def resolve(uri):\n    name = uri\n    return name\n")
    return tmp_path


def test_a_true_list_is_counted(root: Path) -> None:
    steps = read_steps(WALK)
    assert find_fault(steps, root) is None
    assert format_counts(steps) == "2 files, 3 hops, 3 names (checkpoint_uri, uri, name)"


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("~ missing.py resolve uri", "missing.py resolve: no such file"),
        ("~ called.py resolved uri", "called.py resolved: no such function or class"),
        ("~ called.py resolve checkpoint", "called.py resolve: does not use the name checkpoint"),
        ("> caller.py Runner.__init__ spec", "caller.py Runner.__init__: no step above names it"),
    ],
)
def test_a_list_that_is_not_true_is_refused(root: Path, step: str, fault: str) -> None:
    assert find_fault(read_steps(WALK + step), root) == fault


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.stem)
def test_the_walks_through_this_tree_are_true(walk: Path) -> None:
    assert find_fault(read_steps(walk.read_text()), REPO) is None


def test_the_walks_are_those_of_earlier_versions() -> None:
    """So that their counts can be compared."""
    assert [walk.stem for walk in WALKS] == ["caption", "image", "uri"]
    for commit in ("e0c6db2", "a52cdb4"):
        assert sorted(walk.name for walk in (REPO / "dev" / "walks" / commit).iterdir()) == [
            walk.name for walk in WALKS
        ]
