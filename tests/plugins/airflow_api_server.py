"""A stand-in for the routes of Airflow's public API with which a note is written, on a real socket."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PASSWORD, TOKEN = "sesame", "a-token"
RUN = "/api/v2/dags/validate_checkpoint/dagRuns/manual__2026-11-30T02%3A29%3A12%2B00%3A00"


class AirflowApiServer:
    """Answers a login, and keeps one note. `faults` are the statuses of its next answers."""

    def __init__(self, note: str | None = None) -> None:
        self.note, self.faults = note, list[int]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                login = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_right = login == {"username": "assay", "password": PASSWORD} and self.path == "/auth/token"
                self._answer(201 if is_right else 401, {"access_token": TOKEN})

            def do_GET(self) -> None:
                self._answer(*self._check(RUN))

            def do_PATCH(self) -> None:
                change = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = self._check(f"{RUN}?update_mask=note")
                if status == 200:
                    outer.note = change["note"]
                self._answer(status, answer)

            def _check(self, path: str) -> tuple[int, dict[str, Any]]:
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    return 401, {}
                return (200, {"note": outer.note}) if self.path == path else (404, {})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(outer.faults.pop(0) if outer.faults else status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()
