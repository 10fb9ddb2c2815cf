"""A driver for test_shared_folders: it prints the result of `require_shared` for each case, one JSON object per
line.

python require_shared_driver.py SECONDS CASES      CASES: a JSON list of [name, root, checkpoint, dataset]
"""

import json
import sys

from samples import make_spec

from ray_jobs.inputs.errors import InputError, RetryableError
from ray_jobs.job import frame, shared_folders

shared_folders.SECONDS = float(sys.argv[1])
shared_folders.PAUSES = (0.2,)  # type: ignore[assignment]
frame.connect()
for name, root, checkpoint, dataset in json.loads(sys.argv[2]):
    spec = make_spec(root=root, dataset__source=dataset)
    spec = spec.model_copy(update={"checkpoint": spec.checkpoint.model_copy(update={"uri": checkpoint})})
    outcome = "shared"
    try:
        shared_folders.require_shared(spec)
    except (InputError, RetryableError) as error:
        outcome = f"{type(error).__name__}: {error}"
    print(json.dumps({name: outcome}), flush=True)
