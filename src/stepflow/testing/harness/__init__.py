"""The harness: workflows in memory on the real engine, with time, steps and crashes in the hands of a test."""
