"""The report room: records in, one tidy table, one summary, one figure and one page out. Nothing here trains."""
