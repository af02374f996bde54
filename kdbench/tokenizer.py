"""Tokenizers from local folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_tokenizer(folder: Path) -> Any:
    """The Hugging Face tokenizer of a folder; the hub is never asked.

    How it was loaded is forgotten: transformers would write it into what the tokenizer saves.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for key in ("local_files_only", "is_local"):
        tokenizer.init_kwargs.pop(key, None)
    return tokenizer
