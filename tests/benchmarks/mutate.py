"""Break the mathematics one line at a time and see that a test notices.

    python tests/benchmarks/mutate.py                 # every fault: about 20 minutes on two CPU cores
    python tests/benchmarks/mutate.py corruption 3    # the faults of one file, or one fault by number

Each fault replaces one line of a scratch copy of the tree, named by its exact text; a line that is not there
exactly once is an error, so the list cannot rot in silence. The list was written from the sources, before any test
was read. The last line states how many were caught; the exit code is 1 if one was not.
"""
# ruff: noqa: E501 (lines of other files, quoted whole)

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 300


class Fault(NamedTuple):
    """One wrong line."""

    what: str
    line: str  # as in the source, without its indentation
    wrong: str  # what stands there instead


FAULTS: dict[str, list[Fault]] = {
    "corruption": [
        Fault(
            "half a target is rounded up, not to even",
            "wanted = round(Fraction(str(mask_prob)) * num_tokens)",
            "wanted = int(Fraction(str(mask_prob)) * num_tokens + Fraction(1, 2))",
        ),
        Fault(
            "the number of targets is rounded down",
            "wanted = round(Fraction(str(mask_prob)) * num_tokens)",
            "wanted = int(Fraction(str(mask_prob)) * num_tokens)",
        ),
        Fault(
            "special tokens are left out of the length that 15 % are of",
            "wanted = round(Fraction(str(mask_prob)) * num_tokens)",
            "wanted = round(Fraction(str(mask_prob)) * (num_tokens - 2))",
        ),
        Fault(
            "short rows have no target",
            "return max(0, min(max(1, wanted), num_tokens - 2))",
            "return max(0, min(wanted, num_tokens - 2))",
        ),
        Fault(
            "more targets than candidates",
            "return max(0, min(max(1, wanted), num_tokens - 2))",
            "return max(0, min(max(1, wanted), num_tokens))",
        ),
        Fault(
            "special tokens are candidates",
            "is_special = torch.isin(input_ids, torch.tensor(special_ids))",
            "is_special = torch.zeros_like(input_ids, dtype=torch.bool)",
        ),
        Fault(
            "only padding is kept from being chosen",
            "is_special = torch.isin(input_ids, torch.tensor(special_ids))",
            "is_special = input_ids == special_ids.pad",
        ),
        Fault(
            "one target too many",
            "is_target = (torch.arange(num_slots) < counts[:, None]) & ~is_special.gather(1, positions)",
            "is_target = (torch.arange(num_slots) <= counts[:, None]) & ~is_special.gather(1, positions)",
        ),
        Fault(
            "padded rows have the targets of full ones",
            "is_target = (torch.arange(num_slots) < counts[:, None]) & ~is_special.gather(1, positions)",
            "is_target = ~is_special.gather(1, positions)",
        ),
        Fault(
            "85 % stay visible, 15 % are hidden",
            "is_hidden = is_target & (uniforms < mask_token_prob)",
            "is_hidden = is_target & (uniforms > mask_token_prob)",
        ),
        Fault(
            "every target is hidden",
            "is_hidden = is_target & (uniforms < mask_token_prob)",
            "is_hidden = is_target",
        ),
        Fault(
            "the generator sees the original row",
            "return input_ids.scatter(1, positions, shown), positions, is_target, is_hidden",
            "return input_ids, positions, is_target, is_hidden",
        ),
        Fault(
            "a padded update is treated as full",
            "attention_mask = None if bool(is_real.all()) else is_real",
            "attention_mask = None",
        ),
        Fault(
            "masking and sampling share their noise",
            'masking = generator(seed, "masking", *indices)',
            'masking = generator(seed, "sampling", *indices)',
        ),
        Fault(
            "every update draws the same targets",
            'masking = generator(seed, "masking", *indices)',
            'masking = generator(seed, "masking")',
        ),
        Fault(
            "the softmax stays in 16 bits",
            "probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)",
            "probabilities = logits.softmax(dim=-1)",
        ),
        Fault(
            "samples are drawn at a temperature of one half",
            "probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)",
            "probabilities = (2 * logits.to(torch.promote_types(logits.dtype, torch.float32))).softmax(dim=-1)",
        ),
        Fault(
            "u = 0 picks a token of probability 0",
            "sampled = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)",
            "sampled = torch.searchsorted(cumulative, thresholds, right=False).squeeze(-1)",
        ),
        Fault(
            "the uniform is not scaled by the row's mass",
            "thresholds = (uniforms[..., None] * cumulative[..., -1:]).to(cumulative.dtype)",
            "thresholds = uniforms[..., None].to(cumulative.dtype)",
        ),
        Fault(
            "a uniform that rounds to 1 picks an id beyond the vocabulary",
            "return sampled.clamp_(max=logits.shape[-1] - 1)",
            "return sampled",
        ),
        Fault(
            "targets that stayed visible are not resampled",
            "written = torch.where(batch.is_target, sampled_ids, original_ids)",
            "written = torch.where(batch.is_hidden, sampled_ids, original_ids)",
        ),
        Fault(
            "unused slots are resampled too",
            "written = torch.where(batch.is_target, sampled_ids, original_ids)",
            "written = sampled_ids",
        ),
        Fault(
            "a sample equal to the original is labelled replaced",
            "return corrupted, corrupted != batch.input_ids",
            "return corrupted, torch.zeros_like(corrupted).bool().scatter(1, batch.positions, batch.is_target)",
        ),
        Fault(
            "the labels are turned round",
            "return corrupted, corrupted != batch.input_ids",
            "return corrupted, corrupted == batch.input_ids",
        ),
        Fault(
            "the label compares with the masked row",
            "return corrupted, corrupted != batch.input_ids",
            "return corrupted, corrupted != batch.masked",
        ),
    ],
    "objective": [
        Fault(
            "the generator reads the answers",
            "generator_logits = model.generator(batch.masked, batch.positions, batch.attention_mask)",
            "generator_logits = model.generator(batch.input_ids, batch.positions, batch.attention_mask)",
        ),
        Fault(
            "the generator attends to padding",
            "generator_logits = model.generator(batch.masked, batch.positions, batch.attention_mask)",
            "generator_logits = model.generator(batch.masked, batch.positions)",
        ),
        Fault(
            "the likeliest token is taken, not a sample",
            "sampled_ids = sample_replacements(generator_logits, batch.sample_uniforms)",
            "sampled_ids = generator_logits.argmax(dim=-1)",
        ),
        Fault(
            "the discriminator sees the masked row",
            "discriminator_logits = model.discriminator(corrupted, batch.attention_mask)",
            "discriminator_logits = model.discriminator(batch.masked, batch.attention_mask)",
        ),
        Fault(
            "the discriminator attends to padding",
            "discriminator_logits = model.discriminator(corrupted, batch.attention_mask)",
            "discriminator_logits = model.discriminator(corrupted)",
        ),
        Fault(
            "the generator is asked for what it sees",
            "original_ids = batch.input_ids.gather(1, batch.positions)",
            "original_ids = batch.masked.gather(1, batch.positions)",
        ),
        Fault(
            "the generator's mean is over slots, not targets",
            "masked_lm_loss = sum_where(gen_nats, batch.is_target) / counts.num_targets",
            "masked_lm_loss = sum_where(gen_nats, batch.is_target) / gen_nats.numel()",
        ),
        Fault(
            "targets that stayed visible cost nothing",
            "masked_lm_loss = sum_where(gen_nats, batch.is_target) / counts.num_targets",
            "masked_lm_loss = sum_where(gen_nats, batch.is_hidden) / counts.num_targets",
        ),
        Fault(
            "the generator's mean is over these rows, not the whole update",
            "masked_lm_loss = sum_where(gen_nats, batch.is_target) / counts.num_targets",
            "masked_lm_loss = sum_where(gen_nats, batch.is_target) / batch.is_target.sum()",
        ),
        Fault(
            "padding counts in the discriminator's loss",
            "disc_loss = sum_where(disc_nats, batch.attention_mask) / counts.num_tokens",
            "disc_loss = sum_where(disc_nats, None) / counts.num_tokens",
        ),
        Fault(
            "the discriminator's mean is over all places",
            "disc_loss = sum_where(disc_nats, batch.attention_mask) / counts.num_tokens",
            "disc_loss = sum_where(disc_nats, batch.attention_mask) / disc_nats.numel()",
        ),
        Fault(
            "the discriminator's mean is over targets only",
            "disc_loss = sum_where(disc_nats, batch.attention_mask) / counts.num_tokens",
            "disc_loss = sum_where(disc_nats, batch.attention_mask) / counts.num_targets",
        ),
        Fault(
            "the two weights are swapped",
            "loss = gen_weight * masked_lm_loss + disc_weight * disc_loss",
            "loss = disc_weight * masked_lm_loss + gen_weight * disc_loss",
        ),
        Fault(
            "the losses are subtracted",
            "loss = gen_weight * masked_lm_loss + disc_weight * disc_loss",
            "loss = gen_weight * masked_lm_loss - disc_weight * disc_loss",
        ),
        Fault(
            "losses are taken in 16 bits",
            "return logits.to(torch.promote_types(logits.dtype, torch.float32))",
            "return logits",
        ),
        Fault(
            "the discriminator learns the opposite",
            'return F.binary_cross_entropy_with_logits(logits, is_replaced.to(logits.dtype), reduction="none")',
            'return F.binary_cross_entropy_with_logits(logits, (~is_replaced).to(logits.dtype), reduction="none")',
        ),
        Fault(
            "the wrong entries are left out of a sum",
            "return nats.sum() if chosen is None else nats.masked_fill(~chosen, 0.0).sum()",
            "return nats.sum() if chosen is None else nats.masked_fill(chosen, 0.0).sum()",
        ),
        Fault(
            "hidden targets are counted, not all",
            "return Counts(int(batch.is_target.sum()), num_tokens)",
            "return Counts(int(batch.is_hidden.sum()), num_tokens)",
        ),
    ],
    "models": [
        Fault(
            "generator and discriminator have an embedding stack each",
            "self.generator = Generator(config.generator(generator_size), embeddings)",
            "self.generator = Generator(config.generator(generator_size), make_embeddings(config))",
        ),
        Fault(
            "the generator is as wide as the discriminator",
            "self.generator = Generator(config.generator(generator_size), embeddings)",
            "self.generator = Generator(config, embeddings)",
        ),
        Fault(
            "the word table gets no gradient from the softmax",
            "return F.linear(hidden, self.encoder.embeddings.word.weight, self.bias)",
            "return F.linear(hidden, self.encoder.embeddings.word.weight.detach(), self.bias)",
        ),
        Fault(
            "the softmax has no bias",
            "return F.linear(hidden, self.encoder.embeddings.word.weight, self.bias)",
            "return F.linear(hidden, self.encoder.embeddings.word.weight)",
        ),
        Fault(
            "the generator's head has no LayerNorm",
            "hidden = self.norm(F.gelu(self.dense(hidden)))",
            "hidden = F.gelu(self.dense(hidden))",
        ),
        Fault(
            "the generator's LayerNorm comes before the activation",
            "hidden = self.norm(F.gelu(self.dense(hidden)))",
            "hidden = F.gelu(self.norm(self.dense(hidden)))",
        ),
        Fault(
            "the generator's LayerNorm has PyTorch's epsilon",
            "self.norm = nn.LayerNorm(config.embedding_size, eps=LAYER_NORM_EPS)",
            "self.norm = nn.LayerNorm(config.embedding_size)",
        ),
        Fault(
            "the discriminator's head has no activation",
            "logits: Tensor = self.output(F.gelu(self.dense(hidden)))",
            "logits: Tensor = self.output(self.dense(hidden))",
        ),
        Fault(
            "the discriminator's head is ReLU",
            "logits: Tensor = self.output(F.gelu(self.dense(hidden)))",
            "logits: Tensor = self.output(F.relu(self.dense(hidden)))",
        ),
        Fault(
            "the output layers start truncated-normal",
            'GLOROT = ("projection", "output")',
            'GLOROT = ("projection",)',
        ),
        Fault(
            "the projections start truncated-normal",
            'GLOROT = ("projection", "output")',
            'GLOROT = ("output",)',
        ),
        Fault(
            "far draws are clipped, not drawn again",
            "draws[outside] = rng.standard_normal(int(outside.sum()))",
            "draws[outside] = 2 * np.sign(draws[outside])",
        ),
        Fault(
            "the uniform's bound is too narrow",
            "bound = (6 / sum(module.weight.shape)) ** 0.5",
            "bound = (3 / sum(module.weight.shape)) ** 0.5",
        ),
        Fault("biases start as PyTorch draws them", "module.bias.zero_()", "pass"),
        Fault(
            "the mean over a row counts padding",
            "pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)",
            "pooled = (hidden * weights).mean(dim=1)",
        ),
        Fault(
            "the mean is over the wrong axis",
            "pooled = (hidden * weights).sum(dim=1) / weights.sum(dim=1)",
            "pooled = (hidden * weights).sum(dim=2).expand(-1, hidden.shape[2]) / weights.sum(dim=1)",
        ),
        Fault("the last token is pooled", "pooled = hidden[:, 0]", "pooled = hidden[:, -1]"),
        Fault(
            "the classifier ignores token types",
            "hidden = self.encoder(input_ids, attention_mask, token_type_ids)",
            "hidden = self.encoder(input_ids, attention_mask)",
        ),
        Fault(
            "the classifier's head is tanh",
            "pooled = self.dropout(F.gelu(self.dense(pooled)))",
            "pooled = self.dropout(F.tanh(self.dense(pooled)))",
        ),
    ],
    "transformer": [
        Fault(
            "LayerNorm has PyTorch's epsilon",
            "LAYER_NORM_EPS = 1e-12  # Source: release, tf.contrib layer_norm; PyTorch's default 1e-5 is another model.",
            "LAYER_NORM_EPS = 1e-5",
        ),
        Fault(
            "the embeddings have no LayerNorm",
            "return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length] + types))",
            "return self.dropout(self.word(input_ids) + self.position.weight[:length] + types)",
        ),
        Fault(
            "the embeddings have no positions",
            "return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length] + types))",
            "return self.dropout(self.norm(self.word(input_ids) + types))",
        ),
        Fault(
            "dropout comes before the embeddings' LayerNorm",
            "return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length] + types))",
            "return self.norm(self.dropout(self.word(input_ids) + self.position.weight[:length] + types))",
        ),
        Fault(
            "positions are read backwards",
            "return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length] + types))",
            "return self.dropout(self.norm(self.word(input_ids) + self.position.weight[:length].flip(0) + types))",
        ),
        Fault(
            "the longest row is refused",
            "if length > self.position.num_embeddings:",
            "if length >= self.position.num_embeddings:",
        ),
        Fault(
            "a row without types is all type 1",
            "types = self.token_type.weight[0] if token_type_ids is None else self.token_type(token_type_ids)",
            "types = self.token_type.weight[1] if token_type_ids is None else self.token_type(token_type_ids)",
        ),
        Fault(
            "keys and values are swapped",
            "query, key, value = qkv.permute(2, 0, 3, 1, 4)  # three of (B, H, L, D / H)",
            "query, value, key = qkv.permute(2, 0, 3, 1, 4)",
        ),
        Fault(
            "attention runs over heads, not tokens",
            "query, key, value = qkv.permute(2, 0, 3, 1, 4)  # three of (B, H, L, D / H)",
            "query, key, value = qkv.permute(2, 0, 1, 3, 4)",
        ),
        Fault(
            "heads and tokens are mixed up when joined",
            "return self.out(mixed.transpose(1, 2).reshape(B, L, D))",
            "return self.out(mixed.reshape(B, L, D))",
        ),
        Fault(
            "attention drops out in evaluation",
            "dropout = self.dropout if self.training else 0.0",
            "dropout = self.dropout",
        ),
        Fault(
            "attention never drops out",
            "dropout = self.dropout if self.training else 0.0",
            "dropout = 0.0",
        ),
        Fault(
            "attention is not scaled by the head's width",
            "mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)",
            "mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout, scale=1.0)",
        ),
        Fault(
            "attention looks back only",
            "mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)",
            "mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)",
        ),
        Fault(
            "GELU is the tanh form",
            "return self.outer(F.gelu(self.inner(hidden)))",
            'return self.outer(F.gelu(self.inner(hidden), approximate="tanh"))',
        ),
        Fault(
            "the attention part has no residual sum",
            "hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, key_mask)))",
            "hidden = self.attention_norm(self.dropout(self.attention(hidden, key_mask)))",
        ),
        Fault(
            "LayerNorm comes before attention",
            "hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, key_mask)))",
            "hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), key_mask))",
        ),
        Fault(
            "the attention part has no dropout",
            "hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, key_mask)))",
            "hidden = self.attention_norm(hidden + self.attention(hidden, key_mask))",
        ),
        Fault(
            "the feed-forward part has no residual sum",
            "return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))",
            "return self.feed_forward_norm(self.dropout(self.feed_forward(hidden)))",
        ),
        Fault(
            "the two LayerNorms of a layer are one",
            "return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)))",
            "return self.attention_norm(hidden + self.dropout(self.feed_forward(hidden)))",
        ),
        Fault(
            "equal widths have a projection too",
            "self.projection = nn.Linear(E, D) if E != D else nn.Identity()",
            "self.projection = nn.Linear(E, D)",
        ),
        Fault(
            "only padding is attended to",
            "key_mask = None if attention_mask is None else attention_mask[:, None, None, :]",
            "key_mask = None if attention_mask is None else ~attention_mask[:, None, None, :]",
        ),
        Fault(
            "the mask is on queries, not keys",
            "key_mask = None if attention_mask is None else attention_mask[:, None, None, :]",
            "key_mask = None if attention_mask is None else attention_mask[:, None, :, None]",
        ),
        Fault(
            "layers ignore the mask",
            "hidden = layer(hidden, key_mask)",
            "hidden = layer(hidden, None)",
        ),
        Fault(
            "attention has the hidden dropout",
            "config.attention_dropout_prob,",
            "config.hidden_dropout_prob,",
        ),
        Fault(
            "the first positions are gathered, whatever was asked",
            "return torch.take_along_dim(hidden, positions[:, :, None], dim=1)",
            "return hidden[:, : positions.shape[1]]",
        ),
    ],
    "optim": [
        Fault(
            "the first update has a rate",
            "warmup = min(1.0, step / num_warmup_steps) if num_warmup_steps else 1.0",
            "warmup = min(1.0, (step + 1) / num_warmup_steps) if num_warmup_steps else 1.0",
        ),
        Fault(
            "the product is a minimum",
            "return warmup * max(0.0, 1 - step / num_train_steps)",
            "return min(warmup, max(0.0, 1 - step / num_train_steps))",
        ),
        Fault(
            "the line starts at step 0, not at the end of warm-up",
            "remaining = (num_train_steps - step) / (num_train_steps - num_warmup_steps)",
            "remaining = (num_train_steps - step) / num_train_steps",
        ),
        Fault("biases and LayerNorm decay", "return parameter.ndim >= 2", "return parameter.ndim >= 1"),
        Fault("nothing decays", "return parameter.ndim >= 2", "return parameter.ndim >= 3"),
        Fault(
            "there is an empty group",
            "groups: dict[tuple[float, float], list[nn.Parameter]] = {}",
            "groups: dict[tuple[float, float], list[nn.Parameter]] = {(-1.0, 1.0): []}",
        ),
        Fault(
            "only the first parameter of a group is trained",
            "groups.setdefault((decay, rates[name] if rates else 1.0), []).append(parameter)",
            "groups.setdefault((decay, rates[name] if rates else 1.0), [parameter])",
        ),
        Fault(
            "layer-wise rates are not applied",
            "groups.setdefault((decay, rates[name] if rates else 1.0), []).append(parameter)",
            "groups.setdefault((decay, 1.0), []).append(parameter)",
        ),
        Fault(
            "each layer has the rate of the one below",
            "below_top = num_layers - 1 - int(layer[1]) if layer else num_layers",
            "below_top = num_layers - int(layer[1]) if layer else num_layers",
        ),
        Fault(
            "layers are counted from the bottom",
            "below_top = num_layers - 1 - int(layer[1]) if layer else num_layers",
            "below_top = int(layer[1]) if layer else num_layers",
        ),
        Fault(
            "embeddings have the lowest layer's rate",
            "below_top = num_layers - 1 - int(layer[1]) if layer else num_layers",
            "below_top = num_layers - 1 - int(layer[1]) if layer else num_layers - 1",
        ),
        Fault(
            "the top layer has the head's rate",
            'rates[name] = decay ** (below_top + top_exponent) if name.startswith("encoder.") else 1.0',
            'rates[name] = decay**below_top if name.startswith("encoder.") else 1.0',
        ),
        Fault(
            "the update being made is not counted",
            "t = 0 if bias_correction else updates_made(optimizer) + 1",
            "t = 0 if bias_correction else max(1, updates_made(optimizer))",
        ),
        Fault(
            "the correction of the second moment is not a root",
            "root = (1 - beta2**t) ** 0.5",
            "root = 1 - beta2**t",
        ),
        Fault(
            "the rate's factor is upside down",
            "rate_factor = (1 - beta1**t) / root",
            "rate_factor = root / (1 - beta1**t)",
        ),
        Fault(
            "epsilon is not corrected",
            'group["eps"] = group["adam_epsilon"] / root',
            'group["eps"] = group["adam_epsilon"]',
        ),
        Fault(
            "weight decay is not corrected",
            'group["weight_decay"] = group["decay"] / rate_factor',
            'group["weight_decay"] = group["decay"]',
        ),
        Fault(
            "the groups' own rates are lost",
            'group["lr"] = learning_rate * group["lr_scale"] * rate_factor',
            'group["lr"] = learning_rate * rate_factor',
        ),
        Fault(
            "gradients are not clipped",
            "grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)",
            'grad_norm = nn.utils.clip_grad_norm_(parameters, float("inf"))',
        ),
        Fault(
            "an infinite gradient is not skipped",
            "skipped = (~grad_norm.isfinite()).float()",
            "skipped = grad_norm.isnan().float()",
        ),
        Fault(
            "nothing is ever skipped",
            "optimizer.found_inf = skipped  # type: ignore[attr-defined]",
            "optimizer.found_inf = torch.zeros_like(skipped)",
        ),
        Fault("gradients pile up", "optimizer.zero_grad(set_to_none=True)", "pass"),
    ],
    "windows": [
        Fault(
            "the last start is never drawn",
            "start += int(place * (end - start - length + 1))",
            "start += int(place * max(end - start - length, 1))",
        ),
        Fault(
            "every window is the document's beginning",
            "start += int(place * (end - start - length + 1))",
            "start += 0",
        ),
        Fault("a token of room is lost", "room = self.seq_length - 2", "room = self.seq_length - 3"),
        Fault(
            "[SEP] stands at the end of padding",
            "row[1 + length] = self.special_ids.sep",
            "row[-1] = self.special_ids.sep",
        ),
        Fault(
            "rows begin with [SEP]",
            "batch[:, 0] = self.special_ids.cls",
            "batch[:, 0] = self.special_ids.sep",
        ),
        Fault(
            "short rows are filled with [MASK]",
            "batch = np.full((self.batch_size, self.seq_length), self.special_ids.pad, np.int64)",
            "batch = np.full((self.batch_size, self.seq_length), self.special_ids.mask, np.int64)",
        ),
        Fault(
            "two updates share rows",
            "drawn = range(step * self.batch_size, (step + 1) * self.batch_size)",
            "drawn = range(step, step + self.batch_size)",
        ),
        Fault(
            "every epoch has the same order",
            'documents += permute(places, size, derive_seed(self.seed, "windows", epoch, "order")).tolist()',
            'documents += permute(places, size, derive_seed(self.seed, "windows", 0, "order")).tolist()',
        ),
        Fault(
            "documents come in their own order",
            'documents += permute(places, size, derive_seed(self.seed, "windows", epoch, "order")).tolist()',
            "documents += places.tolist()",
        ),
        Fault(
            "every update has the same starts",
            'noise = generator(self.seed, "windows", step)',
            'noise = generator(self.seed, "windows")',
        ),
        Fault(
            "the seed does not matter",
            'noise = generator(self.seed, "windows", step)',
            'noise = generator(0, "windows", step)',
        ),
        Fault(
            "a number beyond the last is let through",
            "while len(outside := np.flatnonzero(numbers >= size)):",
            "while len(outside := np.flatnonzero(numbers > size)):",
        ),
        Fault(
            "the permutation repeats and misses numbers",
            "left, right = right, left ^ (_mix(right + key) & mask)",
            "left, right = right, left | (_mix(right + key) & mask)",
        ),
        Fault(
            "only the first tokens are drawn from",
            "tokens = (noise.random(self.batch_size) * self.shards.num_tokens).astype(np.int64)",
            "tokens = (noise.random(self.batch_size) * self.shards.num_documents).astype(np.int64)",
        ),
        Fault(
            "an epoch reaches into the next",
            "first, last = max(drawn[0], epoch * size), min(drawn[-1], (epoch + 1) * size - 1)",
            "first, last = max(drawn[0], epoch * size), min(drawn[-1], (epoch + 1) * size)",
        ),
    ],
    "train_pretrain": [  # moved there from `optim` after the list was written
        Fault("scaled gradients are clipped", "state.scaler.unscale_(state.optimizer)", "pass"),
    ],
}

