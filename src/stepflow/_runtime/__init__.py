"""The thin half: performs what the engine decided. Clocks, tasks, threads and the storage are here."""
