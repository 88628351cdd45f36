"""The card of an export says how the weights came about, and leaves the licence to whoever publishes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra.config import EncoderConfig
from electra.files import read_json
from electra.hub import folders as hub
from electra.hub.card import model_card
from tests.helpers.hub_files import pair, tokenizer_json
from tests.helpers.records import FIXTURES

__all__ = ["pair", "tokenizer_json"]

MANIFEST = {"step": 62_500, "sha256": {"model.pt": "aa" * 32}}
FULL = read_json(FIXTURES / "full" / "config.json")


def sections(card: str) -> dict[str, str]:
    title, *parts = card.split("\n## ")
    return {"": title, **{part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in parts}}


def test_the_card_tells_how_the_weights_were_trained_and_names_no_folder_of_the_machine():
    card = model_card("discriminator", FULL, MANIFEST, EncoderConfig())
    found = sections(card)
    for text in ("updates made: 62,500 of 1,000,000", "tokens seen: 1,024,000,000\n", "recipe mercier", "rate 0.0005"):
        assert text in found["Recipe"]
    assert all(digest in found["Data"] for digest in (FULL["shards"], FULL["tokenizer"], "aa" * 32))
    assert "positions 128 to 511 were never trained" in found["Limits"]
    assert "a snapshot before the end of the schedule" in found["Limits"]
    assert found["Licence"].startswith("\nTO BE FILLED IN")
    assert not any(folder in card for folder in ("runs/full", "shards/"))
    branch = {**FULL, "pretrain": {**FULL["pretrain"], "init_from": "mini"}}
    found = sections(model_card("discriminator", branch, MANIFEST, EncoderConfig()))
    assert "tokens seen: 1,024,000,000, and those of the weights that it started from" in found["Recipe"]
    assert "never trained" not in found["Limits"]
    assert "snapshot" not in model_card("discriminator", FULL, {**MANIFEST, "step": 1_000_000}, EncoderConfig())


def test_imported_weights_claim_no_recipe():
    found = sections(model_card("encoder", {"pretrain": {}}, MANIFEST, EncoderConfig()))
    assert "not recorded: imported" in found["Recipe"]
    assert "fingerprint: not recorded" in found["Data"]


def test_export_writes_the_card_into_every_folder(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hub.main_export(["--checkpoint", str(pair), "--out", str(tmp_path / "out")])
    for part in ("discriminator", "generator"):
        assert (tmp_path / "out" / part / "README.md").read_text().startswith(f"# ELECTRA {part}")
    assert "fill in results and licence" in capsys.readouterr().out
