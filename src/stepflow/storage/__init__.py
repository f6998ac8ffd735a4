"""The storage port and its backends: one contract, kept by each of them."""
