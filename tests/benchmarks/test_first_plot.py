"""The clock of the benchmark of the first plot runs until a plot is drawn, in a browser that remembers nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import first_plot
from benchmarks.first_plot import Contestant
from benchmarks.report import Report

PAGE = """<!doctype html><svg class="main-svg"><g class="%s"><g class="points"></g></g></svg>
<script src="/part.js"></script>
<script>setTimeout(() => document.querySelector(".points").innerHTML = "<path d='M0 0h9'/>", %d)</script>"""
DELAYS = {"/this": 0, "/slow": 700, "/slower": 1500}
asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked.append(self.path)
        page = PAGE % ("scatterlayer", DELAYS.get(self.path, 0))
        body = (page if self.path in DELAYS else "// " + 50_000 * "x").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path in DELAYS else "text/javascript")
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_three_pages_in_turns(address: str) -> None:
    names = {"this": "/this", "optuna-dashboard": "/slow", "mlflow": "/slower"}
    report = Report("first_plot", False)
    first_plot.compare(report, [Contestant(name, address + path, 1) for name, path in names.items()], 2)
    rows = {row["system"]: row for row in report.rows}
    assert [path for path in asked if path in DELAYS] == 3 * list(names.values())
    assert asked.count("/part.js") == 9, "nothing comes from a cache"
    assert all(row["repeats"] == 2 and row["kb"] >= 50 for row in rows.values())
    assert rows["optuna-dashboard"]["low"] >= 700 and rows["mlflow"]["low"] >= 1500
    for name in ("optuna-dashboard", "mlflow"):
        target = report.targets[f"first plot: this over {name}"]
        ratio = rows["this"]["first_plot_ms"] / rows[name]["first_plot_ms"]
        assert target.value == pytest.approx(ratio, abs=0.01) and target.ok == (target.value <= target.target)
