"""Mutants: the engine with one promise broken each, planted in this process. The simulator has to notice every one."""
