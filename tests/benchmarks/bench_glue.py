"""Time of a CoLA epoch, ours beside plain `transformers` loops, interleaved in one process.

    python -m tests.benchmarks.bench_glue --data-dir glue_data --tokenizer owt_shards/ --precision bf16

The rivals are the loop that the library's examples show: `ElectraForSequenceClassification`, `AdamW`, linear
schedule, clipping, shuffled batches of 32, padded to 128 tokens, or each to its longest row. Rows are tokenized
beforehand and weights start at random in the small size. The loops take turns of five updates, drawn from the 268
that each makes in an epoch, so that other load on the machine hits all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import train_glue
from electra.config import EncoderConfig, FinetuneConfig
from electra.glue.batches import Features, encode, training_batches
from electra.glue.files import Rows, read_split
from electra.glue.finetune import Start, build_classifier
from electra.glue.inputs import Data
from electra.glue.tasks import TASKS
from electra.tokenizer.wordpiece import load_tokenizer
from electra.training.devices import autocast, resolve_precision

UPDATES_PER_EPOCH = 268
BATCH_SIZE = 32
TURN_UPDATES = 5
CPU = torch.device("cpu")


def select(rows: Rows, features: Features, chosen: np.ndarray) -> Data:
    """Some rows as a training split of their own."""
    parts = [features.ids[features.starts[row] : features.starts[row + 1]] for row in chosen]
    features = dataclasses.replace(features, ids=np.concatenate(parts), starts=np.cumsum([0, *map(len, parts)]),
                                   second_starts=features.second_starts[chosen])  # fmt: skip
    rows = dataclasses.replace(rows, first=[rows.first[row] for row in chosen], labels=rows.labels[chosen])
    return Data(TASKS["cola"], {"train": rows}, {"train": features})


def plain_loop(shape: EncoderConfig, precision: str, width: int) -> Callable[[Data], None]:
    """Updates of the plain loop on some rows; `width` 0 pads each batch to its longest row."""
    config = transformers.ElectraConfig(
        vocab_size=shape.vocab_size, embedding_size=shape.embedding_size, hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers, num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
    )  # fmt: skip
    model = transformers.ElectraForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 80, 804)
    dtype = resolve_precision(precision, CPU)

    def run(data: Data) -> None:
        features, labels = data.features["train"], torch.from_numpy(data.rows["train"].labels)
        model.train()
        for rows in np.random.default_rng(0).permutation(len(features)).reshape(-1, BATCH_SIZE):
            texts = [features.ids[features.starts[row] : features.starts[row + 1]] for row in rows]
            length = width or max(map(len, texts))
            ids, mask = np.zeros((BATCH_SIZE, length), np.int64), np.zeros((BATCH_SIZE, length), np.int64)
            for place, text in enumerate(texts):
                ids[place, : len(text)], mask[place, : len(text)] = text, 1
            with autocast(CPU, dtype):
                loss = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask),
                             labels=labels[rows]).loss  # fmt: skip
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    return run


def main() -> None:
    """Let the three loops take turns, and print seconds an epoch and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("glue_data"))
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder or file with a tokenizer")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--turns", type=int, default=12, help="each of 5 updates a loop (default 12: 60 updates)")
    asked = parser.parse_args()

    tokenizer = load_tokenizer(asked.tokenizer)
    shape = EncoderConfig(vocab_size=tokenizer.vocab_size)
    rows = read_split(TASKS["cola"], asked.data_dir, "train")
    features = encode(rows.first, None, tokenizer, 128)
    config = FinetuneConfig(num_epochs=1, precision=asked.precision)
    model = build_classifier(Start(Path(), shape, tokenizer, 0, ""), 2, config, 0, from_scratch=True)
    loops: dict[str, Callable[[Data], Any]] = {
        "ours": lambda data: train_glue.train(model, data, config, 0, CPU),
        "padded to 128": plain_loop(shape, asked.precision, 128),
        "padded to the longest": plain_loop(shape, asked.precision, 0),
    }
    random = np.random.default_rng(1)
    plan = [batch for batch in training_batches(features.lengths, BATCH_SIZE, 0, 0) if len(batch) == BATCH_SIZE]
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}  # wall and processor seconds an epoch
    for turn in range(asked.turns + 1):  # the first warms up
        ours = np.concatenate([plan[place] for place in random.permutation(len(plan))[:TURN_UPDATES]])
        anyones = random.permutation(len(rows))[: TURN_UPDATES * BATCH_SIZE]
        for name, loop in loops.items():
            data = select(rows, features, ours if name == "ours" else anyones)
            began = (time.perf_counter(), time.process_time())
            loop(data)
            ended = (time.perf_counter(), time.process_time())
            if turn:
                wall, processor = (
                    UPDATES_PER_EPOCH / TURN_UPDATES * (b - a) for a, b in zip(began, ended, strict=True)
                )
                spent[name].append((wall, processor))
        print(f"turn {turn}: " + ", ".join(f"{name} {times[-1][0]:.0f} s" for name, times in spent.items() if times))
    result: dict[str, Any] = {
        "precision": str(resolve_precision(asked.precision, CPU)),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "mean_length": round(float(features.lengths.mean()), 1),
        "updates_timed": TURN_UPDATES * asked.turns,
    }
    for column, clock in enumerate(("wall", "processor")):
        times = {name: np.array(pairs)[:, column] for name, pairs in spent.items()}
        result[f"{clock}_seconds_per_epoch"] = {name: round(float(np.median(t)), 1) for name, t in times.items()}
        for name in ("padded to 128", "padded to the longest"):
            ratio = float(np.median(times["ours"] / times[name]))
            result[f"ours over {name}, {clock}, median of turns"] = round(ratio, 3)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
