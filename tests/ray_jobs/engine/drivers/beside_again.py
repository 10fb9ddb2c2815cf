"""Caption with one checkpoint, on an engine with two renderer processes."""

from scenes import ARGUMENTS, ENGINE, caption_scenes, print_result

print_result(caption_scenes(ARGUMENTS[0], engine=ENGINE.model_copy(update={"renderers": 2})))
