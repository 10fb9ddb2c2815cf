import pytest

from ray_jobs.inputs.errors import InputError
from ray_jobs.metrics import CaptionContext
from ray_jobs.metrics.custom import load_metrics, measure_image

POLITE = """
import functools
from ray_jobs.metrics import Metric

@functools.cache
def words():
    return {"please", "thanks"}

def measure(caption):
    return sum(word in words() for word in caption.words)

METRIC = Metric(name="polite", unit="words", direction=+1, range=(0, 1000), measure=measure)
"""
CAPTION = CaptionContext("thanks a lot please", 4, "stop")


def with_measure(body: str) -> str:
    return POLITE.replace("return sum(word in words() for word in caption.words)", body)


def test_a_file_of_a_team_is_a_metric() -> None:
    metric = load_metrics({"polite": POLITE})["polite"]
    assert measure_image(metric, CAPTION, "a") == 2.0
    assert (metric.unit, metric.direction, metric.kind, metric.needs) == ("words", 1, "mean", "nothing")


def test_a_file_written_for_an_earlier_version_is_a_metric() -> None:
    earlier = POLITE.replace("import Metric\n", "import Captioned, Metric\n").replace(
        "(caption)", "(caption: Captioned)"
    )
    assert measure_image(load_metrics({"polite": earlier})["polite"], CAPTION, "a") == 2.0


def test_it_is_compiled_once_a_process() -> None:
    assert load_metrics({"polite": POLITE})["polite"] is load_metrics({"polite": POLITE})["polite"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def measure(:\n", r"metric polite: polite\.py, line 1: invalid syntax"),
        ("x = 1\n\n\nif x\n", r"metric polite: polite\.py, line 4: expected ':'"),
        ("", "metric polite: polite.py holds no `METRIC = Metric"),
        ("METRIC = 3", "metric polite: polite.py holds no `METRIC = Metric"),
        ("import no_such_module", r"metric polite: polite\.py fails on import \(ModuleNotFoundError: No module named"),
        ("1 / 0", r"polite\.py fails on import \(ZeroDivisionError: division by zero\)"),
        ("x = '\x00'", "metric polite: polite.py"),
        (POLITE.replace('"polite"', '"rude"'), "metric polite: its METRIC is named 'rude'; name it like its file"),
        (POLITE.replace(", measure=measure", ""), "metric polite: its METRIC has no `measure`"),
        (POLITE.replace("direction=+1", "direction=2"), r"fails on import \(ValueError: direction must be"),
        (POLITE.replace("range=(0, 1000)", "range=(1, 0)"), r"fails on import \(ValueError: range must be"),
        (POLITE.replace(" measure=measure", " kind='median', measure=measure"), "ValueError: kind must be"),
        (POLITE.replace(" measure=measure", " needs='money', measure=measure"), "ValueError: needs must be"),
        (POLITE.replace('"words"', "3"), r"fails on import \(ValueError: unit must be a text, not 3\)"),
        (POLITE.replace("range=(0, 1000)", "range=5"), r"ValueError: range must be two numbers, \(low, high\), not 5"),
        (POLITE.replace("range=(0, 1000)", "range=(0, 1, 2)"), "ValueError: range must be two numbers"),
        (POLITE.replace("range=(0, 1000)", "range=('a', 'b')"), "ValueError: range must be two numbers"),
        (POLITE.replace("range=(0, 1000)", "range=(0, 10**400)"), "ValueError: range must be two numbers"),
        (POLITE.replace("range=(0, 1000)", "range=(0, float('nan'))"), "ValueError: range must be"),
        (POLITE.replace("measure=measure", "measure=measure, order=3"), "ValueError: order must be 1 or 2, not 3"),
        (POLITE.replace("measure=measure", "measure=3"), "metric polite: its METRIC has no `measure`"),
        (POLITE.replace("measure=measure", "measure=measure, measure_all=len"), "polite: its METRIC has `measure_all`"),
        ("raise SystemExit(3)", r"polite\.py fails on import \(SystemExit: 3\)"),
    ],
)
def test_a_file_that_is_no_metric_is_one_clear_line(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_metrics({"polite": source})
    assert "\n" not in str(error.value)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(InputError, match="metric polite: Assay has a metric of this name"):
        load_metrics({"polite": POLITE}, reserved_names=("polite",))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", r"ZeroDivisionError: division by zero \(polite\.py, line 10\)"),
        ("raise KeyError('a\\nb')", "KeyError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("return 'much'", "gave str 'much'; return a number, or None for no value"),
        ("return float('nan')", "gave float 'nan'"),
        ("return float('inf')", "gave float 'inf'"),
        ("return [1.0]", "gave list"),
        ("return 1j", "gave complex"),
        ("return -1", r"-1 is outside its range \(0, 1000\)"),
        ("return 10**400", "gave int larger than any float"),
        ("return -(10**5000)", "gave int larger than any float"),
        ("from fractions import Fraction; return Fraction(10**400)", "gave Fraction larger than any float"),
        ("return 1e9", r"1e\+09 is outside its range"),
    ],
)
def test_what_goes_wrong_on_an_image_names_it(body: str, message: str) -> None:
    metric = load_metrics({"polite": with_measure(body)})["polite"]
    with pytest.raises(InputError, match=rf"metric polite: image 'dir/a\.png': .*{message}") as error:
        measure_image(metric, CAPTION, "dir/a.png")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("body", ["return 0.5", "return 1e-300"])
def test_a_share_is_of_zeros_and_ones(body: str) -> None:
    share = with_measure(body).replace("range=(0, 1000)", "range=(0, 1), kind='share'")
    with pytest.raises(InputError, match=r"metric polite: image 'a': gave .*; a share's values are 0 and 1, correct"):
        measure_image(load_metrics({"polite": share})["polite"], CAPTION, "a")
    for fine in (True, 0, 1.0, None):
        metric = load_metrics({"polite": share.replace(body, f"return {fine}")})["polite"]
        assert measure_image(metric, CAPTION, "a") == fine


@pytest.mark.parametrize(
    ("body", "expected"),
    [("return None", None), ("return True", 1.0), ("return 3", 3.0),
     ("import numpy; return numpy.float32(0.5)", 0.5), ("import numpy; return numpy.int64(2)", 2.0)],
)  # fmt: skip
def test_any_number_type_and_none_are_values(body: str, expected: float | None) -> None:
    value = measure_image(load_metrics({"polite": with_measure(body)})["polite"], CAPTION, "a")
    assert value == expected
    assert value is None or type(value) is float
