"""sbnode: a DICOM node that returns the bone of the skull base. For research and education; not a medical device."""

__all__ = ["__version__"]

__version__ = "0.1.0"
