"""Sums and products of words: the algebra of the papers, padding, alignment, and the exact sizes of the tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kdbench.cmow.encoder import MatrixEncoder, Tables
from kdbench.cmow.layout import Layout

WORDS, E, D = 11, 6, 3
LAYOUTS = {
    "cbow": Layout(E, 0, False),
    "cbow, both ways": Layout(E, 0, True),
    "cmow": Layout(0, D, False),
    "cmow, both ways": Layout(0, D, True),
    "hybrid": Layout(E, D, False),
    "hybrid, both ways": Layout(E, D, True),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def built(layout: Layout, **options: Any) -> MatrixEncoder:
    torch.manual_seed(0)
    options = {"std": 0.3, **options}
    return MatrixEncoder(layout, Tables(WORDS, 0, **options)).double().eval()


def rows(length: int = 7, count: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, WORDS, (count, length), generator=generator)
    return ids, torch.ones_like(ids, dtype=torch.bool)


def written_out(encoder: MatrixEncoder, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled vector and the state of every token of one row, from the papers' equations."""
    layout, states = encoder.layout, []
    vectors = encoder.embeddings["vectors"].weight[ids] if layout.vector else None
    ahead = encoder.embeddings["ahead"](ids) if layout.side else None
    back = encoder.embeddings["back"](ids) if layout.side and layout.bidirectional else None
    for place in range(len(ids)):
        parts = []
        if vectors is not None:
            parts.append(vectors[: place + 1].sum(0))
        if ahead is not None:
            product = torch.eye(D, dtype=torch.float64)
            for matrix in ahead[: place + 1]:
                product = product @ matrix
            parts.append(product.flatten())
        if layout.bidirectional and vectors is not None:
            parts.append(vectors[place:].sum(0))
        if back is not None:
            product = torch.eye(D, dtype=torch.float64)
            for matrix in reversed(back[place:]):
                product = product @ matrix
            parts.append(product.flatten())
        states.append(torch.cat(parts))
    whole = torch.stack(states)
    first, last = (layout.vector + layout.side**2), whole[-1]
    pooled = torch.cat([last[:first], whole[0, first + layout.vector :]]) if layout.bidirectional else last
    return pooled, whole


@every_layout
def test_it_is_what_the_papers_write(layout: Layout) -> None:
    encoder, (ids, mask) = built(layout), rows()
    pooled, states = encoder(ids, mask), encoder.states(ids, mask)
    assert pooled.shape == (4, layout.pooled) and states.shape == (4, 7, layout.state)
    for place, row in enumerate(ids):
        expected, of_tokens = written_out(encoder, row)
        torch.testing.assert_close(pooled[place], expected)
        torch.testing.assert_close(states[place], of_tokens)


@every_layout
def test_the_last_state_holds_the_pooled_vector(layout: Layout) -> None:
    encoder, (ids, mask) = built(layout), rows()
    pooled, states = encoder(ids, mask), encoder.states(ids, mask)
    half = layout.vector + layout.side**2
    torch.testing.assert_close(states[:, -1, :half], pooled[:, :half])
    if layout.bidirectional and layout.side:
        torch.testing.assert_close(states[:, 0, half + layout.vector :], pooled[:, half:])


@every_layout
def test_padding_on_either_side_changes_nothing(layout: Layout) -> None:
    encoder, (ids, mask) = built(layout), rows()
    for before, after in ((0, 3), (2, 0), (2, 3)):
        padded = torch.nn.functional.pad(ids, (before, after))
        wide = torch.nn.functional.pad(mask, (before, after))
        torch.testing.assert_close(encoder(padded, wide), encoder(ids, mask))
        real = encoder.states(padded, wide)[:, before : before + 7]
        torch.testing.assert_close(real, encoder.states(ids, mask))


