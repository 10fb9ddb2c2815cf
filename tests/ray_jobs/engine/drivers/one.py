"""Ask by the one checkpoint, and log what the engine is waited for."""

import logging
import sys

from scenes import ARGUMENTS, said, tell

logging.getLogger("assay").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("assay").setLevel(logging.INFO)
tell(said(ARGUMENTS[0]))
