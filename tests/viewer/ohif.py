"""OHIF as a clinician has it: in Chromium, in front of an Orthanc with DICOMweb."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page

from tests.conftest import REPOSITORY, unavailable
from tests.integration.peers import HOST, PATIENCE_S, Orthanc, Process, free_port, listens, program

DIST = REPOSITORY / "build" / "ohif" / "package" / "dist"
"""What `make viewer` unpacks."""
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
)
LOAD_TIMEOUT_MS = 90_000
SETTLE_MS = 2_000
"""Time to draw, after which a screenshot is taken."""
_NGINX = """
user {user};
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  include /etc/nginx/mime.types;
  types {{ application/wasm wasm; }}
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port};
    root {dist};
    add_header Cross-Origin-Opener-Policy same-origin;
    add_header Cross-Origin-Embedder-Policy require-corp;
    location = /app-config.js {{ alias {folder}/app-config.js; gzip_static off; }}
    location /dicom-web/ {{ proxy_pass {orthanc}; proxy_set_header Host $http_host; proxy_buffering off; }}
    location / {{ try_files $uri /index.html; }}
  }}
}}
"""
_SETTINGS = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/dicom-web",
                "qidoSupportsIncludeField": False,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}


def start_web_server(folder: Path, orthanc: Orthanc) -> tuple[Process, str]:
    """Serve OHIF and Orthanc's DICOMweb at one origin; return nginx and the origin."""
    if not DIST.exists():
        unavailable("OHIF is not there: make viewer")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "app-config.js").write_text(f"window.config = {json.dumps(_SETTINGS)};")
    (folder / "nginx.conf").write_text(
        _NGINX.format(user=getpass.getuser(), folder=folder, host=HOST, port=port, dist=DIST, orthanc=orthanc.url)
    )
    command = [program("nginx", "nginx-light"), "-p", folder, "-c", folder / "nginx.conf"]
    process = Process.start("nginx", command, folder / "nginx.log")
    process.ready(lambda: listens(port), timeout_s=PATIENCE_S)
    return process, f"http://{HOST}:{port}"


@dataclass(frozen=True)
class Shot:
    """A screenshot of one viewport and where its pixels lie.

    ``rgb`` is uint8 (rows, columns, 3); ``origin_mm`` the patient position of the middle of its first pixel, LPS;
    ``across_mm`` and ``down_mm`` the steps from one pixel to the next.
    """

    rgb: NDArray[np.uint8]
    origin_mm: NDArray[np.float64]
    across_mm: NDArray[np.float64]
    down_mm: NDArray[np.float64]

    def positions_mm(self) -> NDArray[np.float64]:
        """Patient positions of all pixels (rows, columns, 3)."""
        rows, columns = np.indices(self.rgb.shape[:2])
        return self.origin_mm + columns[..., None] * self.across_mm + rows[..., None] * self.down_mm


class Viewer:
    """One study in OHIF's basic viewer."""

    def __init__(self, page: Page, origin: str, study_uid: str) -> None:
        self.page = page
        page.goto(f"{origin}/viewer?StudyInstanceUIDs={study_uid}")
        page.wait_for_function("() => window.cornerstone && window.services", timeout=LOAD_TIMEOUT_MS)
        page.wait_for_function(_SHOWN, timeout=LOAD_TIMEOUT_MS)
        self._close_dialogs()

    def _close_dialogs(self) -> None:
        for words in ("Skip all", "Confirm and hide"):
            button = self.page.get_by_text(words, exact=False)
            if button.count():
                button.first.click()

    def load_segmentation(self) -> None:
        """Double-click the thumbnail of the segmentation and say yes, as a reader does; wait until it is listed."""
        self.page.locator('[data-cy="study-browser-thumbnail-no-image"]').first.dblclick()
        self.page.get_by_role("button", name="Yes").click(timeout=LOAD_TIMEOUT_MS)
        self.page.wait_for_function(_LISTED, timeout=LOAD_TIMEOUT_MS)
        self.page.wait_for_timeout(SETTLE_MS)

    def overlay(self, *, shown: bool) -> None:
        """Show or hide all segments."""
        self.page.evaluate(_VISIBILITY, shown)
        self.page.wait_for_timeout(SETTLE_MS)

    def segment_labels(self) -> Sequence[str]:
        """What the panel lists."""
        return self.page.evaluate(
            "() => window.services.segmentationService.getSegmentations().flatMap("
            "s => Object.values(s.segments).map(t => t.label))"
        )

    def show(self, position_mm: Sequence[float]) -> None:
        """Scroll to the slice nearest to a patient position."""
        self.page.evaluate(_JUMP, list(position_mm))
        self.page.wait_for_timeout(SETTLE_MS)

    def shot(self) -> Shot:
        """A screenshot of the first viewport."""
        where: dict[str, Any] = self.page.evaluate(_WHERE)
        box = where["box"]
        png = self.page.screenshot(clip=box)
        rgb = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
        origin, across, down = (np.array(where[name]) for name in ("origin", "across", "down"))
        return Shot(rgb, origin, across - origin, down - origin)


_FIRST = """
const viewport = () => window.cornerstone.getRenderingEngines().flatMap(e => e.getViewports())
  .find(v => v.element.offsetParent !== null && v.type !== 'video');
"""
_SHOWN = f"""() => {{ {_FIRST} const v = viewport(); return !!v && !!v.getImageData(); }}"""
_LISTED = "() => window.services.segmentationService.getSegmentations().length > 0"
_VISIBILITY = f"""(shown) => {{
  {_FIRST}
  const {{ segmentation, Enums }} = window.cornerstoneTools;
  const id = viewport().id;
  for (const one of segmentation.state.getSegmentationRepresentations(id)) {{
    segmentation.config.visibility.setSegmentationRepresentationVisibility(
      id, {{ segmentationId: one.segmentationId, type: Enums.SegmentationRepresentations.Labelmap }}, shown);
  }}
  viewport().render();
}}"""
_JUMP = f"""(point) => {{
  {_FIRST}
  const v = viewport();
  const distance = (id) => {{
    const plane = window.cornerstone.metaData.get('imagePlaneModule', id);
    const n = [0, 1, 2].map(k => plane.rowCosines[(k + 1) % 3] * plane.columnCosines[(k + 2) % 3]
      - plane.rowCosines[(k + 2) % 3] * plane.columnCosines[(k + 1) % 3]);
    return Math.abs([0, 1, 2].reduce((sum, k) => sum + n[k] * (point[k] - plane.imagePositionPatient[k]), 0));
  }};
  const ids = v.getImageIds();
  const far = ids.map(distance);
  return window.cornerstone.utilities.jumpToSlice(v.element, {{ imageIndex: far.indexOf(Math.min(...far)) }});
}}"""
_WHERE = f"""() => {{
  {_FIRST}
  const v = viewport();
  const canvas = v.canvas.getBoundingClientRect();
  return {{
    box: {{ x: canvas.x, y: canvas.y, width: Math.floor(canvas.width), height: Math.floor(canvas.height) }},
    origin: Array.from(v.canvasToWorld([0.5, 0.5])),
    across: Array.from(v.canvasToWorld([1.5, 0.5])),
    down: Array.from(v.canvasToWorld([0.5, 1.5])),
  }};
}}"""