def test_released_padding_is_neutral_for_fresh_matrices_alone() -> None:
    ids, mask = rows()
    padded, wide = torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(mask, (0, 3))
    cmow = built(LAYOUTS["cmow, both ways"], released=True)
    torch.testing.assert_close(cmow(padded, wide), cmow(ids, mask))
    with torch.no_grad():
        cmow.embeddings["ahead"].whole.weight[0] += 0.1  # it learns, as every word
    assert not torch.allclose(cmow(padded, wide), cmow(ids, mask))
    cbow = built(LAYOUTS["cbow"], released=True)
    assert not torch.allclose(cbow(padded, wide), cbow(ids, mask)), "its vector is no zero"
    cbow(padded, wide).sum().backward()
    assert not cbow.embeddings["vectors"].weight.grad[0].any(), "and stays as it was drawn"


@every_layout
def test_a_sequence_in_two_pieces(layout: Layout) -> None:
    """CBOW(x ++ y) = CBOW(x) + CBOW(y); CMOW(x ++ y) = CMOW(x) CMOW(y), and the other way round on the way back."""
    encoder, (ids, mask) = built(layout), rows()
    whole, x, y = encoder(ids, mask), encoder(ids[:, :3], mask[:, :3]), encoder(ids[:, 3:], mask[:, 3:])
    e, square = layout.vector, layout.side**2
    torch.testing.assert_close(whole[:, :e], x[:, :e] + y[:, :e])
    if not square:
        return
    first, second, both = (part[:, e : e + square].view(-1, D, D) for part in (x, y, whole))
    torch.testing.assert_close(both, first @ second)
    if layout.bidirectional:
        first, second, both = (part[:, e + square :].view(-1, D, D) for part in (x, y, whole))
        torch.testing.assert_close(both, second @ first)


def test_the_order_of_words_counts_for_products_alone() -> None:
    ids, mask = rows()
    other = ids[:, torch.tensor([3, 0, 6, 2, 5, 1, 4])]
    cbow, cmow = built(LAYOUTS["cbow"]), built(LAYOUTS["cmow"])
    torch.testing.assert_close(cbow(other, mask), cbow(ids, mask))
    assert not torch.allclose(cmow(other, mask), cmow(ids, mask))
    with torch.no_grad():  # diagonal matrices commute
        cmow.embeddings["ahead"].whole.weight *= torch.eye(D).flatten()
    torch.testing.assert_close(cmow(other, mask), cmow(ids, mask))
    equal = built(LAYOUTS["cmow"])
    with torch.no_grad():  # and so do equal ones
        equal.embeddings["ahead"].whole.weight[:] = equal.embeddings["ahead"].whole.weight[5].clone()
    torch.testing.assert_close(equal(other, mask), equal(ids, mask))


def test_transposed_matrices_on_the_way_back_give_the_transposed_product() -> None:
    encoder, (ids, mask) = built(LAYOUTS["cmow, both ways"]), rows()
    with torch.no_grad():
        ahead, back = encoder.embeddings["ahead"].whole.weight, encoder.embeddings["back"].whole.weight
        back.copy_(ahead.view(-1, D, D).transpose(1, 2).flatten(1))
    there, home = encoder(ids, mask).view(-1, 2, D, D).unbind(1)
    torch.testing.assert_close(home, there.transpose(1, 2))


def test_identities_stay_identities() -> None:
    encoder, (ids, mask) = built(LAYOUTS["cmow, both ways"], init="identity"), rows()
    expected = torch.eye(D, dtype=torch.float64).flatten().repeat(4, 7, 2)
    torch.testing.assert_close(encoder.states(ids, mask), expected)


