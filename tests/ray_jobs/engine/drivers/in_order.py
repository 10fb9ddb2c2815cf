"""Caption with each checkpoint in turn. Before that, a job without rows starts the engine for the second one."""

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.client import warm
from ray_jobs.engine.client.session import PREFIX, engine_session

second = inspect.resolve(ARGUMENTS[1])
with engine_session(PREFIX + warm.engine_key(second, ENGINE), second, ENGINE):
    pass
print_result([caption_scenes(uri) for uri in ARGUMENTS])
