"""Accuracy on simulated scans with known truth, beside thresholds: `python -m benchmarks.accuracy`."""
