"""The status page in Chromium while the node is idle, busy and in trouble: what it says, axe-core, keyboard, pictures.

The pictures of docs/status-page.md come from here: they are in build/viewer after `make viewer`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.association import Association

from simulator.head import simulate_head, write_head
from tests.conftest import REPOSITORY, unavailable
from tests.integration.peers import PATIENCE_S, Process, free_port, listens, program, sbnode_command, wait_until
from tests.integration.small_node import Archive, Node
from tests.integration.status_browser import DESK, PHONE, Visitor, chromium, with_password
from tests.scp.certificates import authority
from tests.scp.conftest import associate
from tests.scp.instances import ct_slice

AXE = REPOSITORY / "build" / "axe" / "package" / "axe.min.js"
"""What `make viewer` unpacks."""
ARTEFACTS = REPOSITORY / "build" / "viewer"
COLOURS = 256
SCREENS: dict[str, tuple[dict[str, int], str]] = {
    "light": (DESK, "light"),
    "dark": (DESK, "dark"),
    "phone": (PHONE, "light"),
}
pytestmark = [
    pytest.mark.viewer,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pipeline and the models make of the simulated head."""
    folder = tmp_path_factory.mktemp("head")
    write_head(folder / "ct", simulate_head())
    command = [*sbnode_command(), "run", str(folder / "ct"), "--out", str(folder / "out")]
    subprocess.run(command, cwd=REPOSITORY, check=True, timeout=800)
    kept = folder / "bundle"
    kept.mkdir()
    for name in ("preview.png", "surface.stl", "result.json"):
        shutil.copyfile(folder / "out" / name, kept / name)
    return kept


@dataclass
class Hospital:
    """A node that makes of every study what `bundle` holds, an archive, and a destination that is down."""

    node: Node
    archive: Archive
    browser: Browser

    def seen(self, state: str) -> None:
        """Look at the page on every screen: nothing is amiss in the browser, nor for axe-core; take a picture."""
        for name, (viewport, scheme) in SCREENS.items():
            visitor = Visitor.of(self.browser, self.node, viewport, color_scheme=scheme)
            assert not visitor.overflows(), name
            for picture in visitor.page.locator(".result img").all():
                picture.scroll_into_view_if_needed()
                picture.evaluate("image => image.decode()")
            visitor.page.evaluate("() => scrollTo(0, 0)")
            assert axe(visitor) == [], f"{state}, {name}"
            save(visitor.page.screenshot(full_page=True), ARTEFACTS / f"status-{state}-{name}.png")
            assert visitor.faults == []
            visitor.context.close()

    def count(self, state: str) -> int:
        return sum(item.state == state for item in self.node.items())


@pytest.fixture
def hospital(tmp_path: Path, bundle: Path) -> Iterator[Hospital]:
    shutil.copytree(bundle, tmp_path / "bundle")
    port = free_port()
    archive = Archive(port)
    # The one that is down is asked for one object, so that a study has one dead letter.
    down = {"name": "planning", "port": free_port(), "objects": ["stl"]}
    node = Node(tmp_path, port, idle_s=300, attempts=2, others=[down])
    with_password(node)
    with chromium() as browser:
        try:
            yield Hospital(node, archive, browser)
        finally:
            node.close()
            archive.close()


def axe(visitor: Visitor) -> list[str]:
    """What axe-core finds amiss by the rules of WCAG 2.2 A and AA and its best practices."""
    if not AXE.exists():
        unavailable("axe-core is not there: make viewer")
    # By the debugger's door, for the page lets no script in.
    visitor.page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = visitor.page.evaluate("() => axe.run()")
    assert len(found["passes"]) > 20
    return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


