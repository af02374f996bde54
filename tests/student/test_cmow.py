"""Matrix embeddings as students: whole sizes, every head, what they hand out, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import kdbench
from kdbench.check import check
from kdbench.config import CONF_DIR, instantiate, plain
from kdbench.data.batch import NO_PLACE, Batch
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.head import ABSENT, ChoiceHead, ClassHead, Head, SpanHead, WordHead
from kdbench.model import Model, own_weights, take_over
from kdbench.module.guards import texts_told_apart
from kdbench.outputs import Taps
from kdbench.student.cmow import shape
from kdbench.student.compressed import Compressed
from kdbench.vocabulary.tables import Vocabulary

Overrides = Callable[..., list[str]]
SMALL = ("student.matrix_width=3", "student.vector_width=9", "student.std=0.3")
PAIR = ClassHead(("no", "yes"), texts=2)
HEADS: dict[str, Head] = {
    "classes": ClassHead(("a", "b", "c")),
    "value": ClassHead(()),
    "pair": PAIR,
    "choices": ChoiceHead(2, texts=2),
    "spans": SpanHead(),
    "words": WordHead(),
    "answers": WordHead((4, 7)),
}


def node(*overrides: str) -> dict[str, Any]:
    return plain(kdbench.compose(["data=glue/rte", "student=cmow", *overrides]).student)  # type: ignore[no-any-return]


def built(head: Head, *overrides: str, words: int = 30) -> Model:
    torch.manual_seed(0)
    model: Model = instantiate(node(*overrides), vocabulary=words, head=head, padding_id=0)
    return model.eval()


def batch(padding: int = 0) -> Batch:
    """Rows of 7, 5 and 6 tokens, two texts each, of which the second begins with token 3, and a place each."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(7 + padding)[None] < torch.tensor([7, 5, 6, 4])[:, None]
    drawn = torch.randint(1, 30, (4, 7), generator=generator)
    ids = torch.nn.functional.pad(drawn, (0, padding)) * mask
    types = (torch.arange(7 + padding)[None] >= 3) * mask
    words = torch.full_like(ids, NO_PLACE).index_fill(1, torch.tensor([1]), 5)
    return Batch(ids, mask, types.long(), torch.tensor([0, 1, 1, 0]), torch.arange(4), words)


def of_choices(values: Batch) -> Batch:
    """The same sequences, two a row."""
    return replace(values, labels=values.labels[:2], index=values.index[:2])


@pytest.mark.parametrize(
    ("overrides", "classes", "parameters"),
    [
        ((), 2, 40_231_402),
        ((), 3, 40_232_403),
        ((), 21, 40_250_421),
        (("student.bidirectional=false",), 2, 26_822_602),
        (("student.bidirectional=false", "student.pair=joint"), 2, 25_222_602),
        (("student/classifier=mlp_same_width",), 2, 62_568_002),
        (("student/classifier=mlp_same_width", "student.pair=joint"), 2, 39_513_602),
    ],
)
def test_the_sizes_of_the_paper(overrides: Sequence[str], classes: int, parameters: int) -> None:
    with torch.device("meta"):
        model = built(ClassHead(tuple(map(str, range(classes))), texts=2), *overrides, words=30_522)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_size_with_a_vocabulary_head() -> None:
    with torch.device("meta"):
        model = built(WordHead(), words=30_522)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes.values()) == 85_492_122
    assert sum(size for name, size in sizes.items() if model.of_head(name)) == 48_865_722


def test_how_a_student_is_drawn() -> None:
    """The defaults are the paper's: vectors and linear maps from N(0, 0.01^2), matrices from I + N(0, 0.01^2), and
    padding neutral."""
    model: Any = built(PAIR, words=2_000)
    tables = model.body.embeddings
    noise = [tables[way].whole.weight[1:] - torch.eye(20).flatten() for way in ("ahead", "back")]
    maps = [part for part in model.classifier.modules() if isinstance(part, torch.nn.Linear)]
    for drawn in (tables["vectors"].weight[1:], *noise, *(each.weight for each in maps)):
        assert abs(float(drawn.detach().std()) - 0.01) < 5e-4 and abs(float(drawn.detach().mean())) < 1e-3
    assert len(maps) == 2 and not any(each.bias.any() for each in maps)
    assert not tables["vectors"].weight[0].any()
    assert all(torch.equal(tables[way](torch.tensor(0)), torch.eye(20)) for way in ("ahead", "back"))


