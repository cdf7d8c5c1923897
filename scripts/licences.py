"""Write the table of what the node stands on and under which licences: licences.py OUTPUT.

Reads the names from the lock file and the licences from the metadata of what is installed; fails when one is
missing, unknown, or of a licence that would bind the node itself.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements" / "cpu.txt"
# What packages call their licence without saying it in SPDX, and what it is.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-CMU",
    "PSF-2.0",
    "Zlib",
}
# Used as unchanged libraries that their owner can replace, which is all that the LGPL and the MPL ask for.
LIBRARIES = {"LGPL-3.0-only", "MPL-2.0"}
HEAD = """\
# Licences

sbnode itself is under Apache-2.0. These are the packages that it runs on, from the lock file; `make licences`
makes the table from what is installed. Packages under the LGPL or MPL are imported as unchanged libraries: whoever
runs the node can replace them. Nothing here is under the GPL or the AGPL. The other builds of ONNX Runtime
are licensed like `onnxruntime`; the CUDA libraries that `EXTRA=gpu` adds are under NVIDIA's own terms.

| package | licence |
|---|---|
"""


def licence(name: str) -> str:
    """Return the SPDX expression of an installed package.

    Raises:
        PackageNotFoundError: it isn't installed.
        ValueError: what it says of its licence isn't known in SPDX; the message quotes it.
    """
    names = said(name)
    for candidate in names:
        if candidate in SPDX:
            return SPDX[candidate]
        if candidate in PERMISSIVE or metadata(name).get("License-Expression"):
            return candidate
    raise ValueError(f"{name}: unknown licence {names}")


def said(name: str) -> list[str]:
    """Return what an installed package says of its licence, the most exact first."""
    facts = metadata(name)
    if expression := facts.get("License-Expression"):
        return [str(expression)]
    classifiers = [c.split(" :: ")[-1] for c in facts.get_all("Classifier", []) if c.startswith("License ::")]
    text = str(facts.get("License") or "").strip()[:80]
    return [*classifiers, text] if text else classifiers


def main(output: Path) -> None:
    """Write the table to ``output``."""
    rows = []
    for name in re.findall(r"^([a-z0-9-]+)==\S+(?! ; sys_platform == 'win32')", LOCK.read_text(), re.MULTILINE):
        try:
            expression = licence(name)
        except PackageNotFoundError:
            continue
        except ValueError as error:
            raise SystemExit(str(error)) from error
        parts = set(re.findall(r"[A-Za-z0-9.-]+", expression)) - {"AND", "OR", "WITH"}
        if not parts <= PERMISSIVE | LIBRARIES:
            raise SystemExit(f"{name}: {expression} is not permissive")
        rows.append(f"| {name} | {expression} |\n")
    output.write_text(HEAD + "".join(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
