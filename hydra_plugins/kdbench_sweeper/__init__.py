"""Hydra's entry to kdbench's sweeper; Hydra finds plugin classes only below `hydra_plugins`."""
