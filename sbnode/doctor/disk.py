"""The device of the spool: how full it is, and whether it is one that keeps what is written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sbnode.config import Config
from sbnode.doctor.observation import Observation, fail, ok, warn

__all__ = ["Disk", "examine_disk", "read_disk"]

_OF_A_NETWORK = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb2", "smb3", "smbfs"),
        *("fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "virtiofs"),
    }
)
_OF_A_CONTAINER = frozenset({"aufs", "fuse-overlayfs", "fuse.fuse-overlayfs", "overlay"})
_OF_MEMORY = frozenset({"ramfs", "tmpfs"})
_FEW_FILES = 0.05
"""Of the files that the device can hold."""
_AHEAD_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of the spool, and how old its newest study is."""

    file_system: str | None
    mount_point: str | None
    total_bytes: int
    free_bytes: int
    total_files: int
    free_files: int
    owner: int
    """The user of what a node wrote there; before a first start, who is to write there."""
    newest_ahead_s: float
    """How far the newest study lies in the future; 0 when it doesn't."""


def read_disk(spool: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Disk | None:
    """Return the facts of the folder, or None when it isn't there.

    Raises:
        OSError: it can't be looked at.
    """
    try:
        owner = _owner(spool)
    except FileNotFoundError:
        return None
    found = os.statvfs(spool)
    mount_point, file_system = _mount_of(spool.resolve(), mounts)
    newest_s = max((study.stat().st_mtime for study in (spool / "incoming").glob("*")), default=0.0)
    return Disk(
        file_system=file_system,
        mount_point=mount_point,
        total_bytes=found.f_frsize * found.f_blocks,
        free_bytes=found.f_frsize * found.f_bavail,
        total_files=found.f_files,
        free_files=found.f_favail,
        owner=owner,
        newest_ahead_s=max(0.0, newest_s - time.time()),
    )


def _owner(spool: Path) -> int:
    """Return whose the spool is. A volume of Kubernetes (fsGroup) belongs to root and is written to by its group."""
    for written in (spool / "queue.sqlite", spool / "incoming"):
        try:
            return written.stat().st_uid
        except (FileNotFoundError, PermissionError):
            continue
    owner = spool.stat().st_uid
    return os.geteuid() if owner == 0 and os.access(spool, os.W_OK) else owner


def examine_disk(config: Config, disk: Disk) -> Iterator[Observation]:
    """Say what of the device is in the way of the node."""
    yield _space(config, disk)
    yield _kind(config, disk)
    if disk.total_files and disk.free_files < _FEW_FILES * disk.total_files:
        yield warn(
            "spool files",
            f"{disk.free_files} more can be made",
            "the device runs out of inodes before it is full: shorten retention, or make a file system with more",
        )
    if disk.newest_ahead_s > _AHEAD_S:
        yield warn(
            "spool times",
            f"the newest study is from {disk.newest_ahead_s:.0f} s in the future",
            "the clock was set back: studies stay longer than retention says, and audit records are out of order",
        )


def _space(config: Config, disk: Disk) -> Observation:
    least = config.spool.min_free_bytes
    seen = f"{disk.free_bytes / 1e9:.1f} GB free of {disk.total_bytes / 1e9:.1f} GB"
    if disk.free_bytes < least:
        return fail(
            "spool space",
            f"{seen}, less than spool.min_free_bytes ({least / 1e9:.1f} GB): instances are refused with 0xA700",
            "free space, set retention.max_bytes or shorten retention.study_days; reception resumes by itself",
        )
    if disk.free_bytes < 2 * least:
        return warn(
            "spool space",
            f"{seen}; below {least / 1e9:.1f} GB, instances are refused",
            "set retention.max_bytes or shorten retention.study_days, or give the spool a larger device",
        )
    return ok("spool space", seen)


def _kind(config: Config, disk: Disk) -> Observation:
    kind = disk.file_system
    if kind in _OF_A_NETWORK:
        if config.queue.url is None:
            return fail(
                "spool device",
                f"{kind} is a file system of a network: SQLite's locks aren't safe on it, and the queue may break",
                "move spool.path to a local disk; or give queue.url a PostgreSQL database and mind that locks of "
                "workers and the order of writes depend on the server",
            )
        return warn(
            "spool device",
            f"{kind} is a file system of a network",
            "a local disk is safer: what C-STORE acknowledged is as safe as that server's writes",
        )
    if kind in _OF_A_CONTAINER:
        return fail(
            "spool device",
            f"{kind}: the spool goes when the container goes",
            "mount a volume at the spool: --volume sbnode-spool:/var/spool/sbnode, or a PersistentVolumeClaim",
        )
    if kind in _OF_MEMORY:
        return fail("spool device", f"{kind}: the spool is lost with the power", "move spool.path to a disk")
    return ok("spool device", kind or "of what kind can't be seen here")


def _mount_of(path: Path, mounts: Path) -> tuple[str | None, str | None]:
    """Return mount point and type of the file system that holds ``path``: the longest one, and of equal ones the last.

    The columns of mountinfo are in proc(5): the fifth is the mount point, and the type comes after a lone hyphen.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None, None
    best: tuple[str | None, str | None] = (None, None)
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best[0] or ""):
            best = (point, after.split()[0])
    return best
