"""docs/tutorial.md, followed word by word but for its ports: from nothing to the bone in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import sync_playwright

from tests.conftest import REPOSITORY
from tests.integration.peers import HOST, Process, free_port, listens, program, wait_until
from tests.viewer.ohif import CHROMIUM_FLAGS, LOAD_TIMEOUT_MS, Viewer

pytestmark = [pytest.mark.viewer, pytest.mark.timeout(1200)]
PAGE = REPOSITORY / "docs" / "tutorial.md"
SERVERS = {"Orthanc": "8042", ".venv/bin/sbnode serve": "9464", "nginx": "3000"}
"""How the commands begin that are given a terminal of their own, and a port that each opens."""
LEFT_OUT = ("make install", "service ", "scripts/")
"""What `make viewer` has done."""
PORTS = ("3000", "4242", "8042", "9464", "11112")


def commands() -> list[str]:
    """Return every command of the page, in its order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    return [line for line in lines if not line.startswith(LEFT_OUT)]


class Reader:
    """Somebody who follows the page, in a folder that looks like a clone and on ports that are free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in PORTS}
        self.processes: list[Process] = []
        for name in ("models", "simulator", "config.schema.json"):
            (folder / name).symlink_to(REPOSITORY / name)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "build").mkdir()
        (folder / "build" / "ohif").symlink_to(REPOSITORY / "build" / "ohif")
        shutil.copytree(REPOSITORY / "demo" / "hospital", folder / "demo" / "hospital")
        for path in (folder / "demo" / "hospital").iterdir():
            path.write_text(self._elsewhere(path.read_text(encoding="utf-8")), encoding="utf-8")
        with (folder / "demo" / "hospital" / "config.yaml").open("a", encoding="utf-8") as config:
            config.write(f"node: {{port: {self.ports['11112']}}}\nstatus: {{port: {self.ports['9464']}}}\n")

    def _elsewhere(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)

    def follow(self, command: str) -> None:
        """Type a command of the page; one that serves is left running once it does."""
        line = self._elsewhere(command)
        served = next((port for beginning, port in SERVERS.items() if command.startswith(beginning)), None)
        if served is None:
            subprocess.run(["bash", "-euc", line], cwd=self.folder, check=True, timeout=600)
            return
        name = command.split()[0].rpartition("/")[2]
        started = Process.start(name, ["bash", "-c", f"cd {self.folder} && exec {line}"], self.folder / f"{name}.log")
        self.processes.append(started)
        started.ready(lambda: listens(int(self.ports[served])), 120)

    def study(self) -> str | None:
        """Return the study's UID once the archive has its SEG and the preview, which is sent last."""
        url = f"http://{HOST}:{self.ports['8042']}"
        with urlopen(f"{url}/series?expand", timeout=10) as answer:
            found = {series["MainDicomTags"]["Modality"] for series in json.load(answer)}
        if not {"SEG", "OT"} <= found:
            return None
        with urlopen(f"{url}/studies?expand", timeout=10) as answer:
            (study,) = json.load(answer)
        return str(study["MainDicomTags"]["StudyInstanceUID"])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    follower = Reader(tmp_path)
    yield follower
    for process in reversed(follower.processes):
        process.stop(timeout_s=60)


def test_from_zero_to_the_bone_in_a_browser(reader: Reader) -> None:
    for command in commands():
        if command.startswith("ls "):
            wait_until(lambda: reader.study() is not None, 900, "the results are in the archive", every_s=2)
        reader.follow(command)
    study = reader.study()
    assert study is not None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium", "chromium"), args=list(CHROMIUM_FLAGS))
        viewer = Viewer(browser.new_page(), f"http://{HOST}:{reader.ports['3000']}", study)
        seg = viewer.page.locator('[data-cy="study-browser-thumbnail-no-image"]', has_text="SEG")
        seg.first.dblclick()
        viewer.page.get_by_role("button", name="Yes").click(timeout=LOAD_TIMEOUT_MS)
        wait_until(lambda: list(viewer.segment_labels()) == ["Skull base", "Inferred thin bone"], 60, "it is listed")
        browser.close()
