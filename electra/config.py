"""Every setting with its default, range, unit and source; model sizes and recipes, which are presets of settings.

Sources: "table N", "section N": Mercier (Reproducibility Challenge 2020); "release": google-research/electra @ 8a46635.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from electra.cli import check_settings, flag_name, setting, settings_table
from electra.ids import MAX_VOCAB_SIZE

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SCHEDULES = ("warmup_then_linear", "warmup_times_linear")
RECIPE_NAMES = ("mercier", "official")


# fmt: off
@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of one transformer encoder. The defaults are the discriminator of ELECTRA-Small."""

    vocab_size: int = setting(30522, "words of the tokenizer", low=5, high=MAX_VOCAB_SIZE, source="table 5", flag=False)
    embedding_size: int = setting(128, "width of the three embedding tables", low=1, source="table 5")
    hidden_size: int = setting(256, "width between layers", low=1, source="table 5")
    num_layers: int = setting(12, "transformer layers, both networks", low=1, source="table 5")
    num_heads: int = setting(4, "attention heads; divides the hidden size", low=1, source="table 5")
    intermediate_size: int = setting(1024, "inner width of the feed-forward part", low=1, source="table 5")
    max_position_embeddings: int = setting(512, "rows of the position table", low=2, source="release")
    type_vocab_size: int = setting(2, "rows of the token-type table", low=1, source="release")
    hidden_dropout_prob: float = setting(0.1, "dropout after embeddings and dense parts", low=0, high=0.99, source="table 5")
    attention_dropout_prob: float = setting(0.1, "dropout on attention probabilities", low=0, high=0.99, source="table 5")
    initializer_range: float = setting(0.02, "standard deviation of the truncated normal", low=0, high=1, source="release")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.hidden_size % self.num_heads:
            expected = f"expected a divisor of --hidden-size {self.hidden_size}"
            raise ValueError(f"--num-heads: {expected}, found {self.num_heads}; change one")

    def generator(self, generator_size: float) -> EncoderConfig:
        """Return the generator's shape: same depth and embeddings; hidden size, heads and feed-forward size are scaled.

        Source: release run_pretraining.py:338-348 (at the small size, heads are 64 wide and the inner width 4 x hidden).
        """
        hidden_size = round(self.hidden_size * generator_size)
        num_heads = max(1, hidden_size // (self.hidden_size // self.num_heads))
        if hidden_size % num_heads:
            problem = f"{num_heads} heads do not divide the width {hidden_size}"
            raise ValueError(f"--generator-size {generator_size}: {problem}; try 0.125, 0.25, 0.5, 0.75 or 1")
        inner = round(self.intermediate_size * generator_size)
        return dataclasses.replace(self, hidden_size=hidden_size, num_heads=num_heads, intermediate_size=inner)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training run. A resumed run may change only the settings marked free."""

    recipe: str = setting("mercier", "preset the other settings start from", choices=RECIPE_NAMES, renamed={"report": "mercier"})
    size: str = setting("small", "preset of shape and schedule; small is table 5, the others are ours", choices=("demo", "tiny", "mini", "small"))
    seed: int = setting(0, "seed of all random streams", low=0)
    objective: str = setting("rtd", "replaced-token detection, or masked language modeling alone (the BERT-Small control)", choices=("rtd", "mlm"))
    generator_size: float = setting(0.25, "generator width divided by discriminator width", low=0.01, high=1, source="table 5")
    mask_prob: float = setting(0.15, "share of a row's real tokens that are targets", low=0.01, high=0.9, source="table 5")
    mask_token_prob: float = setting(0.85, "share of targets shown as [MASK]; the rest stay visible", low=0, high=1, source="release pretrain_helpers.py")
    gen_weight: float = setting(1.0, "weight of the masked-LM loss", low=0, source="release")
    disc_weight: float = setting(50.0, "weight of the replaced-token loss (lambda)", low=0, source="release")
    num_train_steps: int = setting(1_000_000, "horizon of the schedule", unit="updates", low=1, high=9_999_999, source="table 5")
    num_warmup_steps: int = setting(10_000, "linear warm-up; if not given, a fixed share of the horizon", unit="updates", low=0, source="table 5")
    learning_rate: float = setting(5e-4, "peak", low=0, high=1, source="table 5")
    schedule: str = setting("warmup_then_linear", "shape of the learning-rate schedule", choices=SCHEDULES)
    adam_beta1: float = setting(0.9, "decay of the first moment", low=0, high=0.9999, source="table 5")
    adam_beta2: float = setting(0.999, "decay of the second moment", low=0, high=0.999999, source="both code bases; table 5 prints 0.9999")
    adam_epsilon: float = setting(1e-6, "added to the root of the second moment", low=0, high=1, source="table 5")
    bias_correction: bool = setting(True, "Adam's correction of its moments", source="Mercier: AdamW; release: no")
    weight_decay: float = setting(0.01, "for matrices and tables; biases and LayerNorm have none", low=0, high=1, source="table 5")
    max_grad_norm: float = setting(1.0, "clip of the joint gradient norm", low=0.000001, source="release")
    batch_size: int = setting(128, "rows in one update, all ranks together", unit="rows", low=1, source="table 5")
    seq_length: int = setting(128, "row length", unit="tokens", low=3, source="table 5")
    sampling: str = setting("documents", "windows: one per document and epoch, or uniform over tokens", choices=("documents", "tokens"), source="section 3.2")
    precision: str = setting("auto", "of matrix products; auto: bf16 where the hardware has it, else fp16 on CUDA and fp32 on a CPU", choices=PRECISIONS)
    deterministic: bool = setting(False, "byte-equal repetition on a GPU, slower")
    init_from: str = setting("", "checkpoint whose weights to start from, with a fresh optimizer and schedule")
    init_networks: str = setting("both", "networks to take from --init-from; a network not taken starts new", choices=("both", "discriminator"))

    data: str = setting("", "folder of token shards; without it, a demo on Python's own documentation", free=True)
    run_dir: str = setting("runs/pretrain", "folder of the run", free=True)
    micro_batch_size: int = setting(0, "rows at a time on one device; 0: all of its share", unit="rows", low=0, free=True)
    device: str = setting("auto", "cpu, cuda or auto", choices=("auto", "cpu", "cuda"), free=True)
    compile: str = setting("auto", "compile the objective with torch.compile; auto: on CUDA", choices=("auto", "on", "off"), free=True)
    cuda_graph: bool = setting(True, "on CUDA, record an update's passes once and replay them; never with --deterministic", free=True)
    num_threads: int = setting(0, "CPU threads of one rank; 0: torch's choice", unit="threads", low=0, free=True)
    stop_after: int = setting(0, "stop at this update; the schedule stays the same; 0: at the end of the schedule", unit="updates", low=0, free=True)
    max_hours: float = setting(0.0, "save and stop this long after training starts or resumes; 0: never", unit="hours", low=0, free=True)
    max_skipped: int = setting(20, "stop, at the next log line, after this many updates in a row with gradients that are not finite", unit="updates", low=1, free=True)
    on_collapse: str = setting("warn", "reaction to a collapsed discriminator", choices=("warn", "stop"), free=True)
    log_every: int = setting(100, "between two lines of metrics.jsonl", unit="updates", low=1, free=True)
    eval_every: int = setting(10_000, "between two held-out evaluations", unit="updates", low=1, free=True)
    eval_rows: int = setting(1024, "held-out windows an evaluation reads", unit="rows", low=1)
    checkpoint_every: int = setting(10_000, "between two checkpoints", unit="updates", low=1, free=True)
    keep_checkpoints: int = setting(2, "newest checkpoints kept", low=1, free=True)
    milestones: tuple[float, ...] = setting((0.0, 0.0625, 0.125, 0.25, 0.5, 0.75, 1.0), "fractions of the schedule at which the weights are kept for good", low=0, high=1, source="table 2", free=True)
    log_examples: bool = setting(False, "show a corrupted row with the probabilities at each evaluation", free=True)
    track: str = setting("", "copy metrics.jsonl to a service", choices=("", "wandb", "tensorboard"), free=True)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.num_warmup_steps >= self.num_train_steps:
            limit = f"--num-train-steps {self.num_train_steps}"
            raise ValueError(f"--num-warmup-steps {self.num_warmup_steps} must be below {limit}; lower it")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One fine-tuning protocol, the same for every task and seed."""

    recipe: str = setting("mercier", "preset the other settings start from", choices=RECIPE_NAMES, renamed={"report": "mercier"})
    num_epochs: int = setting(0, "passes over the training rows; 0: the task's own, 10 for RTE and STS-B, else 3", unit="epochs", low=0, source="table 6")
    batch_size: int = setting(32, "rows in one update", unit="rows", low=1, source="table 6")
    max_seq_length: int = setting(128, "longest row", unit="tokens", low=5, source="release")
    learning_rate: float = setting(3e-4, "peak, at the task head", low=0, high=1, source="table 6")
    layerwise_lr_decay: float = setting(0.8, "learning rate of a layer divided by the rate of the layer above", low=0.01, high=1, source="table 6")
    layerwise_lr_top_exponent: int = setting(1, "the top layer's rate is the decay to this power", low=0, high=2, source="paper 1; release 2, its issue 51")
    warmup_fraction: float = setting(0.1, "share of the updates that warm up", low=0, high=0.99, source="release; table 6 prints 10,000 steps")
    schedule: str = setting("warmup_then_linear", "shape of the learning-rate schedule", choices=SCHEDULES)
    adam_beta1: float = setting(0.9, "decay of the first moment", low=0, high=0.9999, source="table 6")
    adam_beta2: float = setting(0.999, "decay of the second moment", low=0, high=0.999999, source="both code bases; table 6 prints 0.9999")
    adam_epsilon: float = setting(1e-6, "added to the root of the second moment", low=0, high=1, source="table 6")
    bias_correction: bool = setting(True, "Adam's correction of its moments", source="Mercier: AdamW; release: no")
    weight_decay: float = setting(0.0, "for matrices and tables; biases and LayerNorm have none", low=0, high=1, source="table 6")
    max_grad_norm: float = setting(1.0, "clip of the gradient norm", low=0.000001, source="release")
    dropout: float = setting(0.1, "in the encoder and the head", low=0, high=0.99, source="table 6")
    pooling: str = setting("mean", "row vector: mean over real tokens, or the first token", choices=("mean", "first"), source="section 3.1")
    head: str = setting("mlp", "dense-GELU-dense, or one dense layer", choices=("mlp", "linear"), source="section 3.1")
    loss_reduction: str = setting("mean", "reduction of the loss over the batch", choices=("mean", "sum"), source="release: sum")
    pair_swap: bool = setting(False, "train on each MRPC and STS-B pair also with its two texts swapped", source="release, its issue 98")
    token_types: bool = setting(True, "token type 1 for the second text; off: type 0 everywhere", source="release")
    length_buckets: bool = setting(True, "batch rows of similar length together")
    precision: str = setting("auto", "of matrix products; auto: bf16 where the hardware has it, else fp16 on CUDA and fp32 on a CPU", choices=PRECISIONS)
    micro_batch_size: int = setting(0, "rows at a time on the device; 0: the whole batch", unit="rows", low=0, free=True)
    device: str = setting("auto", "cpu, cuda or auto", choices=("auto", "cpu", "cuda"), free=True)
    cuda_graph: bool = setting(True, "on CUDA, record the passes of an update once for each shape and replay them", free=True)

    def __post_init__(self) -> None:
        check_settings(self)


ONE_CORE_DAY: Mapping[str, Any] = {
    "hidden_dropout_prob": 0.0, "attention_dropout_prob": 0.0, "batch_size": 32, "learning_rate": 5e-4,
    "num_train_steps": 30_000, "num_warmup_steps": 600, "eval_every": 500, "checkpoint_every": 200,
}
"""Our schedule for `tiny` and `mini`: a day on a core; with more time, raise --num-train-steps."""

SIZES: Mapping[str, Mapping[str, Any]] = {
    "demo": {
        "num_layers": 2, "hidden_size": 64, "embedding_size": 64, "num_heads": 2, "intermediate_size": 256,
        "hidden_dropout_prob": 0.0, "attention_dropout_prob": 0.0, "initializer_range": 0.14, "generator_size": 0.5,
        "max_position_embeddings": 128, "seq_length": 16, "batch_size": 64, "learning_rate": 2e-3,
        "num_train_steps": 4_000, "num_warmup_steps": 500, "precision": "fp32", "num_threads": 1, "compile": "off",
        "eval_every": 1_000, "checkpoint_every": 1_000, "eval_rows": 512,
    },
    "tiny": {"num_layers": 2, "hidden_size": 128, "num_heads": 2, "intermediate_size": 512, "initializer_range": 0.1, **ONE_CORE_DAY},
    "mini": {"num_layers": 4, "hidden_size": 256, "num_heads": 4, "intermediate_size": 1024, "initializer_range": 0.07, **ONE_CORE_DAY},
    "small": {},
}
"""Shapes and schedules by name. `small` is table 5; `tiny` and `mini` have the shapes of BERT-Tiny and BERT-Mini."""

DEMO: Mapping[str, Any] = {"size": "demo", "data": "runs/demo-shards", "run_dir": "runs/demo"}
"""Settings of `train_pretrain.py` without `--data`."""
DEMO_VOCAB_SIZE = 4096

PRETRAIN_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "mercier": {},
    "official": {"schedule": "warmup_times_linear", "bias_correction": False},
}

