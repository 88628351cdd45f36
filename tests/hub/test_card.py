"""The card of an export says how the weights came about, and leaves the licence to whoever publishes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra.config import EncoderConfig
from electra.files import read_json
from electra.glue.results import append_result
from electra.hub import folders as hub
from electra.hub.card import LICENCE, model_card, results_of
from electra.report.runs import read_inputs
from tests.helpers.hub_files import pair, tokenizer_json
from tests.helpers.records import FIXTURES

__all__ = ["pair", "tokenizer_json"]

MANIFEST = {"step": 62_500, "sha256": {"model.pt": "aa" * 32}}
FULL = read_json(FIXTURES / "full" / "config.json")


def sections(card: str) -> dict[str, str]:
    title, *parts = card.split("\n## ")
    return {"": title, **{part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in parts}}


def test_recipe_tokens_seen_and_digests_are_the_checkpoints():
    found = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig(), []))
    assert "recipe `mercier`, updates made: 62,500 of 1,000,000" in found["Recipe"]
    assert "tokens seen: 1,024,000,000 (updates x 128 rows x 128)" in found["Recipe"]
    assert "learning_rate 0.0005" in found["Recipe"]
    assert FULL["shards"] in found["Data"]
    assert FULL["tokenizer"] in found["Data"]
    assert "aa" * 32 in found["Data"]


def test_no_path_of_the_machine_it_was_trained_on_is_published():
    card = model_card("discriminator", FULL, MANIFEST, EncoderConfig(), [])
    assert "runs/full" not in card
    assert "shards/" not in card


def test_limits_name_what_the_weights_do_not_show():
    limits = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig(), []))["Limits"]
    assert "positions from 128 on, of 512, were never trained" in limits
    assert "a snapshot taken before the end of the schedule" in limits
    final = sections(model_card("discriminator", FULL, {**MANIFEST, "step": 1_000_000}, EncoderConfig(), []))["Limits"]
    assert "snapshot" not in final


def test_the_licence_is_left_to_the_user():
    assert LICENCE.startswith("TO BE FILLED IN")
    assert LICENCE in model_card("generator", FULL, MANIFEST, EncoderConfig(), [])


def test_imported_weights_claim_no_recipe():
    found = sections(model_card("encoder", {"pretrain": {}}, MANIFEST, EncoderConfig(), []))
    assert "not recorded: imported weights" in found["Recipe"]
    assert "fingerprint: not recorded" in found["Data"]


def test_results_stand_under_their_protocol_and_protocols_apart():
    records = results_of(FULL, MANIFEST, FIXTURES / "glue")
    found = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig(), records))["Results"]
    assert found.count("Protocol: from runs/full/milestones/step-1000000") == 4  # as it stands, and three variants
    assert found.count("; on NVIDIA GeForce RTX 3090.") == 4
    expected = read_inputs([FIXTURES]).protocols[0].summary["tasks"]["cola"]["metrics"]["matthews"]
    assert f"| cola | matthews | {100 * expected['mean']:.2f} ± {100 * expected['sd']:.2f} (3) |" in found
    assert "random" not in found
    without = sections(model_card("discriminator", FULL, MANIFEST, EncoderConfig(), []))["Results"]
    assert without.strip().startswith("not measured")


def test_a_fine_tuned_model_shows_its_own_task_alone():
    config, manifest = (
        {"task": "rte", "finetune": {}},
        {"step": 780, "started_from": "aa" * 32, "sha256": {"model.pt": "b"}},
    )
    assert {record["task"] for record in results_of(config, manifest, FIXTURES / "glue")} == {"rte"}


def test_results_of_other_weights_are_refused():
    with pytest.raises(
        FileNotFoundError, match=r"glue: expected results that started from weights eeee.*, found none; "
    ):
        results_of(FULL, {"step": 1, "sha256": {"model.pt": "e" * 64}}, FIXTURES / "glue")


def test_export_writes_the_card_into_every_folder(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = read_json(pair / "manifest.json")["sha256"]["model.pt"]
    record = read_inputs([FIXTURES]).protocols[0].records[0]
    append_result(tmp_path / "glue", {**record, "checkpoint_sha256": weights})
    asked = ["--checkpoint", str(pair), "--out", str(tmp_path / "out"), "--results", str(tmp_path / "glue")]
    hub.main_export(asked)
    for part in ("discriminator", "generator"):
        card = (tmp_path / "out" / part / "README.md").read_text()
        assert card.startswith(f"# ELECTRA {part}")
        assert "| cola | matthews |" in card
    assert "fill in the licence" in capsys.readouterr().out
