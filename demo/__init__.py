"""The demo that ``make demo`` runs. Begin reading in ``workflow.py``; ``README.md`` says what each file is."""