FINETUNE_RECIPES: Mapping[str, Mapping[str, Any]] = {
    "mercier": {},
    "official": {
        "learning_rate": 1e-4, "weight_decay": 0.01,  # defaults of the release's code; the paper prints 3e-4 and 0
        "schedule": "warmup_times_linear", "bias_correction": False, "pooling": "first", "head": "linear",
        "loss_reduction": "sum", "layerwise_lr_top_exponent": 2, "pair_swap": True,
    },
}
# fmt: on


def follow_horizon(preset: PretrainConfig, given: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
    """Fit the warm-up and the eval and checkpoint intervals to `num_train_steps`; values in `given` are not changed.

    The warm-up keeps its share of the steps; no interval exceeds the run. Returns the changed settings, and a report.
    """
    num_steps = given.get("num_train_steps", preset.num_train_steps)
    values = {
        "num_warmup_steps": preset.num_warmup_steps * num_steps // preset.num_train_steps,
        "eval_every": min(preset.eval_every, num_steps),
        "checkpoint_every": min(preset.checkpoint_every, num_steps),
    }
    followed = {k: value for k, value in values.items() if k not in given and value != getattr(preset, k)}
    share = {"num_warmup_steps": f"{100 * preset.num_warmup_steps / preset.num_train_steps:g} % of {num_steps:,}, "}
    said = [f"{flag_name(name)} follows: {share.get(name, '')}{value:,}" for name, value in followed.items()]
    return followed, ["; ".join(said)] * bool(said)


def main(argv: Sequence[str]) -> None:
    """Run `python -m electra settings`: print all settings as Markdown (tables 5 and 6 of Mercier, extended)."""
    for config_class in (EncoderConfig, PretrainConfig, FinetuneConfig):
        print(f"### {config_class.__name__}\n\n{settings_table(config_class)}\n")
