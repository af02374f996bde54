"""Libraries that talk: their hints and bars are kept from the screen, their errors are not."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Lightning's hints and transformers' loading bars; nothing that says something went wrong."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    for name in ("pytorch_lightning", "lightning.pytorch", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Raised inside Lightning about torch's own trees: nothing a user of either could change.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
