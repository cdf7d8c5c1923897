"""`make demo`: a node, a sender and a receiver on this machine, from a head CT to the bone of its skull base."""
