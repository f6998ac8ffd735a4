"""What a SQLite storage asks of its database, one file a noun: plain functions that take a connection."""
