"""Models of full size against `transformers`' ELECTRA.

That the mathematics is right, `test_golden.py` checks on the release's own numbers; that exported folders open there,
`tests/hub/test_folders.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from electra.config import EncoderConfig
from electra.hub.names import CONFIG_NAMES, empty_module, to_theirs
from tests.conftest import SPECIAL_IDS, random_rows

SMALL = EncoderConfig(hidden_dropout_prob=0.0, attention_dropout_prob=0.0)
KINDS = {
    "discriminator": "ElectraForPreTraining",
    "generator": "ElectraForMaskedLM",
    "classifier": "ElectraForSequenceClassification",
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The library, or a skip by name."""
    return pytest.importorskip("transformers")


def their_shape(library: Any, part: str, shape: EncoderConfig) -> nn.Module:
    """A model without memory for its weights."""
    names = {theirs: getattr(shape, ours) for ours, theirs in CONFIG_NAMES.items()}
    with torch.device("meta"):
        return getattr(library, KINDS[part])(library.ElectraConfig(**names, num_labels=3))


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("part", "generator_size"),
    [("discriminator", 1.0), ("classifier", 1.0), *(("generator", size) for size in (0.125, 0.25, 0.5, 0.75, 1.0))],
)
@torch.no_grad()
def test_models_of_full_size_give_their_outputs(theirs: Any, part: str, generator_size: float):
    shape = SMALL.generator(generator_size)
    ours: Any = empty_module(part, shape, 3).to_empty(device="cpu").eval()
    draws = torch.Generator().manual_seed(0)
    for name, parameter in ours.named_parameters():  # biases and gains away from 0 and 1, where a missing one shows
        is_gain = parameter.ndim == 1 and not name.endswith("bias")
        nn.init.normal_(parameter, float(is_gain), 0.1 if parameter.ndim == 1 else 0.05, draws)
    reference: Any = their_shape(theirs, part, shape).to_empty(device="cpu").eval()
    for name, buffer in reference.named_buffers():
        buffer.copy_(torch.arange(buffer.shape[1]) if name.endswith("position_ids") else torch.tensor(0))
    reference.load_state_dict(to_theirs(part, ours.state_dict()), strict=True)

    ids = torch.from_numpy(random_rows([128, 64, 3, 127], 128, SMALL.vocab_size))
    mask = ids != SPECIAL_IDS.pad
    if part == "classifier":
        types = (torch.arange(128) >= 64).long() * mask
        expected = reference(ids, attention_mask=mask.long(), token_type_ids=types).logits
        torch.testing.assert_close(ours(ids, mask, types), expected, rtol=0, atol=1e-5)
        return
    expected = reference(ids, attention_mask=mask.long()).logits
    positions = torch.arange(128).flip(0).expand(len(ids), -1)
    found = ours(ids, mask) if part == "discriminator" else ours(ids, positions, mask).flip(1)
    assert expected[mask].std() > 0.05
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)
