"""The real peers of the integration tests: Orthanc, DCMTK's storescp, and the node itself, as processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pydicom
import yaml
from pydicom.dataset import Dataset

from tests.conftest import REPOSITORY, unavailable

HOST = "127.0.0.1"
PATIENCE_S = 60
"""So long is waited for what takes a moment: the machine may be slow and busy."""
# DCMTK waits for delayed acknowledgements otherwise: 400 slices took 20 s instead of 2.
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}
_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_LOG_TAIL_LINES = 60


_HANDED_OUT: set[int] = set()


def free_port() -> int:
    """A TCP port that nobody listens on, another one each time.

    It isn't one of those that the system gives by itself, to connections and to whoever listens on port 0: such a one
    may be taken again before it is used.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, lowest) if lowest > 12_000 else 0
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            found = int(probe.getsockname()[1])
            if found not in _HANDED_OUT:
                _HANDED_OUT.add(found)
                return found


def program(name: str, package: str) -> str:
    """The path of a peer's program; without it the test is skipped, or fails where CI=true."""
    unpacked = str(REPOSITORY / "build" / package / "usr" / "bin")  # where installing would start a server
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", unpacked]))
    return found or unavailable(f"{name} is not installed: apt-get install {package}, or make peers")


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.1) -> float:
    """Wait for ``condition``; return how many seconds it took, or fail saying ``what`` did not happen."""
    started = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - started
        if waited_s > timeout_s:
            raise AssertionError(f"after {waited_s:.0f} s still not: {what}")
        time.sleep(every_s)
    return time.monotonic() - started


