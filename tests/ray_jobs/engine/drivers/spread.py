"""Caption with each checkpoint in turn, on an engine that is spread over two processes."""

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

engine = ENGINE.model_copy(update={"tensor_parallel_size": 2})
print_result([caption_scenes(uri, engine=engine) for uri in ARGUMENTS])
