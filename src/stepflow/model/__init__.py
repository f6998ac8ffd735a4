"""Frozen records and closed unions: what a run, a journal, an event is."""
