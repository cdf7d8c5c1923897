"""Write what the node is made of as a CycloneDX bill of materials: python -m scripts.sbom LOCK OUTPUT.

Names, versions, hashes and who needs whom come from the lock file, licences from what is installed. The same lock gives
the same bytes: no time stands in it, and its serial number follows from its content. Fails when a package has no
licence or no hash.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.markers import Marker

from sbnode import __version__
from scripts.licences import licence, said

_PIN = re.compile(r"(?P<name>[a-z0-9-]+)(\[[^]]*\])?==(?P<version>\S+)( ; (?P<marker>[^\\\n]+))?")


@dataclass(frozen=True)
class Locked:
    """One package of a lock: the SHA-256 of each file that may be installed, and who needs it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    needed_by: tuple[str, ...]
    """Names of packages; without a name, the node itself."""


def locked(text: str) -> Iterator[Locked]:
    """Yield the packages of a lock file that belong on a machine like this one."""
    for block in re.split(r"\n(?=[a-z0-9])", text):
        pin = _PIN.match(block)
        if pin is None or (pin["marker"] and not Marker(pin["marker"].strip()).evaluate()):
            continue
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
        via = re.findall(r"^    #(?: via|  ) +(\S.*)$", block, re.MULTILINE)
        needed_by = ("" if name.startswith("-r ") else name for name in via)
        yield Locked(pin["name"], pin["version"], tuple(hashes), tuple(needed_by))


def bill(packages: list[Locked]) -> str:
    """Return the bill of materials of the packages, as CycloneDX 1.6 in JSON.

    Raises:
        ValueError: a package has no hash, isn't installed, or says no licence; the message names it.
    """
    node = Component(
        name="sbnode",
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref="sbnode",
        licenses=[LicenseFactory().make_with_id("Apache-2.0")],
    )
    components = {package.name: _component(package) for package in packages}
    bom = Bom(components=components.values(), metadata=BomMetaData(component=node))
    needs: dict[str, list[Component]] = {name: [] for name in ("", *components)}
    for package in packages:
        for name in package.needed_by:
            needs[name].append(components[package.name])
    for name, needed in needs.items():
        bom.register_dependency(components[name] if name else node, needed)
    bom.serial_number = uuid5(NAMESPACE_URL, repr((__version__, packages)))
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _component(package: Locked) -> Component:
    if not package.hashes:
        raise ValueError(f"{package.name}: the lock holds no hash of it")
    return Component(
        name=package.name,
        version=package.version,
        bom_ref=f"{package.name}=={package.version}",
        purl=PackageURL("pypi", name=package.name, version=package.version),
        licenses=[_licence(package.name)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes],
    )


def _licence(name: str) -> License:
    """The licence of an installed package: in SPDX, or in its own words where SPDX has none for it."""
    try:
        names = said(name)
        return LicenseFactory().make_from_string(licence(name))
    except PackageNotFoundError as error:
        raise ValueError(f"{name} isn't installed, so its licence can't be read") from error
    except ValueError as error:
        if not names:
            raise ValueError(f"{name} says nothing of its licence") from error
        return LicenseFactory().make_with_name(names[0])


def main(lock: Path, output: Path) -> None:
    """Write the bill of materials of ``lock`` to ``output``."""
    packages = list(locked(lock.read_text(encoding="utf-8")))
    try:
        content = bill(packages)
    except ValueError as error:
        raise SystemExit(f"{lock}: {error}") from error
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(content, encoding="utf-8")
    print(f"{output}: {len(packages)} packages, each with version, licence and hash")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
