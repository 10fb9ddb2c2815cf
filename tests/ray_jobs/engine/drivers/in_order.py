"""Ask by each checkpoint in turn; a job that ends before it asks anything has started the engine for the second."""

from scenes import ARGUMENTS, ENGINE, said, tell

from ray_jobs.checkpoints import inspect
from ray_jobs.engine.client import warm
from ray_jobs.engine.client.session import PREFIX, engine_session

second = inspect.resolve(ARGUMENTS[1])
with engine_session(PREFIX + warm.engine_key(second, ENGINE), second, ENGINE):
    pass
tell([said(uri) for uri in ARGUMENTS])