def save(png: bytes, path: Path) -> None:
    """Keep a screenshot with fewer colours, which takes a fraction of its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


def send(association: Association, study: str, *numbers: int) -> None:
    for number in numbers:
        image = ct_slice(number, study=study, series=f"{study}.1")
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        association.send_c_store(image)


def test_the_page_of_an_idle_a_busy_and_a_troubled_node(hospital: Hospital) -> None:
    node = hospital.node
    node.start()
    visitor = Visitor.of(hospital.browser, node)
    visitor.waits_for("state", "Idle: nothing to do")
    hospital.seen("idle")

    refuse = node.will("refuse")
    node.send("1.2.3.4")
    wait_until(lambda: hospital.count("rejected") == 1, 60, "the study is rejected")
    refuse.unlink()
    slow = node.will("slow", "0")
    planning = Archive(_port_of(node, "planning"))
    for study in ("1.2.5", "1.2.6"):
        node.send(study)
    wait_until(lambda: len(planning.received) == 2, 60, "both destinations have both results")
    slow.write_text("600")
    for study in ("1.2.7", "1.2.8", "1.2.9"):
        node.send(study)
    association = associate(node.port, calling="STORESCU")
    association.network_timeout = 600
    send(association, "1.2.10", *range(1, 30))
    visitor.waits_for("running", "Estimating the bone")
    visitor.waits_for("receiving", "29")
    wait_until(lambda: "Jobs: making results 3" in visitor.words("queue"), PATIENCE_S, "three jobs are in the queue")
    assert "From STORESCU (1)" in visitor.words("receiving")
    assert "Sent: 2 of 2 objects to archive" in visitor.words("results")
    assert "Rejected" in visitor.words("faults")
    hospital.seen("busy")
    association.release()

    planning.close()
    slow.write_text("0")
    node.kill_worker()  # it would sleep on
    wait_until(lambda: hospital.count("dead letter") == 3, 120, "three dead letters")
    wait_until(lambda: not hospital.count("queued") + hospital.count("running"), 60, "all else is done")
    visitor.waits_for("state", "3 new dead letters.")
    assert "planning doesn't take what it is sent." in visitor.words("state")
    visitor.page.get_by_label("Why Making the results").select_option("the study can't be used")
    visitor.page.get_by_role("button", name="Dismiss Making the results").click()
    visitor.page.get_by_role("status").filter(has_text="Dismissed. It is listed").wait_for()
    assert "1 dismissed" in visitor.words("faults")
    hospital.seen("trouble")

    planning = Archive(_port_of(node, "planning"))
    visitor.open()
    visitor.tab_to("Retry Sending the surface to planning")
    visitor.page.keyboard.press("Space")
    visitor.page.get_by_role("status").filter(has_text="Started again.").wait_for()
    visitor.waits_for("state", "2 new dead letters.", 60)
    wait_until(lambda: len(planning.received) == 1, 60, "what was retried is delivered")
    planning.close()
    assert visitor.faults == []
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="SEG of").first.click()
    assert download.value.path().read_bytes()[128:132] == b"DICM"


_PROXY = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} {tls};
    {certificate}
    location /sbnode/ {{
      proxy_pass {node}/;
      proxy_set_header Host {host};
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
}}
"""


@pytest.mark.parametrize(("tls", "host"), [(True, "$http_host"), (True, "node"), (False, "$http_host")])
def test_behind_a_proxy_under_a_path_of_its_own(tmp_path: Path, tls: bool, host: str) -> None:
    node = Node(tmp_path, free_port(), attempts=1)
    with_password(node)
    port = free_port()
    shown = authority(tmp_path)
    lines = f"ssl_certificate {shown.certificate}; ssl_certificate_key {shown.key};" if tls else ""
    content = _PROXY.format(
        folder=tmp_path, port=port, tls="ssl" if tls else "", certificate=lines, node=node.status_url, host=host
    )
    (tmp_path / "nginx.conf").write_text(content)
    command = [program("nginx", "nginx-light"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    proxy = Process.start("nginx", command, tmp_path / "nginx.log")
    try:
        proxy.ready(lambda: listens(port), timeout_s=PATIENCE_S)
        node.start()
        node.send()
        wait_until(lambda: sum(item.state == "dead letter" for item in node.items()) == 2, 60, "two dead letters")
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{port}/sbnode"
        with chromium() as browser:
            visitor = Visitor.of(browser, node, origin=origin, ignore_https_errors=True)
            visitor.waits_for("state", "2 dead letters")
            visitor.page.get_by_role("button", name="Retry Sending").first.click()
            visitor.page.get_by_role("status").filter(has_text="Started again.").wait_for()
            assert visitor.page.url.partition("?")[0] == f"{origin}/"
            assert visitor.faults == []
    finally:
        node.close()
        proxy.stop()


def _port_of(node: Node, destination: str) -> int:
    """The port on which the node looks for a destination."""
    content = yaml.safe_load(node.config.read_text())
    (port,) = [one["port"] for one in content["destinations"] if one["name"] == destination]
    return int(port)
