"""What a result is filed under, however the source is encoded."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from sbnode.filing import filing_digest


def header(referenced: str = "1.2.3") -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", referenced
    made = Dataset()
    made.PatientID, made.PatientName, made.AccessionNumber = "4711", "A^B", "ACC"
    made.ReferencedStudySequence = Sequence([item])
    return made


def read_again(source: Dataset, *, implicit: bool, undefined_length: bool) -> Dataset:
    """Encode a header and read it as it comes over an association: not decoded yet."""
    sequence = source["ReferencedStudySequence"]
    sequence.is_undefined_length = undefined_length
    sequence.value[0].is_undefined_length_sequence_item = undefined_length
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, True
    write_dataset(stream, source)
    stream.seek(0)
    return read_dataset(stream, implicit, True)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("undefined_length", [False, True])
def test_the_digest_is_that_of_the_values_not_of_their_encoding(implicit: bool, undefined_length: bool) -> None:
    found = filing_digest(read_again(header(), implicit=implicit, undefined_length=undefined_length))
    assert found == filing_digest(read_again(header(), implicit=False, undefined_length=False))
    assert found != filing_digest(read_again(header("1.2.4"), implicit=implicit, undefined_length=undefined_length))
