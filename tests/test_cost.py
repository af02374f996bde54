"""Costs against closed forms, and the latency protocol against a clock of our own."""

from __future__ import annotations

import itertools

import pytest
import torch

from kdbench import cost
from kdbench.cost import settled_median  # the protocol itself, which no other test waits for
from kdbench.encoder.base import Encoder
from kdbench.encoder.load import from_config, head_options
from kdbench.head import ClassHead


def bert(layers: int, width: int, intermediate: int, vocabulary: int = 30522, heads: int = 12) -> Encoder:
    from transformers import BertConfig

    return from_config(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=intermediate,
            **head_options(ClassHead(("no", "yes"))),
        )
    )


@pytest.fixture
def tiny() -> Encoder:
    return bert(2, 16, 32, vocabulary=50, heads=2)


@pytest.mark.parametrize(
    ("layers", "width", "body"),
    [(12, 768, 109_482_240), (6, 384, 22_713_216), (2, 128, 4_385_920)],  # published sizes without a task head
)
def test_parameters_of_bert_follow_the_closed_form(layers: int, width: int, body: int) -> None:
    inner = 4 * width
    with torch.device("meta"):
        found = cost.parameters(bert(layers, width, inner, heads=width // 32))
    embeddings = (30522 + 512 + 2) * width + 2 * width
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    assert found == {"total": body + 2 * width + 2, "embeddings": embeddings, "encoder": layers * layer}
    assert body == embeddings + layers * layer + width * width + width  # the rest is the pooler


def test_a_shared_parameter_counts_once(tiny: Encoder) -> None:
    before, bytes_before = cost.parameters(tiny)["total"], cost.weight_bytes(tiny)
    tiny.layers[1] = tiny.layers[0]
    shared = sum(parameter.numel() for parameter in tiny.layers[0].parameters())
    assert cost.parameters(tiny)["total"] == before - shared
    assert cost.weight_bytes(tiny) == bytes_before - 4 * shared


@pytest.mark.parametrize("length", [16, 128])
def test_flops_of_bert_follow_the_closed_form(length: int) -> None:
    layers, width, inner = 3, 24, 40
    found = cost.flops(bert(layers, width, inner, vocabulary=50, heads=2), length)
    projections = 4 * 2 * length * width * width
    attention = 2 * 2 * length * length * width
    feed_forward = 2 * 2 * length * width * inner
    assert found == layers * (projections + attention + feed_forward) + 2 * width * width + 2 * width * 2


def test_a_model_with_few_positions_is_measured_at_its_longest(tiny: Encoder) -> None:
    from transformers import BertConfig

    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    short = from_config(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=48))
    assert cost.flops(short) == cost.flops(tiny, length=48)
    assert cost.latency(short)["batch_1"] > 0


def test_bytes_are_those_of_the_saved_file(tiny: Encoder, tmp_path) -> None:
    tiny.save(tmp_path)
    header = 8 + int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert cost.weight_bytes(tiny) == (tmp_path / "model.safetensors").stat().st_size - header


def test_measuring_leaves_no_trace(tiny: Encoder) -> None:
    tiny.train()
    tiny.layers[1].eval()
    modes = [part.training for part in tiny.modules()]
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in tiny.state_dict().items()}
    found = cost.measure(tiny)
    assert [part.training for part in tiny.modules()] == modes
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in tiny.state_dict().items())
    assert set(found) == {"parameters", "flops", "latency_ms", "bytes"}
    assert set(found["latency_ms"]) == {"batch_1", "batch_32"}
    assert all(value > 0 for value in found["latency_ms"].values())


def test_latency_runs_in_evaluation_mode_with_the_stated_threads_and_shapes(tiny: Encoder) -> None:
    seen = set()

    def look(module, arguments) -> None:
        batch = arguments[0]
        seen.add((tuple(batch.input_ids.shape), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        assert not module.training
        assert batch.attention_mask.all()

    tiny.register_forward_pre_hook(look)
    cost.latency(tiny.train(), threads=1)
    assert seen == {((1, 64), 1, True), ((32, 64), 1, True)}


def test_threads_and_mode_are_restored_after_a_failure(tiny: Encoder) -> None:
    def fail(module, arguments) -> None:
        raise MemoryError

    threads = torch.get_num_threads()
    tiny.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        cost.latency(tiny.train(), threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert tiny.training


class Clock:
    """Every call of the timed thing takes the next of the given seconds, the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.calls = 0.0, 0
        self.seconds = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    def work(self) -> None:
        self.now += next(self.seconds)
        self.calls += 1

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "median", "calls"),
    [
        ((0.01,), 0.01, 6 + 20),  # two equal windows, then the timed calls
        ((9.0, 0.04, 0.03, *[0.02] * 3, 0.01), 0.01, 12 + 20),  # goes on until two medians agree
        ((2.0,), 2.0, 1 + 3),  # a slow model: the budget ends the warm-up and the timing
        ((0.25,), 0.25, 4 + 4),
        ((0.001,), 0.001, 6 + 100),  # a fast model is timed for a tenth of a second
    ],
)
def test_the_protocol(seconds: tuple[float, ...], median: float, calls: int) -> None:
    clock = Clock(*seconds)
    budget = 100.0 if seconds[0] == 9.0 else 1.0
    assert settled_median(clock.work, 20, budget, clock) == pytest.approx(median)
    assert clock.calls in (calls, calls + 1)  # sums of floating-point seconds
