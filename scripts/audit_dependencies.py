"""Look up every locked package in a database of known vulnerabilities: python -m scripts.audit_dependencies
[PIP-AUDIT].

A vulnerability fails. A package that could not be looked up is named; it fails too where AUDIT=strict, as a nightly run
should set it. Elsewhere the check goes on, for a machine without a network can look up nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
LOCKS = ("cpu", "openvino", "gpu", "dev")
SHOWN = 3
# The lock is complete and has hashes: nothing is resolved, downloaded or installed.
OPTIONS = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "15", "--format", "json")


@dataclass(frozen=True)
class Audited:
    """What is known of the packages of one lock: vulnerabilities, and what could not be looked up."""

    looked_up: int
    vulnerable: tuple[str, ...]
    unknown: tuple[str, ...]


def read(answer: str, complaint: str) -> Audited:
    """Return what pip-audit said, in JSON or, where it broke off, only on standard error."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = complaint.strip().splitlines()[-1:] or ["no answer"]
        return Audited(0, (), (f"all of them: {reason[0][:300]}",))
    vulnerable = [
        f"{package['name']} {package['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none'}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    unknown = [f"{package['name']}: {package['skip_reason']}" for package in packages if "skip_reason" in package]
    return Audited(len(packages) - len(unknown), tuple(vulnerable), tuple(unknown))


def main(program: str) -> int:
    """Audit each lock; return the exit status."""
    strict = os.environ.get("AUDIT") == "strict"
    failed = False
    for name in LOCKS:
        lock = f"requirements/{name}.txt"
        command = [program, *OPTIONS, "--requirement", str(REQUIREMENTS / f"{name}.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = read(done.stdout, done.stderr)
        print(f"{lock}: {found.looked_up} packages looked up, {len(found.vulnerable)} vulnerabilities", flush=True)
        for line in found.vulnerable:
            print(f"  VULNERABLE {line}", file=sys.stderr)
        if found.unknown:
            print(f"  NOT AUDITED: {len(found.unknown)} could not be looked up, such as", file=sys.stderr)
        for line in found.unknown[:SHOWN]:
            print(f"    {line}", file=sys.stderr)
        failed |= bool(found.vulnerable) or (strict and bool(found.unknown))
    if failed:
        print(
            "Raise what is vulnerable: make lock UPGRADE=1. Under AUDIT=strict nothing may be left out.",
            file=sys.stderr,
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "pip-audit"))
