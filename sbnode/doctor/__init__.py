"""What is wrong with a node and what to do, and the facts of it in one file without patient data, for whoever helps."""

from __future__ import annotations

from sbnode.doctor.bundle import write_bundle, write_machine_bundle
from sbnode.doctor.examination import Examination, examine
from sbnode.doctor.observation import Observation

__all__ = ["Examination", "Observation", "examine", "write_bundle", "write_machine_bundle"]
