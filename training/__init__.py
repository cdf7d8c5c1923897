"""What makes the model: simulated scans, the network, its loss, training and export. Not part of the node."""
