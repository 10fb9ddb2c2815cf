"""Starts one of Swift's servers, in Swift's environment: s3_server.py starts four.

    python start_swift.py SWIFT.CONF SCRIPT ARGUMENT...

Swift reads /etc/swift/swift.conf unless its module is told of another file. The server dies with the process that
started it.
"""

import ctypes
import runpy
import signal
import sys

from swift.common import utils

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    utils.SWIFT_CONF_FILE = sys.argv[1]
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