TESTS: dict[str, tuple[str, ...]] = {
    "corruption": ("test_corruption.py", "test_objective.py", "test_golden.py", "test_parity.py"),
    "objective": ("test_objective.py", "test_golden.py", "test_parity.py"),
    "models": ("test_models.py", "test_objective.py", "test_golden.py", "test_parity.py", "test_hub.py"),
    "transformer": ("test_transformer.py", "test_models.py", "test_golden.py", "test_parity.py"),
    "optim": ("test_optim.py", "test_golden.py", "test_parity.py"),
    "windows": ("test_windows.py",),
    "train_pretrain": ("test_train_pretrain.py", "test_checkpoint.py", "test_faults.py"),
}
"""Which tests to ask, in order: the module's own first."""


def path_of(module: str) -> Path:
    """The module's file, from the root."""
    return Path(f"{module}.py") if module.startswith("train_") else Path("electra", f"{module}.py")


def broken(source: str, fault: Fault, file: Path) -> str:
    """The source with the one line replaced.

    Raises:
        ValueError: the line is not there exactly once.
    """
    pattern = re.compile(rf"^([ ]*){re.escape(fault.line)}$", re.MULTILINE)
    if (found := len(pattern.findall(source))) != 1:
        raise ValueError(f"{file}: expected once, found {found} times: {fault.line!r}; bring the list up to date")
    return pattern.sub(lambda match: match[1] + fault.wrong, source)


