"""Ask by the one checkpoint of an engine with two processes that render."""

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

print_result(caption_scenes(ARGUMENTS[0], engine=ENGINE.model_copy(update={"renderers": 2})))
