"""A spool with work in flight, as a release leaves it: ``python -m tests.faults.releases FILE.tar.xz``.

Written once for each release, and read by the tests of all later ones. It holds three studies: one delivered, one whose
results wait for a destination that is down, and one that was acknowledged a moment before the power was cut.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from tests.integration.peers import free_port, wait_until
from tests.integration.small_node import START_S, Archive, Node

DELIVERED, WAITING, ACKNOWLEDGED = "1.2.3", "1.2.4", "1.2.5"
_LEFT_OUT = ("tmp", "metrics", "workers")
"""What belongs to running processes."""


def write(target: Path) -> None:
    """Write the spool of this version."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        archive = Archive(port)
        node = Node(folder, port)
        try:
            node.start()
            node.send(DELIVERED)
            wait_until(lambda: len(archive.received) == 2, START_S, "the first study is delivered")
            wait_until(lambda: {item.state for item in node.items()} == {"done"}, START_S, "the first study is done")
            archive.close()
            node.send(WAITING)
            wait_until(lambda: "delivery_failed" in node.log(), START_S, "a delivery of the second study waits")
            node.send(ACKNOWLEDGED)
            node.kill()
        finally:
            node.close()
        with tarfile.open(target, "w:xz") as packed:
            for path in sorted((folder / "spool").iterdir()):
                if path.name not in _LEFT_OUT:
                    packed.add(path, path.name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
