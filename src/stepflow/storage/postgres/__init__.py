"""PostgreSQL: the port over one schema of a database, for any number of workers on any number of machines."""
