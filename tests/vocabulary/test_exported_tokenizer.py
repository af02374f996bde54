"""Which tokenizers can give several words one number, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from transformers import PreTrainedTokenizerFast

from kdbench.error import KdbenchError
from kdbench.vocabulary.exported_tokenizer import carries, save_with_rows
from kdbench.vocabulary.tables import Vocabulary

WORDS = {"[UNK]": 0, "a": 1, "b": 2}


@pytest.mark.parametrize("model", [WordPiece(WORDS, unk_token="[UNK]"), BPE(WORDS, [], unk_token="[UNK]")])
def test_it_is_known_before_whether_words_can_share_a_number(model: WordPiece | BPE, tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="[UNK]")
    merged = Vocabulary(np.array([0, 1, 1]), np.array([0, 1]))
    if carries(tokenizer):
        save_with_rows(tokenizer, merged, tmp_path)
        again = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
        assert again("b")["input_ids"] == [1] == again("a")["input_ids"]
    else:
        with pytest.raises(KdbenchError, match="which a BPE tokenizer cannot carry"):
            save_with_rows(tokenizer, merged, tmp_path)
    assert carries(tokenizer) == isinstance(model, WordPiece)
