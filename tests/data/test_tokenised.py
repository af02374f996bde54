from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from kdbench.data import tokenised as module
from kdbench.data.source import choose
from kdbench.data.tokenised import data_signature, tokenised, tokenizer_fingerprint
from kdbench.error import KdbenchError
from kdbench.store import Store
from kdbench.tokenizer import load_tokenizer

ROOT = Path("/nowhere")  # generated data need no folder


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_the_arrays_are_what_the_tokenizer_says_row_by_row(make_data, store, tokenizer_folder) -> None:
    data = make_data("generated")
    splits = tokenised(store, data, ROOT, tokenizer_folder)
    assert list(splits) == ["train", "validation", "test"]
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    for name, split in splits.items():
        frame = choose(data).read(name, ROOT).frame
        assert len(split) == len(frame)
        assert split.labels.tolist() == frame["label"].tolist()
        for row, text in enumerate(frame["text"]):
            tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]]
            assert tokens.tolist() == tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in split.tokens
        assert not split.types.any()


def test_pairs_are_cut_to_the_length_with_their_types(make_data, store, tokenizer_folder) -> None:
    data = make_data("generated", "data.text=[text,second]", "data.label=same", "data.max_length=12")
    split = tokenised(store, data, ROOT, tokenizer_folder)["train"]
    assert split.lengths.max() == 12
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    for row in range(20):
        tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]]
        types = split.types[split.offsets[row] : split.offsets[row + 1]]
        first, second = (np.flatnonzero(tokens == tokenizer.sep_token_id)).tolist()
        assert second == len(tokens) - 1
        assert types.tolist() == [0] * (first + 1) + [1] * (second - first)


def test_a_regression_has_float_labels(make_data, store, tokenizer_folder) -> None:
    data = make_data(
        "generated", "data.kind=regression", "data.metrics=[pearson]", "data.label=value", "data.range=[0,1]"
    )
    labels = tokenised(store, data, ROOT, tokenizer_folder)["train"].labels
    assert labels.dtype == np.float32
    assert 0.3 < labels.mean() < 0.7


def test_a_long_split_is_tokenised_in_chunks_without_a_seam(make_data, tmp_path, tokenizer_folder, monkeypatch) -> None:
    data = make_data("generated")
    whole = tokenised(Store(tmp_path / "whole"), data, ROOT, tokenizer_folder)["train"]
    monkeypatch.setattr(module, "CHUNK", 7)
    chunks = tokenised(Store(tmp_path / "chunks"), data, ROOT, tokenizer_folder)["train"]
    assert np.array_equal(whole.tokens, chunks.tokens)
    assert np.array_equal(whole.offsets, chunks.offsets)


def test_a_second_request_reads_the_store(make_data, store, tokenizer_folder, monkeypatch) -> None:
    first = tokenised(store, make_data("generated"), ROOT, tokenizer_folder)["train"]
    monkeypatch.setattr(module, "tokenise", lambda *_: pytest.fail("tokenised twice"))
    again = tokenised(store, make_data("generated", "data.name=other"), ROOT, tokenizer_folder)["train"]
    assert np.array_equal(first.tokens, again.tokens)
    assert isinstance(again.tokens, np.memmap)
    assert [artefact.kind for artefact in store.artefacts()] == ["data"]


def test_a_failed_build_leaves_no_artefact(make_data, store, tokenizer_folder) -> None:
    with pytest.raises(KdbenchError, match="there is no column sentence"):
        tokenised(store, make_data("generated", "data.text=sentence"), ROOT, tokenizer_folder)
    assert not any(artefact.complete for artefact in store.artefacts())


@pytest.mark.parametrize(
    "override",
    [
        "data.text=second", "data.label=same", "data.labels=[a,b]", "data.max_length=16", "data.unlabelled=true",
        "data.train_rows=10", "data.evaluation_rows=10", "data.generated.rows=99", "data.generated.seed=2",
        "data.splits.test=null", "data.hidden_label=1", "data.splits.validation=test",
    ],
)  # fmt: skip
def test_what_changes_the_arrays_changes_the_signature(make_data, tokenizer_folder, override) -> None:
    plain = data_signature(make_data("generated"), ROOT, tokenizer_folder)
    assert data_signature(make_data("generated", override), ROOT, tokenizer_folder) != plain


@pytest.mark.parametrize("override", ["data.name=x", "data.metrics=[matthews]", "data.seed=2", "data.folder.path=x"])
def test_what_cannot_change_the_arrays_does_not(make_data, tokenizer_folder, override) -> None:
    plain = data_signature(make_data("generated"), ROOT, tokenizer_folder)
    assert data_signature(make_data("generated", override), Path("/else"), tokenizer_folder) == plain


def test_the_seed_counts_where_rows_are_capped(make_data, tokenizer_folder) -> None:
    capped = [
        data_signature(make_data("generated", "data.train_rows=9", f"data.seed={seed}"), ROOT, tokenizer_folder)
        for seed in (1, 2)
    ]
    assert capped[0] != capped[1]


def test_a_saved_copy_of_a_tokenizer_is_the_same_tokenizer(tokenizer_folder, tmp_path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer(["a river"], truncation=True, max_length=4, padding="max_length")  # leaves its mark in tokenizer.json
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(tmp_path) == tokenizer_fingerprint(tokenizer_folder)


@pytest.mark.parametrize("change", ["vocabulary", "case"])
def test_another_tokenizer_has_another_fingerprint(tokenizer_folder, tmp_path, change) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "copy")
    if change == "vocabulary":
        file = tmp_path / "copy" / "tokenizer.json"
        file.write_text(file.read_text().replace('"river"', '"stream"'))
    else:
        file = tmp_path / "copy" / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "do_lower_case": False}))
    assert tokenizer_fingerprint(tmp_path / "copy") != tokenizer_fingerprint(tokenizer_folder)


def test_a_bare_vocabulary_is_a_tokenizer_too_and_nothing_is_not(tmp_path) -> None:
    with pytest.raises(KdbenchError, match=r"has no tokenizer.json and no vocabulary"):
        tokenizer_fingerprint(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\na\n")
    one = tokenizer_fingerprint(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\nb\n")
    assert tokenizer_fingerprint(tmp_path) != one


def test_a_composed_node_serves_as_well_as_plain_values(make_data, tokenizer_folder) -> None:
    data = make_data("generated", "data.text=[text,second]", "data.train_rows=9")
    plain = data_signature(data, ROOT, tokenizer_folder)
    assert data_signature(OmegaConf.create(data), ROOT, tokenizer_folder) == plain


def test_a_tokenizer_that_has_read_fewer_words_than_its_file_is_refused(tmp_path: Path) -> None:
    """As transformers 5 makes one from `vocab_file=`, which it passes over in silence."""
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word", "other"]))
    BertTokenizer(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    with pytest.raises(KdbenchError, match=r"vocab\.txt has 7 words, but transformers has read 5 of them: save"):
        load_tokenizer(tmp_path)
