"""The stage versions of the release e0c6db2, which wrote the corpus and the ids that the tests hold as literals.

A test of this corpus or of these literals runs with the versions of that release. So it proves the same after a version
was raised. If such a test fails, an id has changed by accident: mend the code, not the literals.
"""

import pytest

from ray_jobs.contract import spec
from ray_jobs.dataset import same_content

RELEASED = {"PREPROCESS_VERSION": 3, "CAPTION_VERSION": 3, "JUDGE_VERSION": 2, "EVALUATE_VERSION": 2}
PRESENT: dict[str, int] = {name: getattr(spec, name) for name in RELEASED}
LOOKED_UP_IN = (spec, same_content)  # tests/ray_jobs/contract/test_spec.py keeps this list complete
VARIABLE = "STAGE_VERSIONS_OF_TESTS"


def use_released_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the code in this process the versions of that release, until the test ends."""
    for module in LOOKED_UP_IN:
        for name in RELEASED.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, RELEASED[name])


def variables_of(versions: dict[str, int]) -> dict[str, str]:
    """The environment of a process that runs with these versions. `tests/startup` must be in its PYTHONPATH."""
    return {VARIABLE: " ".join(f"{name}={number}" for name, number in versions.items())}
