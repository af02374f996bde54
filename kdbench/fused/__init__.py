"""Losses made faster: one function of what two layers show, equal to an objective after a knowledge's `relate`.

Each has that pair as its reference, is a choice of the run (`fused`), and is offered by `Knowledge.fused`.
"""

VERSION = 1
"""Of the arithmetic of all of them, a part of the stages they train: raised when a change alters results."""