def test_a_cosine_is_never_dropped() -> None:
    model = built(PAIR, *SMALL, "student.pair=cosine", "student/classifier=linear", "student.dropout=0.9")
    rows = batch()
    torch.testing.assert_close(logits(model.train(), rows), logits(model.eval(), rows))
    apart = built(PAIR, *SMALL, "student/classifier=linear", "student.dropout=0.9")
    assert not torch.equal(logits(apart.train(), rows), logits(apart.eval(), rows))


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_hands_out_what_its_shape_says(kind: str) -> None:
    head, rows = HEADS[kind], batch()
    rows = of_choices(rows) if kind == "choices" else rows
    model = built(head, *SMALL)
    said = model.shape
    everything = {name: frozenset({0, 1}) for name in ("hidden", "cls", "mean")}
    taps = Taps(logits="logits" in said.taps, decoder_inputs="decoder_inputs" in said.taps, **everything)  # type: ignore[arg-type]
    outputs = model(rows, taps)
    sequences = len(rows.input_ids)
    assert outputs.hidden[0].shape == outputs.hidden[1].shape == (sequences, 7, said.width)
    assert torch.equal(outputs.cls[1], outputs.hidden[1][:, 0]) and outputs.mean[1].shape == (sequences, said.width)
    expected = {"classes": (4, 3), "value": (4, 1), "pair": (4, 2), "choices": (2, 2), "spans": (4, 2, 7)}
    expected |= {"words": None, "answers": (4, 2)}  # type: ignore[dict-item]
    assert (None if outputs.logits is None else tuple(outputs.logits.shape)) == expected[kind]
    if isinstance(head, WordHead):
        assert outputs.decoder is not None and outputs.decoder_inputs is not None
        assert outputs.decoder(outputs.decoder_inputs).shape == (4, 7, 30)
        assert said.decoder_width == said.width
    task = node(*SMALL)
    classes = {"classes": 3, "value": 1, "pair": 2, "choices": 2, "spans": 2, "words": 0, "answers": 2}[kind]
    assert replace(shape(task, classes, isinstance(head, WordHead)), spans=kind == "spans") == said


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("encoder", ["cbow", "cmow", "hybrid"])
def test_padding_changes_no_answer(kind: str, encoder: str) -> None:
    model = built(HEADS[kind], *SMALL, f"student.encoder={encoder}")
    short, long = batch(), batch(padding=4)
    if kind == "choices":
        short, long = of_choices(short), of_choices(long)
    taps = Taps(logits="logits" in model.shape.taps, mean=frozenset({1}))
    said, padded = model(short, taps), model(long, taps)
    torch.testing.assert_close(padded.mean[1], said.mean[1])
    if said.logits is not None:
        padding = [each[..., 7:] for each in (padded.logits,) if kind == "spans"]
        assert all(bool((each == ABSENT).all()) for each in padding)
        torch.testing.assert_close(padded.logits[..., :7], said.logits)


def logits(model: Model, rows: Batch) -> Tensor:
    found: Tensor = model(rows, Taps(logits=True)).logits
    return found


def test_a_pair_is_read_text_by_text() -> None:
    """The other text plays no part in what is encoded of one, until both are combined."""
    model: Any = built(PAIR, *SMALL, "student/classifier=linear", "student.pair=concat")
    rows = batch()
    first = model.body(rows.input_ids[:, :3], rows.attention_mask[:, :3])
    second = model.body(rows.input_ids[:, 3:], rows.attention_mask[:, 3:])
    torch.testing.assert_close(logits(model, rows), model.classifier(torch.cat([first, second], dim=1)))
    joint: Any = built(PAIR, *SMALL, "student/classifier=linear", "student.pair=joint")
    expected = joint.classifier(joint.body(rows.input_ids, rows.attention_mask))
    torch.testing.assert_close(logits(joint, rows), expected)


