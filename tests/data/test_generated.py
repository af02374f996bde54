from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from kdbench.data.generated import TOPICS, Generated
from kdbench.data.source import choose
from kdbench.data.task import Task
from kdbench.error import KdbenchError

HERE = Path()


def test_the_same_settings_give_the_same_rows() -> None:
    def rows(split: str = "train", **settings: int) -> dict:
        return Generated(**settings).read(split, HERE).frame.to_dict()

    assert rows() == rows()
    assert rows() != rows(seed=2)
    assert rows("validation") != rows("test")
    # Written down: a change of the sentences must raise VERSION in the module.
    assert rows()["text"][0] == "garden we and from there with railway forest desert was seen"


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_majority_of_topic_words_is_the_class(classes) -> None:
    frame = Generated(rows=300, classes=classes).read("train", HERE).frame
    assert set(Counter(frame["label"]).values()) == {300 // classes}
    for text, label in zip(frame["text"], frame["label"], strict=True):
        hits = [sum(word in topic for word in text.split()) for topic in TOPICS]
        assert hits.index(max(hits)) == label
        assert sorted(hits)[-2] == 1  # and one word speaks for another class


def test_pairs_and_values_say_what_their_columns_promise() -> None:
    frame = Generated(rows=200).read("train", HERE).frame
    for _, row in frame.iterrows():
        first, second = ([sum(w in t for w in row[c].split()) for t in TOPICS] for c in ("text", "second"))
        assert row["same"] == (first.index(max(first)) == second.index(max(second)))
        assert row["value"] == pytest.approx(first[0] / sum(first))
    assert 0.3 < frame["same"].mean() < 0.7


def test_held_out_splits_exist_and_others_do_not() -> None:
    source = Generated(rows=400)
    sizes = [len(source.read(split, HERE).frame) for split in ("train", "validation", "test")]
    assert sizes == [400, 100, 100]
    assert source.read("dev", HERE) is None
    assert source.identity("dev", HERE, str) is None


def test_rows_and_classes_are_set_on_the_command_line(make_data) -> None:
    data = make_data("generated", "data.generated.rows=12", "data.generated.classes=3", "data.labels=[a,b,c]")
    assert set(choose(data).read("train", HERE).frame["label"]) == {0, 1, 2}
    assert Task.from_config(data).outputs == 3


@pytest.mark.parametrize(
    ("settings", "sentence"), [({"classes": 5}, "classes=5 must be 2 to 4"), ({"rows": 0}, "rows=0 must")]
)
def test_bad_settings_are_refused(make_data, settings, sentence) -> None:
    overrides = [f"data.generated.{key}={value}" for key, value in settings.items()]
    with pytest.raises(KdbenchError, match=sentence):
        choose(make_data("generated", *overrides))


@pytest.mark.embedded
def test_every_word_is_in_berts_vocabulary() -> None:
    from kdbench.data.embedded import minilm_folder
    from kdbench.data.generated import PLAIN

    vocabulary = set((minilm_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n"))
    assert {word for topic in (*TOPICS, PLAIN) for word in topic} <= vocabulary
