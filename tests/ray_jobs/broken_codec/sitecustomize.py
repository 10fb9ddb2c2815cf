"""Every Python that has this folder on its path imports this file: a JPEG that says so crashes or hangs its decoder.

No file is known that crashes libjpeg-turbo of today, so this stands in for one, in every process of a job.
"""

import ctypes
import time
from typing import Any

import simplejpeg

decode_jpeg = simplejpeg.decode_jpeg


def decode_or_fail(data: bytes, *arguments: Any, **options: Any) -> Any:
    if b"CRASH" in data[:20]:
        ctypes.string_at(0)
    if b"HANG" in data[:20]:
        time.sleep(1000)
    return decode_jpeg(data, *arguments, **options)


simplejpeg.decode_jpeg = decode_or_fail
