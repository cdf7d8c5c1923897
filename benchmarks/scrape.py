"""How long a scrape takes: of a running node with a queue of 1,000 jobs, as Prometheus asks.

    python -m benchmarks.scrape [--jobs 1000] [--scrapes 50]

The node is `sbnode serve --no-worker` over a spool and a SQLite queue of its own. The queue holds ``--jobs`` studies that
wait and ten times as many that are done; the counters have the labels of twenty scanner models, ten callers and five
destinations, in the files of five processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import yaml
from sqlalchemy import create_engine, text

from sbnode.config import load_config
from sbnode.jobs.client import JobClient
from sbnode.spool import Spool
from tests.integration.peers import free_port, wait_until
from tests.jobs.fakes import fill

DESTINATIONS = 5
CALLERS = 10
PROCESSES = 5
DONE_PER_JOB = 10
WARM_UP = 5
_COUNT = f"""
import sys
from sbnode import metrics
for number in range(20):
    for metric in (metrics.SLICE_THICKNESS, metrics.NOISE, metrics.VOLUME, metrics.INFERRED_RATIO):
        metric.labels(f"model {{number}}").observe(0.1)
for number in range({CALLERS}):
    for outcome in metrics.ASSOCIATIONS.named[1].values:
        metrics.ASSOCIATIONS.labels(f"CT{{number}}", outcome).inc()
    for status in metrics.INSTANCES.named[1].values:
        metrics.INSTANCES.labels(f"CT{{number}}", status).inc()
for number in range({DESTINATIONS}):
    for kind in ("seg", "stl", "sr", "preview"):
        for status in metrics.DELIVERIES.named[2].values:
            metrics.DELIVERIES.labels(f"d{{number}}", kind, status).inc()
    metrics.DELIVERY_DURATION.labels(f"d{{number}}").observe(1)
for stage in metrics.STAGE_DURATION.named[0].values:
    metrics.STAGE_DURATION.labels(stage).observe(1)
print("counted", flush=True)
sys.stdin.read()
"""


def main() -> None:
    """Measure and print a row of docs/monitoring.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--scrapes", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sbnode-scrape-") as name:
        folder = Path(name)
        config, port = _configure(folder)
        _fill_queue(config, options.jobs)
        with _node(config, port), _counting(folder / "spool" / "metrics"):
            times_ms, size_bytes, series = _scrape(f"http://127.0.0.1:{port}/metrics", options.scrapes)
    ordered = sorted(times_ms)
    print(f"{options.jobs} jobs waiting, {DONE_PER_JOB * options.jobs} done; {series} samples, {size_bytes // 1000} kB")
    print(
        f"median {statistics.median(ordered):.1f} ms, 95 % {ordered[int(0.95 * len(ordered))]:.1f} ms, "
        f"longest {ordered[-1]:.1f} ms of {len(ordered)} scrapes"
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}")


def _configure(folder: Path) -> tuple[Path, int]:
    port = free_port()
    settings = {
        "node": {"host": "127.0.0.1", "port": free_port()},
        "receive": {"calling_ae_titles": [f"CT{number}" for number in range(CALLERS)]},
        "spool": {"path": "spool", "min_free_bytes": 0, "pause_free_bytes": 0},
        "destinations": [
            {"name": f"d{number}", "ae_title": f"D{number}", "host": "127.0.0.1", "port": 1}
            for number in range(DESTINATIONS)
        ],
        "status": {"port": port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path, port


def _fill_queue(config: Path, jobs: int) -> None:
    """One study by the front door, and copies of its row: what the database counts are rows."""
    settings = load_config(config)
    spool = Spool(settings.spool.path, 0)
    queue = JobClient(settings, spool)
    queue.submit(fill(spool, slices=2))
    queue.close()
    engine = create_engine(f"sqlite:///{settings.spool.path.resolve() / 'queue.sqlite'}")
    with engine.begin() as connection:
        row = dict(connection.execute(text("SELECT * FROM workflow_status LIMIT 1")).mappings().one())
        names = ", ".join(row)
        insert = text(f"INSERT INTO workflow_status ({names}) VALUES ({', '.join(f':{name}' for name in row)})")
        kinds = [("process", "inference", number % 3 + 1) for number in range(3)]
        kinds += [("deliver", f"delivery.d{number}", 2) for number in range(DESTINATIONS)]
        copies = []
        for number in range(jobs * (1 + DONE_PER_JOB)):
            name, queue_name, priority = kinds[number % len(kinds)]
            status = "ENQUEUED" if number < jobs else "SUCCESS"
            copy = {"workflow_uuid": f"copy-{number}", "name": name, "queue_name": queue_name}
            copies.append({**row, **copy, "priority": priority, "status": status})
        connection.execute(insert, copies)
    engine.dispose()


@contextmanager
def _node(config: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "sbnode.cli", "serve", "--no-worker", "--config", str(config)]
    with (config.parent / "node.log").open("wb") as log, subprocess.Popen(command, stderr=log) as node:
        try:
            wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), 120, "the node answers")
            yield
        finally:
            node.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def _counting(shared: Path) -> Iterator[None]:
    """Processes that live and have counted."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    command = [sys.executable, "-c", _COUNT]
    workers = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        yield
    finally:
        for worker in workers:
            worker.communicate()


def _scrape(url: str, scrapes: int) -> tuple[list[float], int, int]:
    times_ms = []
    with httpx.Client() as client:
        for number in range(scrapes + WARM_UP):
            started = time.perf_counter()
            answer = client.get(url)
            if number >= WARM_UP:
                times_ms.append(1000 * (time.perf_counter() - started))
            answer.raise_for_status()
            time.sleep(0.05)
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    if "sbnode_queue_up 1.0" not in lines:
        raise SystemExit("the queue did not answer: nothing was measured")
    return times_ms, len(answer.content), len(lines)


if __name__ == "__main__":
    main()
