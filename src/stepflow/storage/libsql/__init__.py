"""The libSQL backend: SQLite's schema and operations on a server, as Turso hosts it, over Hrana 3."""
