"""Tokenised once: the splits of a task as ragged arrays in the store, memory-mapped by whoever asks next."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kdbench.config import instantiate
from kdbench.data.corpus import rows_of_texts, texts_of
from kdbench.data.questions import rows_of_questions
from kdbench.data.rows import Rows, rows_of
from kdbench.data.source import Table, choose
from kdbench.data.split import Split
from kdbench.data.task import Task
from kdbench.error import KdbenchError
from kdbench.signature import file_fingerprint, signature
from kdbench.store import Store, read_json, write_json
from kdbench.tokenizer import load_tokenizer

__all__ = ["Split", "data_signature", "tokenised", "tokenizer_fingerprint"]

log = logging.getLogger(__name__)

VERSION = 1

CHUNK = 10_000  # rows per call of the tokenizer: bounds the memory, costs no speed

# Of a tokenizer's config, what changes tokens where the class builds its own normalizer.
TOKENIZER_KEYS = (
    "do_lower_case", "do_basic_tokenize", "strip_accents", "tokenize_chinese_chars", "add_prefix_space",
    "truncation_side", "add_bos_token", "add_eos_token",
)  # fmt: skip
VOCABULARY_FILES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model")


def data_signature(data: Mapping[str, Any], data_root: Path, tokenizer_folder: Path, cache: Path | None = None) -> str:
    """The signature of the tokenised arrays: the source's content, what is read from it, and the tokenizer.

    Computed without tokenising. `cache` is the store's file of fingerprints; without it files are hashed anew. The
    names of the data set and of its metrics are no part of it, nor is the place where the files lie.
    """
    task, source = Task.from_config(data), choose(data)
    fingerprint = functools.partial(file_fingerprint, cache=cache)
    identities = {}
    for ours, theirs in task.splits.items():
        identities[ours] = source.identity(theirs, data_root, fingerprint)
        if identities[ours] is None and ours not in task.optional:
            raise KdbenchError(source.lacks(theirs, data_root, task.key))
    content: dict[str, Any] = {
        "version": VERSION,
        "source": {"_target_": f"{type(source).__module__}.{type(source).__qualname__}", "splits": identities},
        "columns": {"kind": task.kind, "text": task.text, "label": task.label, "labels": task.labels},
        "reading": {"hidden_label": task.hidden_label, "range": task.range, "unlabelled": task.unlabelled},
        "caps": {"train": task.train_rows, "evaluation": task.evaluation_rows},
        "max_length": task.max_length,
        "tokenizer": tokenizer_fingerprint(tokenizer_folder),
    }
    if task.train_rows is not None or task.evaluation_rows is not None:
        content["caps"]["seed"] = task.seed
    if task.is_corpus:
        content["corpus"] = {"packed": task.packed, "replace": dict(task.replace)}
    content |= _of_answers(task)
    return signature("data", content)


def _of_answers(task: Task) -> dict[str, Any]:
    """What else determines the arrays of a task that most tasks are not."""
    found: dict[str, Any] = {
        "prompt": None if task.cloze is None else task.cloze.prompt.text,
        "choices": task.choice_list or list(task.choices),
        "maps": {column: dict(words) for column, words in task.maps.items()},
        "gaps": dict(task.gaps),
        "group": list(task.group),
        "bins": None if task.bins is None else asdict(task.bins),
        "span": {"stride": task.stride, "unanswerable": task.unanswerable} if task.kind == "span" else None,
    }
    return {key: value for key, value in found.items() if value}


def tokenised(store: Store, data: Mapping[str, Any], data_root: Path, tokenizer_folder: Path) -> dict[str, Split]:
    """The splits of a task by our names for them, from the store or tokenised now; optional ones may be missing.

    `data_root` is `paths.data`; `tokenizer_folder` holds a Hugging Face tokenizer. Pairs are (first, second), the
    longer of them cut until both fit into `data.max_length` tokens; of spans, cut into windows.
    """
    made = data_signature(data, data_root, tokenizer_folder, store.root / "fingerprints.json")
    folder = store.obtain("data", made, functools.partial(_build, data, data_root, tokenizer_folder))
    there = read_json(folder / "meta.json")["splits"]
    splits = {name: Split.load(folder, name) for name in Task.from_config(data).splits if name in there}
    if data["kind"] != "words":
        return splits
    # What is trained on has other places in every epoch; what is evaluated always the same.
    masking, tokenizer = instantiate(data["masking"]), load_tokenizer(tokenizer_folder)
    return {name: rows if name == "train" else masking.held_out(rows, tokenizer) for name, rows in splits.items()}


def tokenizer_fingerprint(folder: Path) -> str:
    """`_tokenizer_fingerprint`, remembered in this process for as long as the folder's files stay as they are."""
    names = ("tokenizer.json", "tokenizer_config.json", *VOCABULARY_FILES)
    states = tuple(
        (name, status.st_size, status.st_mtime_ns)
        for name in names
        if (folder / name).is_file() and (status := (folder / name).stat())
    )
    return _tokenizer_fingerprint(folder, states)