def copy_tree(scratch: Path) -> None:
    """Everything a test run needs."""
    for folder in ("electra", "tests"):
        shutil.copytree(ROOT / folder, scratch / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.py"), *ROOT.glob(".*.ini"), *ROOT.glob("conftest.py")]:
        shutil.copy(file, scratch)


def catching_test(scratch: Path, tests: tuple[str, ...]) -> str | None:
    """The first test that fails in the scratch tree, file by file; None if none does."""
    for name in tests:
        if not (scratch / "tests" / name).exists():
            raise FileNotFoundError(f"tests/{name}: expected these tests, found none; bring the list up to date")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{name}"]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"tests/{name} (did not end within {TIMEOUT_SECONDS} s)"
        if done.returncode not in (0, 5):  # 5: nothing was collected
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
            if failed is None:
                raise RuntimeError(f"pytest did not run:\n{done.stdout}{done.stderr}")
            return failed[1]
    return None


def chosen_faults(arguments: list[str]) -> list[tuple[int, str, Fault]]:
    """Number, module and fault, of all or of those asked for."""
    modules = [a for a in arguments if not a.isdigit()]
    numbers = [int(a) for a in arguments if a.isdigit()]
    pairs = [(module, fault) for module, faults in FAULTS.items() for fault in faults]
    numbered = [(number, module, fault) for number, (module, fault) in enumerate(pairs, start=1)]
    return [
        (number, module, fault)
        for number, module, fault in numbered
        if not (modules or numbers) or module in modules or number in numbers
    ]


def check_baseline(tests: set[str]) -> None:
    """Refuse to begin where a test fails without any fault."""
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        if test := catching_test(Path(folder), tuple(sorted(tests))):
            raise ValueError(f"{test}: expected it to pass without a fault, found it failing; mend it first")


def main(arguments: list[str]) -> int:
    """Apply each fault alone, run the tests, print who noticed."""
    faults = chosen_faults(arguments)
    sources = {module: (ROOT / path_of(module)).read_text() for module in FAULTS}
    for _, module, fault in faults:  # all lines are checked before any test runs
        broken(sources[module], fault, path_of(module))
    check_baseline({test for _, module, _ in faults for test in TESTS[module]})
    survivors = []
    for number, module, fault in faults:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            copy_tree(scratch)
            (scratch / path_of(module)).write_text(broken(sources[module], fault, path_of(module)))
            test = catching_test(scratch, TESTS[module])
        survivors += [f"{number} {module}: {fault.what}"] * (test is None)
        verdict = "SURVIVED" if test is None else f"caught by {test}"
        print(f"{number:3} {module:<12}{fault.what}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(faults) - len(survivors)} of {len(faults)} faults caught; survivors: {survivors or 'none'}")
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
