"""Ask by the one checkpoint of an engine with two processes that render."""

from scenes import ARGUMENTS, ENGINE, said, tell

tell(said(ARGUMENTS[0], engine=ENGINE.model_copy(update={"renderers": 2})))