@functools.lru_cache(maxsize=64)
def _tokenizer_fingerprint(folder: Path, states: tuple[tuple[str, int, int], ...]) -> str:
    """The hash of what makes tokens: tokenizer.json without its padding and truncation, or else the vocabulary files.

    A tokenizer that was loaded and saved again keeps its fingerprint, so a student's copy shares the teacher's data.
    """
    content: dict[str, Any] = {}
    if (file := folder / "tokenizer.json").is_file():
        content["tokenizer.json"] = {
            key: value for key, value in read_json(file).items() if key not in ("truncation", "padding")
        }
    else:
        found = [folder / name for name in VOCABULARY_FILES if (folder / name).is_file()]
        if not found:
            raise KdbenchError(
                f"{folder} has no tokenizer.json and no vocabulary: give the folder of a whole tokenizer"
            )
        content |= {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in found}
    if (file := folder / "tokenizer_config.json").is_file():
        config = read_json(file)
        content["config"] = {key: config[key] for key in TOKENIZER_KEYS if config.get(key) not in (None, "right")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _build(data: Mapping[str, Any], data_root: Path, tokenizer_folder: Path, folder: Path) -> None:
    task, source = Task.from_config(data), choose(data)
    tokenizer = load_tokenizer(tokenizer_folder)
    splits: dict[str, dict[str, int]] = {}
    for ours, theirs in task.splits.items():
        table = source.read(theirs, data_root)
        if table is None:
            if ours not in task.optional:
                raise KdbenchError(source.lacks(theirs, data_root, task.key))
            log.info("%s: no split %s in the source %s", task.name, theirs, data["source"])
            continue
        split = _rows(tokenizer, task, ours, table)
        split.save(folder, ours)
        splits[ours] = {"rows": len(split), "tokens": len(split.tokens)}
    write_json(folder / "meta.json", {"name": task.name, "splits": splits})


def _rows(tokenizer: Any, task: Task, split: str, table: Table) -> Split:
    if task.is_corpus:
        return rows_of_texts(tokenizer, texts_of(task, split, table), task, split)
    if task.kind == "span":
        return rows_of_questions(task, split, table, tokenizer)
    return tokenise(tokenizer, rows_of(task, split, table), task)


def tokenise(tokenizer: Any, rows: Rows, task: Task) -> Split:
    """Turn texts into ragged arrays of tokens."""
    if task.cloze is not None:
        answers = rows.choices if task.chooses else None
        found = task.cloze.prompt.sequences(tokenizer, rows.columns, answers, task.max_length)
        tokens, words = [ids for ids, _ in found], np.concatenate([places for _, places in found]).astype(np.int32)
        types = [np.zeros(len(ids)) for ids in tokens]
    else:
        encoded = list(_encoded(tokenizer, list(map(rows.texts, task.text)), task.max_length))
        absent = [False] * len(encoded) if rows.choices is None else [choice is None for choice in rows.choices]
        cut = [1 if missing else len(ids) for missing, (ids, _) in zip(absent, encoded, strict=True)]
        tokens = [np.array(ids[:kept]) for kept, (ids, _) in zip(cut, encoded, strict=True)]
        types = [np.array(kinds[:kept]) for kept, (_, kinds) in zip(cut, encoded, strict=True)]
        words = None
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in tokens], dtype=np.int64)]).astype(np.int64)
    flat = np.concatenate(tokens).astype(np.int32), np.concatenate(types).astype(np.int8), offsets
    return Split(*flat, rows.labels, rows.index, words, rows.groups, rows.credits)


def _encoded(tokenizer: Any, texts: list[list[str]], max_length: int) -> Iterator[tuple[list[int], list[int]]]:
    for start in range(0, len(texts[0]), CHUNK):
        encoding = tokenizer(
            *(column[start : start + CHUNK] for column in texts),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=True,
        )
        yield from zip(encoding["input_ids"], encoding["token_type_ids"], strict=True)