@pytest.mark.parametrize(
    "layout", [LAYOUTS["cbow, both ways"], LAYOUTS["cmow, both ways"], LAYOUTS["hybrid, both ways"]]
)
def test_the_release_turns_the_way_back_around(layout: Layout) -> None:
    """Its place i has what belongs to L - 1 - i, counted from 0; the pooled vector is the same."""
    encoder, (ids, mask) = built(layout), rows()
    turned = built(Layout(layout.vector, layout.side, True, turned=True))
    half = layout.vector + layout.side**2
    ours, theirs = encoder.states(ids, mask), turned.states(ids, mask)
    torch.testing.assert_close(theirs[..., :half], ours[..., :half])
    torch.testing.assert_close(theirs[..., half:], ours[..., half:].flip(1))
    torch.testing.assert_close(turned(ids, mask), encoder(ids, mask))


@every_layout
def test_a_word_alone_is_a_sequence_of_one(layout: Layout) -> None:
    encoder, (ids, mask) = built(layout), rows()
    alone = encoder.alone(ids)
    for place in range(ids.shape[1]):
        expected = encoder.states(ids[:, place : place + 1], mask[:, place : place + 1])
        torch.testing.assert_close(alone[:, place : place + 1], expected)


@pytest.mark.parametrize(
    ("layout", "parameters"),
    [
        (Layout(0, 28, False), 23_929_248),
        (Layout(400, 20, False), 24_417_600),
        (Layout(400, 20, True), 36_626_400),
        (Layout(784, 0, False), 30_522 * 784),
    ],
)
def test_the_sizes_of_the_paper(layout: Layout, parameters: int) -> None:
    with torch.device("meta"):
        encoder = MatrixEncoder(layout, Tables(30_522, 0))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


def test_matrices_of_low_rank() -> None:
    encoder, (ids, mask) = built(LAYOUTS["cmow"], rank=1), rows()
    table = encoder.embeddings["ahead"]
    left, right, diagonal = (part.weight[5] for part in (table.left, table.right, table.diagonal))
    torch.testing.assert_close(table(torch.tensor(5)), torch.outer(left, right) + diagonal.diag())
    assert sum(parameter.numel() for parameter in table.parameters()) == WORDS * D * 3
    torch.testing.assert_close(encoder(*rows()), encoder.states(ids, mask)[:, -1])


@pytest.mark.parametrize("init", ["noisy_identity", "identity", "normal"])
def test_how_matrices_are_drawn(init: str) -> None:
    torch.manual_seed(0)
    table = MatrixEncoder(Layout(0, 20, False), Tables(500, 0, init=init, std=0.05)).embeddings["ahead"]
    matrices = table(torch.arange(500)).detach()
    assert torch.equal(matrices[0], torch.eye(20)), "the padding row is neutral at first"
    noise = matrices[1:] - (0.0 if init == "normal" else torch.eye(20))
    if init == "identity":
        assert not noise.any()
    else:
        assert abs(float(noise.std()) - 0.05) < 1e-3 and abs(float(noise.mean())) < 1e-3


def test_how_matrices_of_low_rank_are_drawn() -> None:
    torch.manual_seed(0)
    table = MatrixEncoder(Layout(0, 20, False), Tables(500, 0, rank=2, std=0.05)).embeddings["ahead"]
    assert torch.equal(table(torch.tensor(0)), torch.eye(20)), "the padding row is neutral at first"
    for part, mean in ((table.left, 0.0), (table.right, 0.0), (table.diagonal, 1.0)):
        drawn = part.weight[1:].detach()
        assert abs(float(drawn.std()) - 0.05) < 2e-3 and abs(float(drawn.mean()) - mean) < 2e-3
    table(torch.arange(1, 500)).square().sum().backward()
    assert all(part.weight.grad[1:].any(dim=1).all() for part in (table.left, table.right, table.diagonal))


def test_dropout_takes_single_elements_and_the_diagonal_too() -> None:
    encoder, (ids, mask) = built(LAYOUTS["cmow"], dropout=0.5, init="identity"), rows(length=1)
    encoder.train()
    found = encoder(ids, mask).view(-1, D, D)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert not found[:, ~torch.eye(D, dtype=torch.bool)].any()
