"""sbnode: a DICOM node that returns the bone of the skull base. For research and education; not a medical device."""

import os

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "__version__"]

__version__ = "0.1.0"

IMPLEMENTATION_CLASS_UID = "2.25.264803937411905021768471340291870275871"
"""Names the software in associations and files (PS3.7 D.3.3.2); fixed for good."""

IMPLEMENTATION_VERSION_NAME = "SBNODE"

# ONNX Runtime 1.29 and above tells its makers of machine and model unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
