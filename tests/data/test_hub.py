"""The real `load_dataset`, unpatched, offline, against a cache as an earlier download leaves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from datasets.arrow_writer import ArrowWriter

FEATURES = datasets.Features(
    {
        "sentence1": datasets.Value("string"),
        "sentence2": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["entailment", "not_entailment"]),
        "idx": datasets.Value("int32"),
    }
)

LOAD = """
import json, sys
from pathlib import Path
from kdbench.data.rows import rows_of
from kdbench.data.source import choose
from kdbench.data.task import Task
from kdbench.error import KdbenchError

data = json.loads(sys.argv[1])
try:
    table = choose(data).read(sys.argv[2], Path("/nowhere"))
    rows = None if table is None else rows_of(Task.from_config(data), "train", table)
    answer = None if rows is None else [list(rows.columns.values()), rows.labels.tolist()]
except KdbenchError as error:
    answer = str(error)
sys.stdout.write(json.dumps(answer))
"""


@pytest.fixture
def cached(tmp_path: Path, make_data) -> Path:
    """`<cache>/nyu-mll___glue/rte/0.0.0/<revision>/`, three training rows and two for validation."""
    revision = make_data("glue/rte")["hub"]["revision"]
    folder = tmp_path / "datasets" / "nyu-mll___glue" / "rte" / "0.0.0" / revision
    folder.mkdir(parents=True)
    splits = datasets.SplitDict(dataset_name="glue")
    for name, rows in (("train", 3), ("validation", 2)):
        with ArrowWriter(path=str(folder / f"glue-{name}.arrow"), features=FEATURES) as writer:
            for row in range(rows):
                writer.write({"sentence1": f"a {row}", "sentence2": f"b {row}", "label": row % 2, "idx": row})
            writer.finalize()
        splits[name] = datasets.SplitInfo(name, num_examples=rows, dataset_name="glue")
    info = datasets.DatasetInfo(
        features=FEATURES,
        builder_name="parquet",
        dataset_name="glue",
        config_name="rte",
        version="0.0.0",
        splits=splits,
    )
    info.write_to_directory(str(folder))
    return tmp_path


def load(cache: Path, data: dict, split: str) -> object:
    offline = {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD, json.dumps(data), split]
    done = subprocess.run(command, env={**os.environ, **offline}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_cached_task_loads_offline(cached, make_data) -> None:
    texts, labels = load(cached, make_data("glue/rte"), "train")
    assert texts == [["a 0", "a 1", "a 2"], ["b 0", "b 1", "b 2"]]
    assert labels == [0, 1, 0]


def test_a_slice_loads_and_a_split_that_is_not_there_is_none(cached, make_data) -> None:
    assert load(cached, make_data("glue/rte"), "validation[:1]") == [[["a 0"], ["b 0"]], [0]]
    assert load(cached, make_data("glue/rte"), "test") is None


def test_a_cache_of_another_revision_is_refused(cached, make_data) -> None:
    sentence = load(cached, make_data("glue/rte", f"data.hub.revision={'a' * 40}"), "train")
    assert isinstance(sentence, str)
    assert "not reached" in sentence
    assert "not aaaaaaaaaaaa: go online once to load it" in sentence


@pytest.mark.parametrize("name", ["glue/sst2", "glue/rte"])
def test_without_cache_and_network_the_way_out_is_named(tmp_path, make_data, name) -> None:
    sentence = load(tmp_path / "empty", make_data(name), "train")
    assert isinstance(sentence, str)
    assert "\n" not in sentence
    assert f"source=hub cannot load nyu-mll/glue {name[5:]} (" in sentence
    assert "unset HF_HUB_OFFLINE to download it, or take source=folder with paths.data set" in sentence
