"""What kdbench costs beside its peers: every line measured side by side, in one process, after equal results."""
