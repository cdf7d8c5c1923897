"""The other side of the network: an Application Entity that keeps what it is sent, and one that sends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from threading import Condition

import pydicom
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    EncapsulatedSTLStorage,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

__all__ = ["HOST", "Archive", "send"]

HOST = "127.0.0.1"
FILES = {
    str(SegmentationStorage): "seg.dcm",
    str(EncapsulatedSTLStorage): "stl.dcm",
    str(Comprehensive3DSRStorage): "sr.dcm",
    str(SecondaryCaptureImageStorage): "preview.dcm",
}
"""What the archive keeps each class as."""


class Archive:
    """Receives SEG, Encapsulated STL and Structured Report and Secondary Capture into ``folder``."""

    def __init__(self, ae_title: str, folder: Path) -> None:
        self._folder = folder
        self._changed = Condition()
        self._received: dict[str, Path] = {}
        self._entity = AE(ae_title=ae_title)
        for sop_class in (*FILES, Verification):
            self._entity.add_supported_context(sop_class)
        self.port = 0

    def start(self) -> None:
        """Listen on a free port, which ``port`` then holds."""
        server = self._entity.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        assert server is not None
        self.port = server.socket.getsockname()[1]  # type: ignore[union-attr]

    def stop(self) -> None:
        """Close the port."""
        self._entity.shutdown()

    @property
    def received(self) -> dict[str, Path]:
        """Files by name, those of ``FILES``."""
        with self._changed:
            return dict(self._received)

    def wait(self, names: Iterable[str], timeout_s: float) -> bool:
        """Wait until all of ``names`` came; False when they didn't within ``timeout_s``."""
        wanted = set(names)
        with self._changed:
            return self._changed.wait_for(lambda: wanted <= self._received.keys(), timeout_s)

    def _store(self, event: evt.Event) -> int:
        name = FILES[str(event.request.AffectedSOPClassUID)]
        path = self._folder / name
        path.write_bytes(event.encoded_dataset())
        with self._changed:
            self._received[name] = path
            self._changed.notify_all()
        return 0x0000


CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage)
"""A folder from a CD also holds reports and localizers of other classes; a PACS routes them elsewhere."""


def send(paths: Iterable[Path], *, port: int, called: str, calling: str, patience_s: float) -> int:
    """Send the CT images among the files over one association, and return how many the node took.

    Raises:
        ConnectionError: the node can't be reached within ``patience_s``, or refuses an instance.
    """
    every = {path: _kind(path) for path in paths}
    files = [path for path, kind in every.items() if kind[0] in CT_CLASSES]
    kinds = {every[path] for path in files}
    if not files:
        raise ConnectionError("there is no CT image to send")
    entity = AE(ae_title=calling)
    entity.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]
    ends = time.monotonic() + patience_s
    while True:
        association = entity.associate(HOST, port, ae_title=called)
        if association.is_established:
            break
        if time.monotonic() > ends:
            raise ConnectionError(f"the node doesn't answer on port {port}")
        time.sleep(0.3)
    try:
        for path in files:
            status = association.send_c_store(path)
            if getattr(status, "Status", None) != 0x0000:
                raise ConnectionError(f"the node did not take {path.name}: status {getattr(status, 'Status', None)}")
    finally:
        association.release()
    return len(files)


def _kind(path: Path) -> tuple[str, str]:
    meta = pydicom.filereader.read_file_meta_info(path)
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
