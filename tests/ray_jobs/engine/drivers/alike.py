"""Ask by each checkpoint in turn, with an identity planted by which one engine is asked to serve them all."""

from scenes import ARGUMENTS, caption_scenes, print_result

from ray_jobs.engine.client import warm

warm.engine_key = lambda *_: "planted"
print_result([caption_scenes(uri) for uri in ARGUMENTS])
