"""Makes PyPI's torchvision (a CUDA build) importable with a CPU build of torch.

torchvision 0.28 registers fake kernels for `nms` and `qnms` on import. It stops if its compiled library has not defined
these operators, and without CUDA the library cannot. Declaring the two operators is enough, because image processors
never call them. `make setup` copies this file, and a `.pth` that imports it, into the data plane's environment if the
import fails. If PyTorch's own CPU index can be reached, `make setup` installs the `+cpu` build and does not use this.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Declares the operators at the moment torchvision is first imported, so that starting Python stays free."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch has no types for it
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library = library  # operators live as long as the object that declares them
            sys.modules["torchvision_cpu_operators"] = self  # type: ignore[assignment]
        return None


sys.meta_path.insert(0, _DeclareOperators())
