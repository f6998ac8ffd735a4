"""Checking a store over its port: each run's record against itself, its journal and its family."""
