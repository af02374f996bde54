"""A tokenizer whose words are the rows of a compressed vocabulary, for use without kdbench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.error import KdbenchError
from kdbench.json_file import read_json, write_json
from kdbench.vocabulary.tables import Vocabulary

CARRIES = "WordPiece"
"""The kind of tokenizer whose words can share a number."""

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"


def save_with_rows(tokenizer: Any, vocabulary: Vocabulary, folder: Path) -> None:
    """Write a tokenizer that cuts texts as ever and gives each word the row that stands for it.

    Several words share a row, so that what is decoded are kept words. A tokenizer that is loaded from there and saved
    again keeps one word of each row alone.

    Args:
        tokenizer: of Hugging Face, of WordPiece.
        vocabulary: of the student.
        folder: is there.

    Raises:
        KdbenchError: a tokenizer whose words cannot share a number.
    """
    tokenizer.save_pretrained(folder)
    content = read_json(folder / FILE)
    model = content["model"]
    if model.get("type") != CARRIES:
        raise KdbenchError(
            f"the student reads substitutes of the words that it does not have, which a {model.get('type')} tokenizer "
            "cannot carry: export a student with vocabulary=full"
        )
    rows = {word: int(vocabulary.rows[number]) for word, number in model["vocab"].items()}
    model["vocab"] = rows
    for added in content.get("added_tokens", []):
        added["id"] = rows[added["content"]]
    for special in (content.get("post_processor") or {}).get("special_tokens", {}).values():
        special["ids"] = [rows[word] for word in special["tokens"]]
    if padding := content.get("padding"):
        padding["pad_id"] = rows[padding["pad_token"]]
    write_json(folder / FILE, content)
    _renumber(folder / CONFIG, vocabulary)
    (folder / "vocab.txt").unlink(missing_ok=True)  # its lines are the tokenizer's own numbers


def carries(tokenizer: Any) -> bool:
    """Whether `save_with_rows` can write it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and type(backend.model).__name__ == CARRIES


def _renumber(path: Path, vocabulary: Vocabulary) -> None:
    """The special tokens' numbers, where the tokenizer's configuration names them."""
    config = read_json(path)
    if isinstance(listed := config.get("added_tokens_decoder"), Mapping):
        config["added_tokens_decoder"] = {str(vocabulary.rows[int(number)]): token for number, token in listed.items()}
        write_json(path, config)
