"""Caption with one checkpoint, and log what the job waits for."""

import logging
import sys

from scenes import ARGUMENTS, caption_scenes, print_result

logging.getLogger("assay").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("assay").setLevel(logging.INFO)
print_result(caption_scenes(ARGUMENTS[0]))
