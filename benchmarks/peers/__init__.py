"""Peers: other engines and ours, the same workloads on the same server in one run; one engine a file, each in its own environment."""
