"""What makes the region model: a labelled skull, random coarse scans of it, the network and its training."""
