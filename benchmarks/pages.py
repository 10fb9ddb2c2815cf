"""Measures Assay's pages: milliseconds of each question to the API server, and the server's memory.

    .assay/control/bin/python -m benchmarks.pages [--rows 1000 100000 1280000] [--keep FOLDER]

Makes synthetic runs (`benchmarks.pages_root`), then asks the application as Airflow mounts it, with Airflow's login,
in this process. The first question builds the table of the pair; each other one is asked three times, and the slowest
counts. Seconds of a core are those of this process, DuckDB's threads included. Memory is this process's resident set
before the first question and after the last.
"""

import argparse
import logging
import os
import resource
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

QUESTIONS = {
    "checkpoints": "checkpoints?suite=demo",
    "ten worst": "pairs?{pair}&limit=10",
    "page of 50": "pairs?{pair}&limit=50",
    "sort, another metric": "pairs?{pair}&limit=50&sort=chrf&by=right&order=desc",
    "filter by range": "pairs?{pair}&limit=50&metric_min=judge:0.2&metric_max=judge:0.3",
    "filter by text": "pairs?{pair}&limit=50&q=thing 333",
    "filter by status": "pairs?{pair}&limit=50&status=truncated",
    "filter by label": "pairs?{pair}&limit=50&label=class 7",
    "last page": "pairs?{pair}&limit=50&offset={last}",
    "histogram": "histogram?{pair}&metric=judge&bins=40",
    "compare": "compare?{pair}",
    "image": "image?run={right}&golden=0123456789abcdef&part=part-00000&row=5",
}
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 1_280_000], help="images of a run")
    parser.add_argument("--keep", type=Path, help="make the roots here, and use those that are here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-pages-") as temporary:
        folder = arguments.keep or Path(temporary)
        os.environ |= {"AIRFLOW_HOME": f"{temporary}/airflow", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        pages = _start_pages()
        print("| question | images | ms | core ms |\n| --- | --- | --- | --- |")
        for rows in arguments.rows:
            _measure_root(pages, folder / f"root-{rows}", rows, Path(temporary))


def _measure_root(pages: Any, root: Path, rows: int, temporary: Path) -> None:
    from benchmarks.pages_root import make_root

    if not root.exists():
        make_root(root, rows)
    left, right = sorted(path.relative_to(root / "runs").as_posix() for path in root.glob("runs/*/*"))
    os.environ |= {"ASSAY_ROOT": str(root), "ASSAY_CACHE": str(temporary / f"cache-{rows}")}
    places = {"pair": f"left={left}&right={right}", "right": right, "last": max(0, rows - 50)}
    before = _read_memory()
    _print_row("first paint (table built)", rows, *_ask(pages, "pairs?{pair}&limit=10".format(**places)))
    for name, question in QUESTIONS.items():
        times = [_ask(pages, question.format(**places)) for _ in range(REPEATS)]
        _print_row(name, rows, *max(times))
    cache = sum(file.stat().st_size for file in (temporary / f"cache-{rows}").rglob("*") if file.is_file())
    print(f"| memory before and after, MB | {rows:,} | {before:.0f} -> {_read_memory():.0f} | |")
    print(f"| table on disk, MB | {rows:,} | {cache / 1e6:.1f} | |", flush=True)


def _ask(pages: Any, question: str) -> tuple[float, float]:
    """Returns the milliseconds that an answer took, on the clock and of a core. A 503 while a table is built is asked
    again, as a person would."""
    started, used = time.monotonic(), _read_core()
    while (answer := pages.get(f"/api/{question}")).status_code == 503:
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text[:500]
    return 1000 * (time.monotonic() - started), 1000 * (_read_core() - used)


def _print_row(name: str, rows: int, milliseconds: float, core: float) -> None:
    print(f"| {name} | {rows:,} | {milliseconds:.0f} | {core:.0f} |", flush=True)


def _start_pages() -> Any:
    """Returns a client of the application, logged in as a viewer."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    import_module("airflow.models").import_all_models()
    import_module("airflow.models.base").Base.metadata.create_all(import_module("airflow.settings").engine)
    manager = import_module("airflow.api_fastapi.app").create_auth_manager()
    user = import_module("airflow.api_fastapi.auth.managers.simple.user").SimpleAuthManagerUser
    host = import_module("fastapi").FastAPI()
    (pages,) = import_module("assay_airflow.ui.plugin").AssayPages.fastapi_apps
    host.mount(pages["url_prefix"], pages["app"])
    client = import_module("fastapi.testclient").TestClient(host, base_url="http://127.0.0.1/assay")
    client.headers["Authorization"] = f"Bearer {manager.generate_jwt(user(username='viewer', role='VIEWER'))}"
    assert client.get("/api/me").status_code == 200
    logging.disable(logging.WARNING)
    return client


def _read_core() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _read_memory() -> float:
    """Returns the resident set of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
