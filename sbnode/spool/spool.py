"""Storing instances and results so that a power cut after the acknowledgement loses nothing."""

from __future__ import annotations

import errno
import os
import pwd
import re
import shutil
import threading
import uuid
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from sbnode.errors import ConflictingInstance, NotUnderstood, SpoolError, StorageFull, WrongSopClass
from sbnode.series import PARSER_FAULTS, Instance, Series, SeriesKey, instance_of, is_uid
from sbnode.spool.commitments import Commitments
from sbnode.spool.durable import flush
from sbnode.spool.header import image_digest, read_header
from sbnode.spool.holdings import Holdings
from sbnode.spool.record import Record
from sbnode.spool.session import open_session
from sbnode.spool.versions import History

__all__ = ["Spool", "Stored"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMLINK})
_JOB_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUFFIX = ".dcm"
_HISTORIES = 16
"""Of so many studies that are being corrected the history is kept in memory."""
_HISTORY_VERSIONS = 20_000
"""A history of more versions than this is not: it is made anew from the records for each correction."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an instance is kept. ``new`` is False when the very same data set was there already; ``instance`` says how
    often it took the place of an earlier one (``corrections``). ``late``: it was, and a correction has taken its place.
    """

    key: SeriesKey
    path: Path
    new: bool
    instance: Instance
    late: bool = False


