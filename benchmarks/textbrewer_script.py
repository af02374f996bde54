"""One distillation as a user of TextBrewer writes it, from its examples: a script, run once for every student.

A fine-tuned teacher in a Hugging Face folder, a student of half its depth that begins with every second layer of it,
rows from CSV files, batches padded to their longest row, cross-entropy with the label and with the softened answer of
the teacher, and the mean squared error of the hidden states; after each epoch the accuracy, at the end the student.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)

from benchmarks.peer import peer
from benchmarks.task import fused_adamw

BATCH, WARM_UP_SHARE, CLIP_NORM = 32, 0.1, 1.0


def main() -> None:
    options = arguments()
    textbrewer = peer("textbrewer")
    assert textbrewer is not None
    torch.manual_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.teacher)
    teacher = AutoModelForSequenceClassification.from_pretrained(options.teacher)
    student = half_of(teacher)
    pairs = [(layer, layer * 2) for layer in range(len(student.bert.encoder.layer) + 1)]
    settings = textbrewer.DistillationConfig(
        temperature=options.temperature,
        hard_label_weight=1,
        kd_loss_weight=options.temperature**2,
        intermediate_matches=[
            {"layer_T": theirs, "layer_S": ours, "feature": "hidden", "loss": "hidden_mse", "weight": 1}
            for ours, theirs in pairs
        ],
    )
    training = textbrewer.TrainingConfig(output_dir=str(options.out), device="cpu")
    distiller = textbrewer.GeneralDistiller(training, settings, teacher, student, adapt, adapt)
    padded = DataCollatorWithPadding(tokenizer)

    def collate(found: list[dict[str, Any]]) -> dict[str, Any]:
        return dict(padded(found))  # TextBrewer passes names on for a dict alone

    train = loader(options.train, tokenizer, collate, shuffle=True)
    validation = loader(options.validation, tokenizer, collate, shuffle=False)
    steps, scores = options.epochs * len(train), []

    def evaluate(model: torch.nn.Module, step: int) -> None:
        scores.append(accuracy(model, validation))

    with distiller:
        distiller.train(
            fused_adamw(student.named_parameters(), options.lr),
            train,
            num_epochs=options.epochs,
            scheduler_class=get_linear_schedule_with_warmup,
            scheduler_args={"num_warmup_steps": round(WARM_UP_SHARE * steps), "num_training_steps": steps},
            max_grad_norm=CLIP_NORM,
            callback=evaluate,
            output_hidden_states=True,
        )
    (options.out / "score.json").write_text(json.dumps(max(scores)), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("teacher", "train", "validation", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, kind in (("seed", int), ("epochs", int), ("temperature", float), ("lr", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser.parse_args()


def half_of(teacher: Any) -> Any:
    """Half the layers, with the weights of the teacher's second, fourth, ... layer and of its embeddings and head."""
    config = AutoConfig.from_pretrained(teacher.config.name_or_path)
    config.num_hidden_layers //= 2
    student = AutoModelForSequenceClassification.from_config(config)
    kept = teacher.state_dict()
    for name in student.state_dict():
        before, _, after = name.partition("encoder.layer.")
        if after:
            layer, _, rest = after.partition(".")
            kept[name] = teacher.state_dict()[f"{before}encoder.layer.{2 * int(layer) + 1}.{rest}"]
    student.load_state_dict({name: kept[name] for name in student.state_dict()})
    return student


def loader(path: Path, tokenizer: Any, collate: Any, shuffle: bool) -> torch.utils.data.DataLoader[Any]:
    frame = pd.read_csv(path)
    encoded = tokenizer(frame["text"].tolist(), truncation=True, max_length=128)
    rows = [
        {**{name: values[row] for name, values in encoded.items()}, "labels": int(label)}
        for row, label in enumerate(frame["label"])
    ]
    return torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=shuffle, collate_fn=collate)  # type: ignore[arg-type]


def adapt(batch: Any, outputs: Any) -> dict[str, Any]:
    return {
        "logits": outputs.logits,
        "hidden": outputs.hidden_states,
        "losses": outputs.loss,
        "inputs_mask": batch["attention_mask"],
    }


def accuracy(model: torch.nn.Module, rows: torch.utils.data.DataLoader[Any]) -> float:
    model.eval()
    with torch.no_grad():
        right = [(model(**batch).logits.argmax(-1) == batch["labels"]).float() for batch in rows]
    model.train()
    return float(torch.cat(right).mean())


if __name__ == "__main__":
    main()