def halves(body: Any, ids: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """What is before every place and what is after it, as the paper writes it, (B, S, 18) each; what does not count
    adds 0 and multiplies by I."""
    vectors = body.embeddings["vectors"].weight[ids] * counts[:, :, None]
    length, found = ids.shape[1], []
    for direction, places in (("ahead", range(length)), ("back", range(length - 1, -1, -1))):
        factors = body.embeddings[direction].whole.weight.view(-1, 3, 3)[ids]
        total, product, half = torch.zeros(len(ids), 9), torch.eye(3).expand(len(ids), 3, 3), {}
        for place in places:
            total = total + vectors[:, place]
            product = product @ torch.where(counts[:, place, None, None], factors[:, place], torch.eye(3))
            half[place] = torch.cat([total, product.flatten(1)], dim=1)
        found.append(torch.stack([half[place] for place in range(length)], dim=1))
    return found[0], found[1]


def with_padding_that_learned(head: Head, *overrides: str) -> Any:
    """A student whose padding is neither 0 nor I any more."""
    model: Any = built(head, *SMALL, "student/classifier=linear", *overrides)
    for table in model.body.embeddings.parameters():
        table.data[0] += 0.2
    return model


@pytest.mark.parametrize("form", ["joint", "diffcat", "one text and none"])
@pytest.mark.parametrize("padding", ["neutral", "released"])
def test_padding_is_a_word_in_a_student_as_released(padding: str, form: str) -> None:
    """The release sets the other text to padding where it stands, and multiplies that too."""
    pair = "joint" if form == "joint" else "diffcat"
    model = with_padding_that_learned(PAIR, f"student.padding={padding}", f"student.pair={pair}")
    rows = batch(padding=2)
    if form == "one text and none":
        rows = replace(rows, token_type_ids=torch.zeros_like(rows.input_ids))

    def encoded(own: Tensor) -> Tensor:
        everywhere = torch.ones_like(own)
        ahead, back = halves(model.body, rows.input_ids * own, everywhere if padding == "released" else own)
        return torch.cat([ahead[:, -1], back[:, 0, 9:]], dim=1)

    first = encoded(rows.attention_mask & (rows.token_type_ids == 0))
    second = encoded(rows.attention_mask & (rows.token_type_ids == 1))
    apart = torch.cat([first, second, (first - second).abs()], dim=1)
    expected = model.classifier(encoded(rows.attention_mask) if pair == "joint" else apart)
    torch.testing.assert_close(logits(model, rows), expected)


@pytest.mark.parametrize("alignment", ["token", "released"])
@pytest.mark.parametrize("padding", ["neutral", "released"])
def test_states_are_aligned_in_a_student_as_released(padding: str, alignment: str) -> None:
    """What a student hands out, and what heads of tokens read: of place i, or with the way back of the place that is
    as far from the other end, padding counted."""
    options, rows = (f"student.padding={padding}", f"student.alignment={alignment}"), batch(padding=2)
    layers = frozenset({0, 1})
    for head in (PAIR, SpanHead(), WordHead()):
        model = with_padding_that_learned(head, *options)
        counts = rows.attention_mask | (padding == "released")
        ahead, back = halves(model.body, rows.input_ids, counts)
        expected = torch.cat([ahead, back.flip(1) if alignment == "released" else back], dim=2)
        taps = Taps(hidden=layers, logits=isinstance(head, SpanHead), decoder_inputs=isinstance(head, WordHead))
        said = model(rows, taps)
        torch.testing.assert_close(said.hidden[1], expected)
        alone = [halves(model.body, rows.input_ids[:, [place]], counts[:, [place]] | True) for place in range(9)]
        torch.testing.assert_close(said.hidden[0], torch.cat([torch.cat(each, dim=2) for each in alone], dim=1))
        if isinstance(head, WordHead):
            torch.testing.assert_close(said.decoder_inputs, expected)
        if isinstance(head, SpanHead):
            scores = model.spans(expected).transpose(1, 2).masked_fill(~rows.attention_mask[:, None], ABSENT)
            torch.testing.assert_close(said.logits, scores)


def test_a_single_text_is_a_pair_only_if_asked() -> None:
    single = ClassHead(("no", "yes"))
    plain_one: Any = built(single, *SMALL)
    always: Any = built(single, *SMALL, "student.always_pair=true")
    assert plain_one.pair == "joint" and always.pair == "diffcat"
    assert always.classifier.hidden.in_features == 3 * plain_one.classifier.hidden.in_features


def test_a_head_changes_and_the_body_stays() -> None:
    """As between a stage on a corpus and one on a task."""
    words, classes = built(WordHead(), *SMALL), built(PAIR, *SMALL)
    before = own_weights(classes)
    take_over(classes, own_weights(words))
    after, theirs = own_weights(classes), own_weights(words)
    for name, value in after.items():
        assert torch.equal(value, before[name] if classes.of_head(name) else theirs[name])
    with pytest.raises(RuntimeError, match="body"):
        take_over(built(PAIR, *SMALL, "student.encoder=cmow"), own_weights(words))


def test_fewer_words_than_the_tokenizer() -> None:
    """With every word kept it is the same student; a removed word is read as its substitute."""
    rows, inner = batch(), built(PAIR, *SMALL)
    every = Vocabulary(np.arange(30), np.arange(30))
    torch.testing.assert_close(logits(Compressed(inner, every).eval(), rows), logits(inner, rows))
    half = Vocabulary(np.arange(30) // 2, np.arange(0, 30, 2))
    small = Compressed(built(PAIR, *SMALL, words=15), half).eval()
    other = replace(rows, input_ids=rows.input_ids // 2 * 2 * rows.attention_mask)
    torch.testing.assert_close(logits(small, rows), logits(small, other))


OF_TRANSFORMERS = sorted(
    file.stem
    for file in (CONF_DIR / "knowledge").glob("*.yaml")
    if file.stem.startswith(("attention", "feed_forward", "logit_lens")) or file.stem.endswith("_relation")
)


@pytest.mark.parametrize("term", OF_TRANSFORMERS)
def test_what_it_cannot_give_is_refused(term: str) -> None:
    cfg = kdbench.compose(["data=glue/rte", "student=cmow", "method=unified", f"knowledge={term}"])
    with pytest.raises(ImpossibleError, match="which that architecture does not have: choose another knowledge"):
        check(cfg)


@pytest.mark.parametrize("term", ["logits", "hidden", "hidden_cls", "hidden_mean", "embeddings", "gram_tokens",
                                  "pairwise_cosine", "triplet_angle"])  # fmt: skip
def test_what_it_can_give_passes(term: str) -> None:
    projected = ["projection=to_teacher"] if term in ("hidden", "hidden_cls", "hidden_mean", "embeddings") else []
    checked = check(
        kdbench.compose(["data=glue/rte", "student=cmow", "method=unified", f"knowledge={term}", *projected])
    )
    assert (checked.student.layers, checked.student.width) == (1, 1600)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["student/size=l2_h192"], "student.layers=2 is a transformer's"),
        (["student.encoder=gru"], "student.encoder=gru is unknown: choose cbow, cmow or hybrid"),
        (["student.matrix_width=0"], "student.matrix_width=0 must be a whole number of at least 1"),
        (["student.pair=sum"], "student.pair=sum is unknown"),
        (["student.init=zeros"], "student.init=zeros is unknown"),
        (["student.padding=skip"], "student.padding=skip is unknown"),
        (["student.alignment=left"], "student.alignment=left is unknown"),
        (["student.std=0"], "student.std=0 must be a number greater than 0"),
        (["student.dropout=1"], "student.dropout=1 must be a number from 0 to below 1"),
        (["student.embedding_dropout=-1"], "student.embedding_dropout=-1"),
        (["student.rank=10"], "student.rank=10 saves nothing"),
        (["student.rank=2", "student.encoder=cbow"], "student.encoder=cbow has none"),
        (["student.rank=2", "student.init=identity"], "set student.init=noisy_identity, or student.rank=null"),
        (["student.init=normal", "student.encoder=cbow"], "leave it noisy_identity"),
        (["student.alignment=released", "student.bidirectional=false"], "set student.bidirectional=true"),
        (["student.always_pair=true", "student.pair=joint"], "choose another student.pair"),
        (["student.bidirectional=2"], "student.bidirectional=2 must be true or false"),
        (["student/classifier=cnn", "student.vector_width=300"], "student.vector_width"),
        (["student.classifier.hidden=1"], "student.classifier.hidden=1 must be a whole number of at least 2"),
        (["student.classifier=null"], "student.classifier=None builds nothing"),
        (["student/classifier=linear_probe", "student.pair=cosine"], "choose student/classifier=linear"),
        (
            [
                "student/classifier=linear_probe",
                "student.encoder=cmow",
                "student.matrix_width=1",
                "student.bidirectional=false",
                "student.pair=mean",
            ],
            "features, which have a width of 1",
        ),
        (["student/classifier=cnn", "student.matrix_width=2", "student.vector_width=4"], "images of 4 x 4"),
        (["student/classifier=bilstm", "student.padding=released"], "padding=neutral or student.pair=joint"),
        (["student/classifier=cnn", "student.classifier.dropout=2"], "student.classifier.dropout=2 must be a number"),
        (["student/classifier=linear_probe", "student.classifier.positive_scores=1"], "must be true or false"),
        (["initialization=teacher_uniform"], "choose initialization=random"),
        (["initialization=nearest_kronecker"], "choose student=kronecker"),
    ],
)
def test_bad_options_are_refused_with_the_way_out(overrides: list[str], sentence: str) -> None:
    with pytest.raises(KdbenchError, match=re.escape(sentence)):
        check(kdbench.compose(["data=glue/rte", "student=cmow", "method=kd", *overrides]))