class Spool:
    """The folders under ``path``. Safe for several threads, and for several processes on one machine.

    Args:
        path: created when missing.
        min_free_bytes: with less free space than this, nothing more is stored.
        max_instance_bytes: a deflated data set may not be longer than this when inflated.

    Raises:
        SpoolError: the folders can't be created or written.
    """

    def __init__(self, path: Path, min_free_bytes: int, max_instance_bytes: int = 1_000_000_000) -> None:
        self.path = path
        self.commitments = Commitments(path)
        self._min_free_bytes = min_free_bytes
        self._max_instance_bytes = max_instance_bytes
        self._incoming = path / "incoming"
        self._results = path / "results"
        self._durable_folders: set[Path] = set()
        self._folders_lock = threading.Lock()
        self._corrections_lock = threading.Lock()
        self._histories: dict[Path, History] = {}
        _require_own(self._incoming)
        try:
            for folder in (self._incoming, self._results, path / "tmp"):
                folder.mkdir(parents=True, exist_ok=True)
            flush(path)
            self._session, lock = open_session(path / "tmp")
        except OSError as error:
            raise SpoolError(f"the spool {path} can't be used: {error.strerror}. See spool.path.") from error
        weakref.finalize(self, os.close, lock)

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        dataset_bytes: bytes,
        digest: str = "",
    ) -> Stored:
        """Keep a data set as it was received. When this returns, it survives a power cut.

        ``digest`` is its SHA-256, hexadecimal, where that was computed as it came.

        A SOP Instance UID names one image in a study: the first one stays. The same image with other attributes of
        patient or study takes its place: so archives send studies again after a correction or merge of patients. What a
        correction replaced stays replaced, unless a sender takes back what it corrected itself.

        Raises:
            NotUnderstood: the data set can't be parsed, is truncated, or isn't what was announced.
            WrongSopClass: the data set is of another SOP Class than was announced.
            ConflictingInstance: another image has this SOP Instance UID.
            StorageFull: too little space is left.
            OSError: the device failed in another way.
        """
        instance = self._parse(sop_class_uid, sop_instance_uid, transfer_syntax_uid, dataset_bytes)
        record = Record.of(instance, dataset_bytes, calling_ae_title, digest)
        with _storage_full():
            while (kept := self._kept(record)) is None:
                # When another association is faster, look at what it stored.
                with suppress(FileExistsError):
                    self._write(record, dataset_bytes, self._name)
                    return Stored(instance.key, instance.path, True, instance)
            return self._again(kept, record) or self._correct(kept, record, dataset_bytes)

    def series(self, study_instance_uid: str) -> tuple[Series, ...]:
        """Return the series of a study, sorted by their UIDs; none when the study isn't there.

        Raises:
            SpoolError: a stored file is truncated or can't be read.
        """
        found = []
        for folder in self._folders(self._study_folder(study_instance_uid)):
            instances = [Record.read(path).instance for path in sorted(folder.glob("*" + _SUFFIX))]
            if instances:
                found.append(Series.of(SeriesKey(study_instance_uid, folder.name), instances))
        return tuple(found)

    def studies(self) -> tuple[str, ...]:
        """Return the Study Instance UIDs of all that is stored, sorted."""
        return tuple(sorted({key.study_instance_uid for key in self.stored()}))

    def stored(self) -> dict[SeriesKey, int]:
        """Return how many instances each series has, without opening them."""
        counts = {
            SeriesKey(study.name, series.name): sum(1 for _ in series.glob("*" + _SUFFIX))
            for study in self._folders(self._incoming)
            for series in self._folders(study)
        }
        return {key: count for key, count in counts.items() if count}

    def used_bytes(self) -> int:
        """Return how many bytes instances and results take."""
        folders = (self._incoming.glob("*/*/*"), self._results.glob("*/*"))
        return sum(path.stat().st_size for found in folders for path in found)

    def study_bytes(self, study_instance_uid: str) -> int:
        """Return how many bytes the instances of a study take."""
        return sum(path.stat().st_size for path in self._study_folder(study_instance_uid).glob("*/*" + _SUFFIX))

    def newest_s(self, study_instance_uid: str) -> float:
        """Return when the newest instance of a study was stored, in seconds since 1970; 0 when it has none."""
        times = (path.stat().st_mtime for path in self._study_folder(study_instance_uid).glob("*/*" + _SUFFIX))
        return max(times, default=0.0)

    def remove_study(self, study_instance_uid: str, newest_s: float) -> bool:
        """Delete the instances of a study, at once for whoever looks. For the process that stores.

        Returns:
            False, and nothing is deleted, when an instance came after ``newest_s``.
        """
        study = self._study_folder(study_instance_uid)
        with self._folders_lock:
            if self.newest_s(study_instance_uid) > newest_s:
                return False
            self._durable_folders = {folder for folder in self._durable_folders if folder.parent != study}
            self._remove(study)
            self._histories.pop(study, None)
            return True

    def remove_result(self, job_key: str) -> None:
        """Delete the results of a job."""
        self._remove(self.result_folder(job_key))

    def _remove(self, folder: Path) -> None:
        doomed = self._session / uuid.uuid4().hex
        with suppress(FileNotFoundError):
            folder.rename(doomed)
            flush(folder.parent)
        shutil.rmtree(doomed, ignore_errors=True)

    def count(self, key: SeriesKey) -> int:
        """Return how many instances of a series are stored."""
        return sum(1 for _ in self._series_folder(key).glob("*" + _SUFFIX))

    def holdings(self, sop_instance_uids: Collection[str]) -> Holdings:
        """Return where some instances are stored, in whatever study."""
        return Holdings.of(self._incoming, sop_instance_uids)

    def verify(self, series: Series) -> None:
        """Raise SpoolError unless every instance of ``series`` still has the bytes that were received."""
        for instance in series.instances:
            Record.read(instance.path).verify()

    def result_folder(self, job_key: str) -> Path:
        """Return the folder of a job's results. It exists once they are committed."""
        if _JOB_KEY.fullmatch(job_key) is None:
            raise SpoolError("a job key has up to 64 letters, digits, - and _")
        return self._results / job_key

    def newest_results(self, limit: int) -> tuple[tuple[str, float], ...]:
        """Return the keys of the jobs with the newest results, and when those were made, in seconds since 1970."""
        found: list[tuple[str, float]] = []
        with os.scandir(self._results) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    found.append((entry.name, entry.stat().st_mtime))
        return tuple(sorted(found, key=lambda one: (-one[1], one[0]))[:limit])

    @contextmanager
    def result(self, job_key: str) -> Iterator[Path]:
        """Give an empty folder for a job's results; make them durable and visible, all at once, when the block ends.

        When it ends with an error they are deleted. Results committed before under the same key stay: they are the
        same, and may be on their way.

        Raises:
            StorageFull: the device is full.
        """
        target = self.result_folder(job_key)
        unfinished = self._session / f"{job_key}.{uuid.uuid4().hex}"
        with _storage_full():
            unfinished.mkdir()
        try:
            with _storage_full():
                yield unfinished
                _flush_tree(unfinished)
                try:
                    unfinished.rename(target)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                flush(self._results)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def free_bytes(self) -> int:
        """Return how many bytes this process may still write."""
        return shutil.disk_usage(self.path).free

    def _parse(self, sop_class: str, sop_instance: str, transfer_syntax: str, data_set: bytes) -> Instance:
        if not is_uid(sop_instance):
            raise NotUnderstood("the Affected SOP Instance UID is not a UID")
        header = read_header(data_set, transfer_syntax, self._max_instance_bytes)
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = UID(transfer_syntax)
        try:
            instance = instance_of(header, Path())
        except PARSER_FAULTS as error:
            raise NotUnderstood(f"the data set can't be used: {type(error).__name__}") from error
        if instance.sop_class_uid != sop_class:
            raise WrongSopClass("the data set is of another SOP Class than its C-STORE request says")
        if instance.sop_instance_uid != sop_instance:
            raise NotUnderstood("the data set has another SOP Instance UID than its C-STORE request")
        folder = self._study_folder(instance.key.study_instance_uid) / instance.key.series_instance_uid
        return replace(instance, path=folder / (sop_instance + _SUFFIX))

    def _kept(self, record: Record) -> Record | None:
        """Return the instance of this UID that the study has, if any; a damaged one counts as none."""
        study = record.instance.path.parent.parent
        for series in self._folders(study):
            path = series / record.instance.path.name
            if path.exists():
                try:
                    return Record.read(path)
                except SpoolError:
                    return self._kept_or_removed(path)
        return None

    def _kept_or_removed(self, path: Path) -> Record | None:
        """Look again while nobody may name a file, for another association may have mended it; then remove it."""
        with self._folders_lock:
            try:
                return Record.read(path)
            except SpoolError:
                path.unlink(missing_ok=True)
                self._histories.pop(path.parent.parent, None)  # it may have counted there
                return None

    @staticmethod
    def _again(kept: Record, record: Record) -> Stored | None:
        """Return what is kept if it is the very same data set."""
        if kept.sha256 != record.sha256 or not _same_encoding(kept, record):
            return None
        # Who stored it may not have flushed the folder yet, and this sender is about to be answered too.
        flush(kept.instance.path.parent)
        return Stored(kept.instance.key, kept.instance.path, False, kept.instance)

    def _correct(self, kept: Record, record: Record, data_set: bytes) -> Stored:
        """Put the same image with other attributes of patient or study in the place of the one that is kept."""
        with self._corrections_lock:  # one at a time: each holds a second data set in memory
            kept = self._kept(record) or kept  # another association may have sent a correction meanwhile
            if (again := self._again(kept, record)) is not None:
                return again
            if not self._same_image(kept, record, data_set):
                raise ConflictingInstance("another data set with this SOP Instance UID is stored already")
            before = kept.instance
            record = record.in_place_of(kept)
            history = self._history(before.path.parent.parent)
            if history.is_late(record.versions[-1], before.filing):
                return Stored(before.key, before.path, False, before, late=True)
            self._write(record, data_set, os.replace)
            history.put(str(record.instance.path), record.versions)
            return Stored(record.instance.key, record.instance.path, True, record.instance)

    def _history(self, study: Path) -> History:
        """Return how the study was corrected; made from its records when it isn't in memory."""
        found = self._histories.pop(study, None)
        if found is None:
            found = History()
            for path in study.glob("*/*" + _SUFFIX):
                with suppress(SpoolError):  # a damaged one has none
                    found.put(str(path), Record.read(path).versions)
        if found.size <= _HISTORY_VERSIONS:
            self._histories[study] = found
        if len(self._histories) > _HISTORIES:
            self._histories.pop(next(iter(self._histories)), None)
        return found

    def _same_image(self, kept: Record, record: Record, data_set: bytes) -> bool:
        if _facts(kept.instance) != _facts(record.instance) or kept.instance.filing == record.instance.filing:
            return False
        digests = {
            image_digest(content, record.instance.transfer_syntax_uid, self._max_instance_bytes)
            for content in (kept.data_set(), data_set)
        }
        return len(digests) == 1

    def _write(self, record: Record, data_set: bytes, name: Callable[[Path, Path], None]) -> None:
        """Write a data set under a passing name, flush it, and have ``name`` give it its own."""
        if self.free_bytes() - record.data_set_bytes < self._min_free_bytes:
            raise StorageFull("the spool's free space is below spool.min_free_bytes")
        target = record.instance.path
        tmp = self._session / uuid.uuid4().hex
        try:
            with tmp.open("xb") as file:
                file.write(record.prefix())
                file.write(data_set)
                file.flush()
                os.fsync(file.fileno())
            self._make_durable_folder(target.parent)
            with self._folders_lock:  # against `remove_study`
                name(tmp, target)
            flush(target.parent)
        finally:
            tmp.unlink(missing_ok=True)

    @staticmethod
    def _name(tmp: Path, target: Path) -> None:
        # A link, because a rename would silently replace what another association stored meanwhile.
        os.link(tmp, target)

    def _make_durable_folder(self, series: Path) -> None:
        with self._folders_lock:
            if series in self._durable_folders:
                return
            series.mkdir(parents=True, exist_ok=True)
            flush(series.parent)
            flush(self._incoming)
            self._durable_folders.add(series)

    def _series_folder(self, key: SeriesKey) -> Path:
        return self._study_folder(key.study_instance_uid) / key.series_instance_uid

    def _study_folder(self, study_instance_uid: str) -> Path:
        if not is_uid(study_instance_uid):
            raise NotUnderstood("the Study Instance UID is not a UID")
        return self._incoming / study_instance_uid

    @staticmethod
    def _folders(parent: Path) -> list[Path]:
        try:
            return sorted(path for path in parent.iterdir() if is_uid(path.name))
        except FileNotFoundError:
            return []


def _require_own(folder: Path) -> None:
    """Keep the system's administrator from leaving files in the spool that the node's own user can't read.

    Raises:
        SpoolError: the user is root, and the spool that of another user.
    """
    if os.geteuid() != 0 or not folder.exists() or (owner := folder.stat().st_uid) == 0:
        return
    raise SpoolError(
        f"the spool is that of user {_user(owner)}, and what root writes there, that user can't read."
        f" Run this as that user: sudo -u {_user(owner)} ..."
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def _same_encoding(one: Record, other: Record) -> bool:
    return one.instance.transfer_syntax_uid == other.instance.transfer_syntax_uid


def _facts(instance: Instance) -> Instance:
    """Return what the header says of the image, and not of patient and study."""
    return replace(instance, path=Path(), patient="", filing="", corrections=0, superseded=())


@contextmanager
def _storage_full() -> Iterator[None]:
    """Turn what a full device raises into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("the device of the spool is full") from error
        raise


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            flush(Path(parent, name))
        flush(Path(parent))
