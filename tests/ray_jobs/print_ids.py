"""Prints the ids of the tests' usual spec: of its golden set, its captions, its scores and its run."""

from samples import make_spec

planned = make_spec()
print(planned.golden_id, planned.caption_id, planned.scoring_id, planned.run_id)
