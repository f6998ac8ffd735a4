"""What it costs: one workload a file, each printing JSON; `python -m benchmarks` runs them all as one table."""
