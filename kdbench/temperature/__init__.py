"""Temperatures that differ from sample to sample: pure functions (student, teacher, mask) -> one for each row.

Each stands in the place of an objective's number, and is part of that objective: `IN_BATCH = True` in its module makes
the objective one that mixes samples (see `kdbench.objective`). A module may have a `check(key, options)`.
"""
