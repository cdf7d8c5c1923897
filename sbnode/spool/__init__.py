"""The durable truth on disk: every acknowledged instance, and every finished result.

    <spool>/
    ├── incoming/<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm
    ├── results/<job key>/
    ├── commitments/            what archives were asked to prove and answered, and what is owed to senders
    └── tmp/<session>/          what is being written; swept when its process has gone

Nothing is ever seen half-written: a file or folder is written under a passing name (that of a small text beside it),
flushed to the device, and only then given its name; the folder that holds the name is flushed too.
"""

from __future__ import annotations

from sbnode.spool.commitments import Commitments, Reference, Report, Request
from sbnode.spool.holdings import Held, Holdings
from sbnode.spool.spool import Spool, Stored

__all__ = ["Commitments", "Held", "Holdings", "Reference", "Report", "Request", "Spool", "Stored"]
