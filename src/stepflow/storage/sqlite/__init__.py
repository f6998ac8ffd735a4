"""The SQLite backend: one file, several processes, nothing to install."""
