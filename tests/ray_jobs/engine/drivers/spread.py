"""Ask by each checkpoint in turn, of an engine that is spread over two processes."""

from scenes import ARGUMENTS, ENGINE, said, tell

engine = ENGINE.model_copy(update={"tensor_parallel_size": 2})
tell([said(uri, engine=engine) for uri in ARGUMENTS])
