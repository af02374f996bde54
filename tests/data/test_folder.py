from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kdbench.data.folder import Folder
from kdbench.data.rows import rows_of
from kdbench.data.source import choose
from kdbench.data.task import Task
from kdbench.data.tokenised import data_signature, tokenised
from kdbench.error import KdbenchError
from kdbench.signature import file_fingerprint
from kdbench.store import Store

TEXTS = ["good, film", 'a "bad" film', "NA", "007", ""]
LABELS = ["up", "down", "up", "down", "up"]

# A new data set is this one file.
MINE = """
defaults: [base, _self_]
name: mine
text: sentence
label: verdict
labels: [down, up]
folder: {path: my_folder}
"""


def write(folder: Path, split: str, suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"sentence": TEXTS, "verdict": LABELS})
    file = folder / f"{split}.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(file)
    elif suffix == "csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_json(file, orient="records", lines=True)


@pytest.fixture
def mine(make_data, tmp_path: Path):
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "mine.yaml").write_text(MINE)
    return lambda *overrides: make_data("mine", *overrides)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_one_yaml_makes_a_data_set(mine, tmp_path, tokenizer_folder, suffix) -> None:
    for split in ("train", "validation"):
        write(tmp_path / "my_folder", split, suffix)
    data = mine()
    table = choose(data).read("train", tmp_path)
    assert rows_of(Task.from_config(data), "train", table).columns == {"sentence": TEXTS}
    splits = tokenised(Store(tmp_path / "store"), data, tmp_path, tokenizer_folder)
    assert list(splits) == ["train", "validation"]
    assert splits["train"].labels.tolist() == [1, 0, 1, 0, 1]


def test_an_absolute_path_stands_for_itself(mine, tmp_path) -> None:
    write(tmp_path / "elsewhere", "train", "csv")
    source = choose(mine(f"data.folder.path={tmp_path}/elsewhere"))
    assert len(source.read("train", Path("/nowhere")).frame) == 5


def test_a_sum_of_splits_joins_them(tmp_path) -> None:
    write(tmp_path / "my_folder", "train", "csv")
    write(tmp_path / "my_folder", "more", "parquet")
    source = Folder("my_folder")
    assert source.read("train+more", tmp_path).frame["sentence"].tolist() == TEXTS * 2
    assert len(source.identity("train+more", tmp_path, file_fingerprint)["files"]) == 2
    assert source.read("train+absent", tmp_path) is None


def test_the_identity_is_the_content_not_the_place(tmp_path) -> None:
    write(tmp_path / "one" / "x", "train", "csv")
    write(tmp_path / "two" / "x", "train", "csv")
    source = Folder("x")

    def identity(root: str) -> object:
        return source.identity("train", tmp_path / root, file_fingerprint)

    assert identity("one") == identity("two")
    (tmp_path / "two" / "x" / "train.csv").write_text("sentence,verdict\na,up\n")
    assert identity("one") != identity("two")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "there is no folder {root}/my_folder, beside it there is mine, other: set paths.data"),
        (
            ["train.csv"],
            "{root}/my_folder has no validation.parquet, .csv or .jsonl, it has train.csv: correct data.splits",
        ),
        (
            ["train.csv", "validation.csv", "train.parquet"],
            "{root}/my_folder has train.parquet and train.csv for one split",
        ),
    ],
)
def test_a_folder_that_lacks_something_is_refused_before_anything_is_read(
    mine, tmp_path, files, sentence, tokenizer_folder
):
    (tmp_path / "other").mkdir()
    for file in files:
        write(tmp_path / "my_folder", *file.split("."))
    with pytest.raises(KdbenchError) as caught:
        data_signature(mine(), tmp_path, tokenizer_folder)
    assert sentence.format(root=tmp_path) in str(caught.value)


def test_a_missing_root_is_said(mine, tmp_path, tokenizer_folder) -> None:
    with pytest.raises(
        KdbenchError, match=r"there is no folder .*nowhere/my_folder: set paths.data .or KDBENCH_DATA. to"
    ):
        data_signature(mine(), tmp_path / "nowhere", tokenizer_folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.parquet", b"PAR1 and then nothing"),
        ("train.csv", b'a,b\n"open'),
        ("train.csv", b""),
        ("train.csv", b"a,b\n\xff\xfe,1\n"),
        ("train.jsonl", b'{"a": 1}\n{"a": '),
        ("train.jsonl", b"[1, 2]\n"),
    ],
)
def test_a_corrupt_file_is_named(tmp_path, name, content) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).write_bytes(content)
    with pytest.raises(KdbenchError, match=f"x/{name} cannot be read as .*: repair or replace the file$") as caught:
        Folder("x").read("train", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_source_that_a_data_set_lacks_is_refused(make_data, mine) -> None:
    with pytest.raises(
        KdbenchError, match=r"data.source=hub is not to be had for mine: choose folder, or set data.hub.path"
    ):
        choose(mine("data.source=hub"))
    with pytest.raises(KdbenchError, match=r"data.source=hugs is not to be had for glue/rte: choose hub or folder"):
        choose(make_data("glue/rte", "data.source=hugs"))


def test_a_source_with_a_wrong_key_is_refused(mine, tmp_path) -> None:
    data = mine()
    data["folder"]["pat"] = "x"
    with pytest.raises(KdbenchError, match=r"data.folder cannot be used .*: correct its keys"):
        choose(data)
