"""What the SQL backends share: how records lie in rows, and how schemas move forward."""
