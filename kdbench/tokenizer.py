"""Tokenizers from local folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbench.error import KdbenchError


def load_tokenizer(folder: Path) -> Any:
    """The Hugging Face tokenizer of a folder; the hub is never asked.

    How it was loaded is forgotten: transformers would write it into what the tokenizer saves.

    Raises:
        KdbenchError: fewer words than the folder's vocab.txt has: transformers may pass over that file in silence.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for key in ("local_files_only", "is_local"):
        tokenizer.init_kwargs.pop(key, None)
    if (listed := folder / "vocab.txt").is_file():
        words = len(listed.read_text(encoding="utf-8").splitlines())
        if len(tokenizer) < words:
            raise KdbenchError(
                f"{listed} has {words} words, but transformers has read {len(tokenizer)} of them: save the tokenizer "
                "whole, with its tokenizer.json, into that folder"
            )
    return tokenizer


def give_types(tokenizer: Any) -> None:
    """Let a tokenizer give token types unasked, wherever it is saved and loaded: some, as DistilBERT's, do not."""
    given = list(tokenizer.model_input_names)
    if "token_type_ids" not in given:
        tokenizer.model_input_names = [*given, "token_type_ids"]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # transformers saves these alone


def single_tokens(tokenizer: Any, words: Sequence[str], key: str) -> list[int]:
    """The token of each word.

    Raises:
        KdbenchError: a word of several tokens, or of none that the tokenizer knows.
    """
    found = []
    for word in words:
        tokens = tokenizer(str(word), add_special_tokens=False)["input_ids"]
        if len(tokens) != 1 or tokens[0] == tokenizer.unk_token_id:
            pieces = " ".join(tokenizer.convert_ids_to_tokens(tokens))
            raise KdbenchError(
                f"{key}: '{word}' is not a single token of the teacher's tokenizer, which reads it as {pieces}: choose "
                "a word that is one"
            )
        found.append(int(tokens[0]))
    return found