def test_tokens_that_do_not_tell_texts_apart_are_refused() -> None:
    def tokenizer(types: list[int]) -> Any:
        return lambda *texts, return_token_type_ids: {"token_type_ids": types}

    with pytest.raises(KdbenchError, match=r"student\.pair=joint"):
        texts_told_apart(built(PAIR, *SMALL), tokenizer([0, 0, 0, 0]))
    texts_told_apart(built(PAIR, *SMALL, "student.pair=joint"), tokenizer([0, 0, 0, 0]))
    texts_told_apart(built(PAIR, *SMALL), tokenizer([0, 0, 1, 1]))


def test_its_tables_count_as_embeddings_and_nothing_as_layers(tmp_path: Path) -> None:
    from kdbench.cost import flops, parameters

    model = built(PAIR, *SMALL, "student/classifier=linear", "student.pair=joint")
    found = parameters(model)
    assert (found["embeddings"], found["encoder"]) == (30 * (9 + 2 * 9), 0)
    # 127 products of 3 x 3 matrices each way, and 27 features on 2 scores.
    assert flops(model) == 2 * 127 * 2 * 3**3 + 2 * 27 * 2


def test_a_pair_costs_what_two_texts_of_half_the_length_do() -> None:
    from kdbench.cost import flops

    model = built(PAIR, *SMALL, "student/classifier=linear", "student.pair=diffcat")
    assert flops(model) == 2 * (2 * 63 * 2 * 3**3) + 2 * 3 * 27 * 2


def test_the_operations_of_an_lstm_and_of_convolutions_count() -> None:
    from kdbench.cost import flops

    states = 2 * 127 * 2 * 3**3
    lstm = built(PAIR, *SMALL, "student/classifier=bilstm", "student.pair=joint")
    # Four gates from a state of 36 numbers and as many units, at each of 128 tokens both ways; then two maps.
    assert flops(lstm) == states + 2 * 128 * 4 * 2 * 36 * (36 + 36) + 2 * 72 * 36 + 2 * 36 * 2
    wider = ("student.matrix_width=4", "student.vector_width=16", "student/classifier=cnn", "student.pair=joint")
    # Three images of 4 x 4, made 16 x 16; kernels of 4 x 4 to 13 x 13, and of 3 x 3 to 6 x 6 and 2 x 2 of five.
    images = 16 * 3 * 3 * 16 + 13**2 * 3 * 3 * 16 + 6**2 * 5 * 3 * 9 + 2**2 * 5 * 5 * 9
    assert flops(built(PAIR, *wider)) == 2 * 127 * 2 * 4**3 + 2 * images + 2 * 5 * 2**2 * 2
