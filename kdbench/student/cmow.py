"""CMOW, CBOW and their hybrid: words as matrices and vectors, a text as their product and sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kdbench.cmow.layout import Layout, checked_layout
from kdbench.cmow.pair import JOINT, PAIRS, paired_width
from kdbench.config import instantiate
from kdbench.error import ImpossibleError, KdbenchError
from kdbench.head import Head
from kdbench.model import Model
from kdbench.shape import Shape
from kdbench.value import choice, share, switch, whole

VERSION = 2

OF_HEAD = ("classifier", "pair", "always_pair")
"""Options that say nothing of the encoder: students that differ in them alone share their stages on a corpus."""

SIZES = ("layers", "width", "heads", "intermediate")


def complete(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without the sizes of a transformer.

    Raises:
        ImpossibleError: such a size that is given.
    """
    if given := [size for size in SIZES if options.get(size) is not None]:
        raise ImpossibleError(
            f"student.{given[0]}={options[given[0]]} is a transformer's, which student=cmow is not: choose "
            "student/size=as_model, and set student.matrix_width and student.vector_width"
        )
    return {key: value for key, value in options.items() if key not in SIZES}


def shape(options: Mapping[str, Any], classes: int, word_head: bool = False) -> Shape:
    """The shape that `cmow` would build from these options, without building it: one layer, as wide as a token's state.

    Raises:
        ImpossibleError, KdbenchError: options that do not fit each other.
    """
    layout = checked_layout(options)
    choice("student.pair", options["pair"], (JOINT, *PAIRS))
    switch("student.always_pair", options["always_pair"])
    if options["always_pair"] and options["pair"] == JOINT:
        raise KdbenchError(
            "student.always_pair=true is of texts that are read apart, and student.pair=joint reads them as one: set "
            "it to false, or choose another student.pair"
        )
    share("student.dropout", options["dropout"], below=True)
    _check_classifier(options["classifier"])
    classifier = instantiate(options["classifier"]).func
    width = layout.state if classifier.of_tokens else layout.pooled
    if classifier.of_tokens and options["padding"] == "released" and options["pair"] != JOINT:
        raise ImpossibleError(
            "student/classifier=bilstm reads a text from its first token on, and student.padding=released leaves the "
            "second one where it stands: set student.padding=neutral or student.pair=joint"
        )
    for pair in (JOINT, options["pair"]):
        classifier.check(partial(paired_width, pair), width, layout.block)
    return layout.shape(classes, word_head)


def _check_classifier(options: Any) -> None:
    if not isinstance(options, Mapping) or "_target_" not in options:
        raise KdbenchError(
            f"student.classifier={options} builds nothing: choose one of student/classifier, as student/classifier=mlp"
        )
    null = "as many as it reads" if str(options.get("_target_")).endswith(".BiLstm") else None
    if "hidden" in options:
        whole("student.classifier.hidden", options["hidden"], least=2, null=null)
    share("student.classifier.dropout", options.get("dropout", 0.0), below=True)
    switch("student.classifier.positive_scores", options.get("positive_scores", False))


def cmow(
    vocabulary: int,
    head: Head,
    classifier: Callable[..., Any],
    encoder: str = "hybrid",
    bidirectional: bool = True,
    matrix_width: int = 20,
    vector_width: int = 400,
    rank: int | None = None,
    init: str = "noisy_identity",
    std: float = 0.01,
    pair: str = "diffcat",
    always_pair: bool = False,
    padding: str = "neutral",
    alignment: str = "token",
    embedding_dropout: float = 0.0,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> Model:
    """A matrix embedding (Mai et al. 2019; Galke et al. 2022) with fresh weights from torch's generator.

    Args:
        vocabulary: V, the tokenizer's size.
        head: what the data asks for.
        classifier: from features to the scores of classes: an option of `student/classifier`.
        encoder: `cbow` adds vectors, `cmow` multiplies matrices, `hybrid` does both.
        bidirectional: a second product from the last word back, of matrices of its own.
        matrix_width, vector_width: d and e.
        rank: of the matrices; None: they are whole.
        init: of the matrices: `noisy_identity`, `identity` or `normal`.
        std: of all that is drawn: vectors, the noise of matrices, and linear maps.
        pair: two texts as one sequence (`joint`), or each by itself and then `diffcat`, `concat`, `hadamard`, `cosine`
            or `mean`; rows of one text are joint. Spans and words are always read from the joint sequence.
        always_pair: a row of one text is a pair whose second text is empty, as in the release's task distillation.
        padding: `neutral` adds 0 and multiplies by I; `released` takes it for a word.
        alignment: `token` gives a token's state both of its halves; `released` the second one of another token.
        embedding_dropout: of single elements of vectors and matrices.
        dropout: of what a head is given, unless that is a cosine.
        padding_id: the tokenizer's padding token.
    """
    from kdbench.cmow.build import build
    from kdbench.cmow.encoder import Tables

    layout = Layout.of(encoder, bidirectional, matrix_width, vector_width, alignment)
    tables = Tables(vocabulary, padding_id, rank, init, std, embedding_dropout, padding == "released")
    pair = pair if always_pair or getattr(head, "texts", 1) > 1 else JOINT
    return build(layout, tables, head, classifier, pair, dropout)
