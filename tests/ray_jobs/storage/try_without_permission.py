"""Writes, creates, reads and deletes where this user may not; prints the line of each error, or `done`.

python try_without_permission.py FOLDER      root becomes another user first, because no permission stops root
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from ray_jobs.inputs.errors import InputError
from ray_jobs.storage import objects

NOBODY = 65534

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
folder = sys.argv[1]
calls: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = (
    (objects.write, (f"{folder}/new/x", b"")),
    (objects.create, (f"{folder}/x", b"")),
    (objects.read, (f"{folder}/secret",)),
    (objects.delete, (f"{folder}/secret",)),
)
for call, arguments in calls:
    try:
        call(*arguments)
        print("done")
    except InputError as error:
        print(error)
