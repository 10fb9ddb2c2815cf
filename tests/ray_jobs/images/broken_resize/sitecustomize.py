"""Every Python that has this folder on its path imports this file: the tenth resize raises, the twentieth aborts."""

import itertools
import os
from typing import Any

import cv2

resize, calls = cv2.resize, itertools.count(1)


def resize_or_fail(*arguments: Any, **options: Any) -> Any:
    call = next(calls)
    if call == 10:
        raise KeyError("planted")
    if call == 20:
        os.abort()
    return resize(*arguments, **options)


vars(cv2)["resize"] = resize_or_fail
