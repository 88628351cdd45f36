"""The defaults are Mercier's; recipes and sizes are values; impossible combinations are refused."""

from __future__ import annotations

import dataclasses

import pytest

from electra import cli
from electra.config import (
    DEMO,
    FINETUNE_RECIPES,
    PRETRAIN_RECIPES,
    SIZES,
    EncoderConfig,
    FinetuneConfig,
    PretrainConfig,
)

CONFIGS = (EncoderConfig, PretrainConfig, FinetuneConfig)


def test_the_defaults_are_table_5():
    shape, config = EncoderConfig(), PretrainConfig()
    assert (shape.num_layers, shape.hidden_size, shape.intermediate_size, shape.num_heads) == (12, 256, 1024, 4)
    assert (shape.embedding_size, shape.vocab_size) == (128, 30_522)
    assert (shape.hidden_dropout_prob, shape.attention_dropout_prob) == (0.1, 0.1)
    assert (config.generator_size, config.mask_prob, config.gen_weight, config.disc_weight) == (0.25, 0.15, 1.0, 50.0)
    assert (config.learning_rate, config.num_warmup_steps, config.num_train_steps) == (5e-4, 10_000, 1_000_000)
    assert (config.batch_size, config.seq_length, config.weight_decay, config.max_grad_norm) == (128, 128, 0.01, 1.0)
    assert SIZES["small"] == {}


def test_the_defaults_are_table_6():
    config = FinetuneConfig()
    assert (config.learning_rate, config.batch_size, config.layerwise_lr_decay) == (3e-4, 32, 0.8)
    assert (config.weight_decay, config.warmup_fraction, config.dropout, config.max_seq_length) == (0.0, 0.1, 0.1, 128)


@pytest.mark.parametrize("config", [PretrainConfig(), FinetuneConfig()])
def test_adams_second_moment_decays_by_0_999_as_both_code_bases_have_it(config):
    assert (config.adam_beta1, config.adam_beta2, config.adam_epsilon) == (0.9, 0.999, 1e-6)
    assert config.bias_correction


def test_a_run_may_go_on_with_other_values_of_these_settings_and_no_other():
    free = {field.name for field in dataclasses.fields(PretrainConfig) if field.metadata["free"]}
    assert free == {
        *("data", "run_dir", "micro_batch_size", "device", "compile", "cuda_graph", "num_threads"),
        *("stop_after", "max_hours", "max_skipped", "on_collapse", "log_every", "eval_every", "checkpoint_every"),
        *("keep_checkpoints", "milestones", "log_examples", "track"),
    }
    assert not any(field.metadata["free"] for field in dataclasses.fields(EncoderConfig))


def test_the_official_recipe_differs_in_just_what_the_register_says():
    preset = cli.build(PretrainConfig, PRETRAIN_RECIPES["official"])
    changed = {d.split(" is ")[0] for d in cli.differences(PretrainConfig(), preset)}
    assert changed == {"schedule", "bias_correction"}
    preset = cli.build(FinetuneConfig, FINETUNE_RECIPES["official"])
    changed = {d.split(" is ")[0] for d in cli.differences(FinetuneConfig(), preset)}
    heads = {"pooling", "head", "loss_reduction", "layerwise_lr_top_exponent", "pair_swap"}
    assert changed == {"schedule", "bias_correction", "learning_rate", "weight_decay"} | heads


@pytest.mark.parametrize("layers", [*SIZES.values(), *PRETRAIN_RECIPES.values(), *FINETUNE_RECIPES.values(), DEMO])
def test_presets_hold_only_settings_that_exist(layers):
    names = {field.name for config in CONFIGS for field in dataclasses.fields(config)}
    assert set(layers) <= names


@pytest.mark.parametrize("size", SIZES)
def test_every_size_builds(size):
    shape, config = cli.build(EncoderConfig, SIZES[size]), cli.build(PretrainConfig, SIZES[size])
    assert shape.generator(config.generator_size).num_layers == shape.num_layers


def test_heads_must_divide_the_width_and_warm_up_must_end_before_training_does():
    with pytest.raises(ValueError, match=r"--num-heads: expected a divisor of --hidden-size 256, found 3"):
        EncoderConfig(num_heads=3)
    with pytest.raises(ValueError, match=r"--generator-size 0.7: 2 heads do not divide the width 179; try 0.125"):
        EncoderConfig().generator(0.7)
    with pytest.raises(ValueError, match="--num-warmup-steps 5 must be below --num-train-steps 5; lower it"):
        PretrainConfig(num_train_steps=5, num_warmup_steps=5)
    PretrainConfig(num_train_steps=5, num_warmup_steps=4)
