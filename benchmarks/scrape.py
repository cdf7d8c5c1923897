"""How long a scrape takes: of a running node with a queue of 1,000 jobs, as Prometheus asks.

    python -m benchmarks.scrape [--jobs 1000] [--scrapes 50]

The node is `sbnode serve --no-worker` over a spool and a SQLite queue of its own. The queue holds ``--jobs`` items that
wait and ten times as many that are done; the counters have all labels of twenty scanner models, ten callers and five
destinations, in the files of two workers.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
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
from sbnode.series import Instance, Series, SeriesKey
from sbnode.spool import Spool

DESTINATIONS = 5
CALLERS = 10
WORKERS = 2
START_S = 120
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
        with _node(config, port) as node, _counting(folder / "spool" / "metrics"):
            before_s = _cpu_s(node.pid)
            times_ms, size_bytes, samples = _scrape(f"http://127.0.0.1:{port}/metrics", options.scrapes)
            cpu_ms = 1000 * (_cpu_s(node.pid) - before_s) / (options.scrapes + WARM_UP)
    ordered = sorted(times_ms)
    print(
        f"{options.jobs} jobs waiting, {DONE_PER_JOB * options.jobs} done; {samples} samples, {size_bytes // 1000} kB"
    )
    print(f"processor time of the node: {cpu_ms:.1f} ms for each scrape")
    print(
        f"median {statistics.median(ordered):.1f} ms, 95 % {ordered[int(0.95 * len(ordered))]:.1f} ms, "
        f"longest {ordered[-1]:.1f} ms of {len(ordered)} scrapes"
    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}")


def _configure(folder: Path) -> tuple[Path, int]:
    port = _free_port()
    settings = {
        "node": {"host": "127.0.0.1", "port": _free_port()},
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
    key = SeriesKey("1.2.3", "1.2.3.1")
    instance = Instance(
        path=config,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3.1.1",
        key=key,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    queue.submit([Series.of(key, [instance])])
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
def _node(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "sbnode.cli", "serve", "--no-worker", "--config", str(config)]
    with (config.parent / "node.log").open("wb") as log, subprocess.Popen(command, stderr=log) as node:
        try:
            deadline_s = time.monotonic() + START_S
            while not _answers(f"http://127.0.0.1:{port}/healthz"):
                if node.poll() is not None or time.monotonic() > deadline_s:
                    raise SystemExit((config.parent / "node.log").read_text())
                time.sleep(0.1)
            yield node
        finally:
            node.terminate()


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far (proc(5): utime and stime, in ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        for _ in range(WORKERS)
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
