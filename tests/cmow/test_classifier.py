"""Every classifier has the paper's number of parameters, and none reads padding or is told a wrong width."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kdbench.cmow.classifier.base import FeatureClassifier
from kdbench.cmow.classifier.bilstm import BiLstm
from kdbench.cmow.classifier.cnn import Cnn
from kdbench.cmow.classifier.linear_probe import LinearProbe
from kdbench.cmow.classifier.mlp import Mlp
from kdbench.cmow.classifier.mlp_same_width import MlpSameWidth
from kdbench.cmow.layout import Layout
from kdbench.cmow.pair import PAIRS, paired_width
from kdbench.config import CONF_DIR, instantiate
from kdbench.error import ImpossibleError

CMOW, HYBRID, BOTH_WAYS = Layout(0, 28, False), Layout(400, 20, False), Layout(400, 20, True)
CBOW = Layout(784, 0, False)


def size(kind: type[FeatureClassifier], layout: Layout, pair: str, outputs: int) -> int:
    built = kind(layout.pooled, partial(paired_width, pair), layout.block, outputs)
    return sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(
    ("kind", "layout", "pair", "outputs", "parameters"),
    [
        (Mlp, CMOW, "joint", 2, 789_002),
        (Mlp, CMOW, "joint", 3, 790_003),
        (Mlp, CMOW, "joint", 21, 808_021),
        (Mlp, CBOW, "joint", 21, 808_021),
        (Mlp, HYBRID, "joint", 2, 805_002),
        (Mlp, HYBRID, "joint", 3, 806_003),
        (Mlp, HYBRID, "joint", 21, 824_021),
        (Mlp, CMOW, "diffcat", 2, 2_357_002),
        (Mlp, CMOW, "diffcat", 3, 2_358_003),
        (Mlp, CMOW, "diffcat", 21, 2_376_021),
        (Mlp, HYBRID, "diffcat", 2, 2_405_002),
        (Mlp, HYBRID, "diffcat", 3, 2_406_003),
        (Mlp, HYBRID, "diffcat", 21, 2_424_021),
        (Mlp, BOTH_WAYS, "diffcat", 2, 3_605_002),
        (Mlp, BOTH_WAYS, "diffcat", 3, 3_606_003),
        (Mlp, BOTH_WAYS, "diffcat", 21, 3_624_021),
        (LinearProbe, HYBRID, "joint", 2, 3_202),
        (LinearProbe, HYBRID, "diffcat", 2, 9_602),
        (LinearProbe, BOTH_WAYS, "diffcat", 2, 14_402),
        (LinearProbe, BOTH_WAYS, "diffcat", 3, 18_003),
        (LinearProbe, BOTH_WAYS, "diffcat", 21, 82_821),
        (Cnn, CMOW, "joint", 2, 4_212),
        (Cnn, HYBRID, "joint", 2, 2_958),
        (Cnn, CMOW, "diffcat", 2, 7_436),
        (Cnn, HYBRID, "diffcat", 2, 7_390),
        (Cnn, BOTH_WAYS, "diffcat", 2, 11_764),
        (MlpSameWidth, BOTH_WAYS, "diffcat", 2, 62_568_002 - 36_626_400),
        (MlpSameWidth, BOTH_WAYS, "joint", 2, 39_513_602 - 36_626_400),
    ],
)
def test_the_sizes_of_the_paper(
    kind: type[FeatureClassifier], layout: Layout, pair: str, outputs: int, parameters: int
) -> None:
    assert size(kind, layout, pair, outputs) == parameters


def nodes() -> dict[str, Any]:
    folder = CONF_DIR / "student" / "classifier"
    return {file.stem: yaml.safe_load(file.read_text()) for file in sorted(Path(folder).glob("*.yaml"))}


REFUSED = {("cnn", "cosine"), ("linear_probe", "cosine"), ("mlp_same_width", "cosine")}
"""What makes images of features, or norms them, has no use for one number."""


@pytest.mark.parametrize("name", nodes())
@pytest.mark.parametrize("pair", ["joint", *PAIRS])
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_classifier_gives_scores_of_every_pair(name: str, pair: str, outputs: int) -> None:
    """Found by listing the folder: refused in a sentence, or (B, C) with a gradient for each of its parameters."""
    layout, made = Layout(25, 5, True), instantiate(nodes()[name])
    width = layout.state if made.func.of_tokens else layout.pooled
    paired = partial(paired_width, pair)
    torch.manual_seed(0)
    try:
        made.func.check(paired, width, layout.block)
    except ImpossibleError as error:
        assert "choose" in str(error) and (name, pair) in REFUSED
        return
    assert (name, pair) not in REFUSED
    built = made(width=width, paired=paired, block=layout.block, outputs=outputs).eval()
    read = 2 * built.ahead.hidden_size if built.of_tokens else width
    scores = built(torch.randn(4, paired(read)))
    assert scores.shape == (4, outputs)
    if outputs > 1:
        assert scores.std(dim=0).min() > 0, "rows differ, so their scores do"
    scores.sum().backward()
    learned = {key for key, value in built.named_parameters() if value.grad is not None}
    assert learned == {key for key, _ in built.named_parameters() if not key.startswith(("ahead", "back"))}
    if built.of_tokens:
        built.read(torch.randn(4, 5, width), torch.ones(4, 5, dtype=torch.bool)).sum().backward()
        lstms = (*built.ahead.parameters(), *built.back.parameters())
        assert all(value.grad is not None and value.grad.any() for value in lstms)


def test_an_lstm_reads_no_padding_and_both_ends() -> None:
    torch.manual_seed(0)
    lstm = BiLstm(6, lambda width: width, None, 2, hidden=5).eval()
    states, mask = torch.randn(3, 7, 6), torch.arange(7)[None] < torch.tensor([7, 4, 1])[:, None]
    found = lstm.read(states, mask)
    reference = torch.nn.LSTM(6, 5, batch_first=True, bidirectional=True)
    weights = {key: value for key, value in lstm.ahead.state_dict().items()}
    weights |= {f"{key}_reverse": value for key, value in lstm.back.state_dict().items()}
    reference.load_state_dict(weights)
    packed = torch.nn.utils.rnn.pack_padded_sequence(states, torch.tensor([7, 4, 1]), batch_first=True)
    _, (last, _) = reference(packed)
    torch.testing.assert_close(found, torch.cat([last[0], last[1]], dim=1))
    torch.testing.assert_close(lstm.read(states.masked_fill(~mask[:, :, None], 9.0), mask), found)


def test_scores_below_zero_are_only_cut_as_released() -> None:
    torch.manual_seed(0)
    features = torch.randn(50, 6)
    ours = LinearProbe(6, lambda width: width, None, 2)
    theirs = LinearProbe(6, lambda width: width, None, 2, positive_scores=True)
    theirs.load_state_dict(ours.state_dict())
    assert (ours(features) < 0).any()
    torch.testing.assert_close(theirs(features), ours(features).relu())


@pytest.mark.parametrize(
    ("layout", "pair", "way"),
    [
        (Layout(30, 5, True), "joint", "student.vector_width"),
        (Layout(25, 5, True), "cosine", "student/classifier=linear"),
        (Layout(30, 0, True), "joint", "student.vector_width"),
    ],
)
def test_what_is_no_image_is_refused(layout: Layout, pair: str, way: str) -> None:
    with pytest.raises(ImpossibleError, match=way):
        Cnn.check(partial(paired_width, pair), layout.pooled, layout.block)