def listens(port: int) -> bool:
    """Whether somebody accepts connections on ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


@dataclass
class Process:
    """A started process whose output goes to ``log``."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, command: Sequence[str | Path], log: Path) -> Process:
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env=_ENVIRONMENT,
            )
        process = cls(name, log, popen)
        RUNNING.append(process)
        return process

    def ready(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait until the process is ready; when it ends instead, fail with what it wrote."""

        def settled() -> bool:
            return self.popen.poll() is not None or condition()

        try:
            wait_until(settled, timeout_s, f"{self.name} is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        if self.popen.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """End the process and return its exit status; one that does not end in time is killed."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal_number)
        try:
            self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        if self in RUNNING:
            RUNNING.remove(self)
        return self.popen.returncode

    def tail(self) -> str:
        """The last lines that the process wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


RUNNING: list[Process] = []
"""Processes that have not been stopped yet; the report of a failed test shows what they wrote."""


@dataclass
class Orthanc:
    """An Orthanc with empty storage of its own, driven through its REST interface."""

    process: Process
    ae_title: str
    dicom_port: int
    http_port: int

    @classmethod
    def start(cls, folder: Path, modalities: Mapping[str, tuple[str, int]], ae_title: str = "ORTHANC") -> Orthanc:
        """Start one in ``folder``; ``modalities`` maps names to AE title and port of peers on this host."""
        binary = program("Orthanc", "orthanc")
        if not _DICOMWEB.exists():
            unavailable(f"{_DICOMWEB} is missing: apt-get install orthanc-dicomweb, or make peers")
        folder.mkdir(parents=True, exist_ok=True)
        dicom_port, http_port = free_port(), free_port()
        settings: dict[str, Any] = {
            "Name": ae_title,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "TemporaryDirectory": str(folder),
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "DicomAet": ae_title,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StableAge": 1,
            "DicomModalities": {
                name: {"AET": title, "Host": HOST, "Port": port, "AllowStorageCommitment": True}
                for name, (title, port) in modalities.items()
            },
            "Plugins": [str(_DICOMWEB)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps(settings))
        process = Process.start(ae_title, [binary, configuration], folder / "orthanc.log")
        orthanc = cls(process, ae_title, dicom_port, http_port)
        try:
            process.ready(lambda: orthanc.answers() and listens(dicom_port), timeout_s=PATIENCE_S)
        except AssertionError:
            process.stop()
            raise
        return orthanc

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    def answers(self) -> bool:
        """Whether the REST interface is up."""
        return http_status(f"{self.url}/system") == 200

    def get(self, path: str) -> Any:
        """GET a JSON resource."""
        return json.loads(self._request("GET", path))

    def post(self, path: str, body: object, timeout_s: float = 120) -> Any:
        """POST a JSON body and return the JSON answer."""
        return json.loads(self._request("POST", path, json.dumps(body).encode(), timeout_s))

    def upload(self, folder: Path) -> str:
        """Store every file of ``folder`` and return Orthanc's identifier of their one study."""
        studies = {
            json.loads(self._request("POST", "/instances", path.read_bytes()))["ParentStudy"]
            for path in sorted(folder.iterdir())
            if path.is_file()
        }
        (study,) = studies
        return str(study)

    def send(self, study: str, modality: str, timeout_s: float = 300) -> None:
        """C-STORE a study to a peer and wait until every instance was answered with success."""
        body = {"Resources": [study], "Synchronous": True, "Timeout": int(timeout_s)}
        answer = self.post(f"/modalities/{modality}/store", body, timeout_s)
        assert answer["FailedInstancesCount"] == 0, answer

    def instances(self, study: str, modality: str) -> list[str]:
        """Orthanc's identifiers of a study's instances of one modality."""
        series = self.get(f"/studies/{study}/series")
        return [
            instance
            for one in series
            if one["MainDicomTags"].get("Modality") == modality
            for instance in one["Instances"]
        ]

    def file(self, instance: str) -> bytes:
        """The stored DICOM file."""
        return self._request("GET", f"/instances/{instance}/file")

    def dataset(self, instance: str) -> Dataset:
        """The stored DICOM file, read."""
        return pydicom.dcmread(BytesIO(self.file(instance)))

    def _request(self, method: str, path: str, body: bytes | None = None, timeout_s: float = 120) -> bytes:
        with urlopen(Request(self.url + path, data=body, method=method), timeout=timeout_s) as answer:
            content: bytes = answer.read()
            return content


def http_status(url: str) -> int | None:
    """The status that a GET is answered with; None when nobody answers."""
    try:
        with urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except (URLError, OSError):
        return None


@dataclass
class Postgres:
    """A PostgreSQL server of its own, without any password, on this host."""

    command: Sequence[str | Path]
    log: Path
    port: int
    process: Process

    @classmethod
    def start(cls, folder: Path) -> Postgres:
        """Start one in ``folder``. It won't run as root, so that then it runs as the user of the package."""
        binaries = _newest_postgres()
        owner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        data, port = folder / "data", free_port()
        folder.mkdir(parents=True)
        if owner:
            shutil.chown(folder, "postgres")
        make = [*owner, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd="/")
        listen = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [*owner, binaries / "postgres", "-D", data, *listen]
        return cls(command, folder / "log", port, cls._process(command, folder / "log", port))

    @staticmethod
    def _process(command: Sequence[str | Path], log: Path, port: int) -> Process:
        process = Process.start("postgres", command, log)
        try:
            process.ready(lambda: listens(port), timeout_s=PATIENCE_S)
        except AssertionError:
            process.stop()
            raise
        return process

    def stop(self) -> None:
        """End it at once, as by a crash: it recovers at the next start."""
        children = Path(f"/proc/{self.process.popen.pid}/task/{self.process.popen.pid}/children").read_text().split()
        # runuser stays as the parent of the server.
        for pid in children[:1] if "runuser" in str(self.command[0]) else [self.process.popen.pid]:
            os.kill(int(pid), signal.SIGQUIT)
        self.process.stop()

    def start_again(self) -> None:
        """Start it again on its port, with its data."""
        self.process = self._process(self.command, self.log, self.port)

    def url(self, database: str) -> str:
        """The URL of a database, as ``queue.url`` takes it; it needn't exist yet."""
        return f"postgresql+psycopg://postgres@{HOST}:{self.port}/{database}"


def _newest_postgres() -> Path:
    """The folder of the server's programs, which Debian keeps out of the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    program("pg_ctlcluster", "postgresql")
    return max(found, key=lambda folder: int(folder.parent.name))


def start_storescp(folder: Path, port: int, ae_title: str = "STORESCP", options: Sequence[str] = ()) -> Process:
    """Start DCMTK's storescp, which writes what it receives into ``folder``; ``options`` are its own."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{ae_title.lower()}.log"
    binary = program("storescp", "dcmtk")
    listen = ["--verbose", "--promiscuous", "+xa", "--aetitle", ae_title, "-od", str(folder)]
    command = [binary, *listen, *options, str(port)]
    process = Process.start(ae_title, command, log)
    try:
        process.ready(lambda: listens(port), timeout_s=PATIENCE_S)
    except AssertionError:
        process.stop()
        raise
    return process


def sbnode_command() -> list[str]:
    """How this environment's command line is started: the installed script, else its entry point."""
    script = Path(sys.executable).with_name("sbnode")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from sbnode.cli import app; app()"]


@dataclass
class Node:
    """The node as an operator runs it: ``sbnode serve`` with a configuration file."""

    folder: Path
    settings: dict[str, Any]
    process: Process | None = field(default=None)
    command: Sequence[str] = field(default_factory=sbnode_command)

    @classmethod
    def configure(cls, folder: Path, **sections: Any) -> Node:
        """Prepare a node in ``folder`` that every peer of the tests may send to.

        ``sections`` are merged over these settings, one level deep.
        """
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "node": {"ae_title": "SBNODE", "host": HOST, "port": free_port()},
            "receive": {
                "calling_ae_titles": ["ORTHANC", "STORESCU", "ECHOSCU", "TEST"],
                "completion": {"idle_s": 10.0, "study_settle_s": 1.0},
            },
            "spool": {"path": str(folder / "spool"), "min_free_bytes": 10_000_000},
            "queue": {"first_retry_s": 1.0, "longest_retry_s": 2.0},
            "status": {"host": HOST, "port": free_port()},
            "log": {"format": "console"},
        }
        for name, section in sections.items():
            merge = isinstance(section, dict) and isinstance(settings.get(name), dict)
            settings[name] = {**settings[name], **section} if merge else section
        return cls(folder, settings)

    @property
    def ae_title(self) -> str:
        return str(self.settings["node"]["ae_title"])

    @property
    def port(self) -> int:
        return int(self.settings["node"]["port"])

    @property
    def status_url(self) -> str:
        return f"http://{HOST}:{self.settings['status']['port']}"

    @property
    def config(self) -> Path:
        """The configuration file, written anew from ``settings``."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def start(self, *options: str, timeout_s: float = 120) -> None:
        """Start ``sbnode serve`` and wait until it says that it is ready."""
        command = [*self.command, "serve", *options, "--config", str(self.config)]
        self.process = Process.start("sbnode", command, self.folder / "sbnode.log")
        self.process.ready(lambda: http_status(f"{self.status_url}/readyz") == 200, timeout_s)

    def stop(self, signal_number: int = signal.SIGTERM, timeout_s: float = 60) -> int | None:
        """End it and return its exit status; None when it was not running."""
        process, self.process = self.process, None
        return process.stop(signal_number, timeout_s) if process else None

    def run(self, *arguments: str | Path, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        """Run another subcommand to its end."""
        command = [*sbnode_command(), *(str(argument) for argument in arguments)]
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def metrics(self) -> dict[str, float]:
        """What /metrics says, by sample with its labels as written there."""
        with urlopen(f"{self.status_url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def peak_memory_bytes(self) -> int:
        """The most memory that each of the node's running processes has held (VmHWM of Linux), summed."""
        assert self.process is not None
        family, wanted = [], [self.process.popen.pid]
        while wanted:
            family.append(pid := wanted.pop())
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                wanted.extend(int(child) for child in children.read_text().split())
        status = [Path(f"/proc/{pid}/status").read_text() for pid in family]
        return sum(1024 * int(one.split("VmHWM:")[1].split()[0]) for one in status if "VmHWM:" in one)
