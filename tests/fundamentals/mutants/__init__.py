"""Mutants: the replay loop with one rule left out each. ``rules.py``, beside this package, says which and who notices."""
