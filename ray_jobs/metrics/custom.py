"""Load a team's own metrics: files with a `METRIC`, compiled from the source code in the spec.

The driver of `evaluate` and the Ray tasks that score parts call this. `ray_jobs.suite_check` also calls this.
"""

import linecache
import math
import traceback
from collections.abc import Mapping
from functools import lru_cache
from numbers import Real

from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import CaptionContext, Metric


def load_metrics(sources: Mapping[str, str], reserved_names: tuple[str, ...] = ()) -> dict[str, Metric]:
    """The metrics by name, from their source code. `reserved_names` are the names that a suite's metric may not have.

    Raises InputError with the metric's name and its fault.
    """
    return {name: _compile_metric(name, source, reserved_names) for name, source in sorted(sources.items())}


def measure_image(metric: Metric, caption: CaptionContext, image_id: str) -> float | None:
    """The metric's value for one image; None when the metric gives none.

    Raises InputError, which names the image, when `measure` fails or its value is not a number within the range.
    """
    assert metric.measure
    try:
        returned = metric.measure(caption)
    # SystemExit too, because Ray would start an exited worker again and again.
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(
            f"metric {metric.name}: image {image_id!r}: {fault} ({last.filename}, line {last.lineno}); correct the file"
        ) from None
    if returned is None:
        return None
    where = f"metric {metric.name}: image {image_id!r}"
    try:
        number = float(returned) if isinstance(returned, Real) else math.nan
    except OverflowError:
        raise InputError(f"{where}: gave {type(returned).__name__} larger than any float; correct `measure`") from None
    if not math.isfinite(number):
        description = f"{type(returned).__name__} {str(returned)[:40]!r}"
        raise InputError(f"{where}: gave {description}; return a number, or None for no value")
    if metric.kind == "share" and number not in (0, 1):
        raise InputError(
            f'{where}: gave {number:g}; a share\'s values are 0 and 1, correct `measure` or set kind="mean"'
        )
    low, high = metric.range
    if not low <= number <= high:
        raise InputError(f"{where}: {number:g} is outside its range ({low:g}, {high:g}); correct `range` or `measure`")
    return number


@lru_cache(64)
def _compile_metric(name: str, source: str, reserved_names: tuple[str, ...]) -> Metric:
    if name in reserved_names:
        raise InputError(f"metric {name}: Assay has a metric of this name; rename the file and its METRIC")
    file = f"{name}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # lines for tracebacks
    module: dict[str, object] = {"__name__": f"assay_own_metric_{name}", "__file__": file}
    try:
        exec(compile(source, file, "exec"), module)  # noqa: S102  the suite's own code, as its checkpoints are
    except SyntaxError as error:
        raise InputError(f"metric {name}: {file}, line {error.lineno}: {error.msg}; correct the file") from None
    except (Exception, SystemExit) as error:
        message = " ".join(str(error).split())
        raise InputError(
            f"metric {name}: {file} fails on import ({type(error).__name__}: {message}); correct it"
        ) from None
    metric = module.get("METRIC")
    if not isinstance(metric, Metric):
        raise InputError(
            f"metric {name}: {file} holds no `METRIC = Metric(...)`; see ray_jobs/metrics/builtin/empty.py for one"
        )
    if metric.name != name:
        raise InputError(f"metric {name}: its METRIC is named {metric.name!r}; name it like its file")
    if metric.measure_all is not None:
        raise InputError(
            f"metric {name}: its METRIC has `measure_all`, which only Assay's own have; give `measure` alone"
        )
    if not callable(metric.measure):
        raise InputError(f"metric {name}: its METRIC has no `measure`; give a function of CaptionContext")
    return metric
