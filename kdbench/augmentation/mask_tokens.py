"""Masked tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kdbench import counter
from kdbench.augmentation.base import Augmentation
from kdbench.data.split import Split
from kdbench.error import KdbenchError
from kdbench.value import share, whole

VERSION = 1


class MaskTokens(Augmentation):
    """A share of the tokens becomes the mask token (the masking of Tang et al. 2019, there one of three rules).

    Whether a token is masked depends on the seed, the version, its row's place in the source and its place in the row:
    neither on the other rows nor on the order in which anything is asked for.

    Args:
        rate: of the tokens that are no special ones.
        variants: versions of the rows.
        seed: of the draws.
    """

    def __init__(self, rate: float = 0.1, variants: int = 10, seed: int = 0) -> None:
        share("augmentation.rate", rate, below=True)
        whole("augmentation.variants", variants)
        whole("augmentation.seed", seed, least=0)
        self.rate, self.variants, self.seed = rate, variants, seed

    def variant(self, split: Split, number: int, tokenizer: Any) -> Split:
        if tokenizer.mask_token_id is None:
            raise KdbenchError(
                "augmentation=mask_tokens needs a mask token, which the teacher's tokenizer does not have: choose "
                "augmentation=none"
            )
        rows = np.repeat(split.sequence_index, split.lengths)
        places = np.arange(len(split.tokens)) - np.repeat(split.offsets[:-1], split.lengths)
        drawn = counter.uniform(self.seed, np.full_like(rows, number), rows, places) < self.rate
        masked = drawn & ~np.isin(split.tokens, tokenizer.all_special_ids)
        return replace(split, tokens=np.where(masked, np.int32(tokenizer.mask_token_id), split.tokens))
