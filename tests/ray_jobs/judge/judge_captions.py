"""Asks the judge about the captions of a spec.

python judge_captions.py SPEC.JSON
"""

import sys
from pathlib import Path

from ray_jobs.contract.spec import Spec
from ray_jobs.judge.run import run_judge

if __name__ == "__main__":
    spec = Spec.model_validate_json(Path(sys.argv[1]).read_text())
    run_judge(spec, [spec.caption_id])
