"""The card of an export says how the weights came about, and leaves the licence to whoever publishes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra.config import EncoderConfig
from electra.files import read_json
from electra.hub import folders as hub
from electra.hub.card import LICENCE, model_card
from tests.helpers.hub_files import pair, tokenizer_json
from tests.helpers.records import FIXTURES

__all__ = ["pair", "tokenizer_json"]

MANIFEST = {"step": 62_500, "sha256": {"model.pt": "aa" * 32}}
FULL = read_json(FIXTURES / "full" / "config.json")


def sections(card: str) -> dict[str, str]:
    title, *parts = card.split("\n## ")
    return {"": title, **{part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in parts}}


def test_recipe_tokens_seen_and_digests_are_the_checkpoints():
    found = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig()))
    assert "recipe `mercier`, updates made: 62,500 of 1,000,000" in found["Recipe"]
    assert "tokens seen: 1,024,000,000 (updates x 128 rows x 128)" in found["Recipe"]
    assert "learning_rate 0.0005" in found["Recipe"]
    assert FULL["shards"] in found["Data"]
    assert FULL["tokenizer"] in found["Data"]
    assert "aa" * 32 in found["Data"]


def test_no_path_of_the_machine_it_was_trained_on_is_published():
    card = model_card("discriminator", FULL, MANIFEST, EncoderConfig())
    assert "runs/full" not in card
    assert "shards/" not in card


def test_limits_name_what_the_weights_do_not_show():
    limits = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig()))["Limits"]
    assert "positions from 128 on, of 512, were never trained" in limits
    assert "a snapshot taken before the end of the schedule" in limits
    final = sections(model_card("discriminator", FULL, {**MANIFEST, "step": 1_000_000}, EncoderConfig()))["Limits"]
    assert "snapshot" not in final


def test_the_licence_is_left_to_the_user():
    assert LICENCE.startswith("TO BE FILLED IN")
    assert LICENCE in model_card("generator", FULL, MANIFEST, EncoderConfig())


def test_imported_weights_claim_no_recipe():
    found = sections(model_card("encoder", {"pretrain": {}}, MANIFEST, EncoderConfig()))
    assert "not recorded: imported weights" in found["Recipe"]
    assert "fingerprint: not recorded" in found["Data"]


def test_export_writes_the_card_into_every_folder(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hub.main_export(["--checkpoint", str(pair), "--out", str(tmp_path / "out")])
    for part in ("discriminator", "generator"):
        assert (tmp_path / "out" / part / "README.md").read_text().startswith(f"# ELECTRA {part}")
    assert "fill in results and licence" in capsys.readouterr().out
