"""Endpoints: one function for each route, by noun."""
