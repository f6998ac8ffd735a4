"""Looking at runs from outside: logs (metrics and traces join later)."""
