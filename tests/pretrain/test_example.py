"""The example sentence with probabilities."""

from __future__ import annotations

import pytest
import torch

from electra.pretrain.evaluation import compute_outputs
from electra.pretrain.example import corrupted_example, marked_sentence
from electra.pretrain.objective import replaced_token_detection
from electra.tokenizer.byte_level import Tokenizer
from tests.conftest import tiny_batch, tiny_electra, tiny_shape, word_salad


def test_each_answer_stands_under_its_token_and_the_original_between():
    text = marked_sentence(["the", " chef", " cooked"], ["the", " chef", " ate"], [0.02, 0.1, 0.83])
    assert text.split("\n") == [
        "     shown the chef ate",
        "       was          (cooked)",
        " replaced? 2%  10%  83%!",
        "",
    ]


def test_a_sentence_as_it_was_has_no_line_of_originals_and_color_marks_what_is_called_replaced():
    tokens = ["the", " chef", " ate"]
    assert marked_sentence(tokens, tokens, [0.02, 0.5, 0.83], colored=True).split("\n") == [
        "     shown the chef \033[1;31mate \033[0m",
        " replaced? 2%  50%  \033[1;31m83%!\033[0m",
        "",
    ]


def test_white_space_and_control_characters_are_made_visible():
    text = marked_sentence(["\n", "a\tb"], [" x", "\x1b[2Jy\u202e"], [0.5, 0.5])
    assert "(\\n)" in text
    assert "(a\\tb)" in text
    assert "\\x1b[2Jy\\u202e" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(("width", "widest"), [(40, 40), (39, 35), (1, 15)])
def test_long_sentences_are_wrapped_token_by_token_to_the_width_of_the_terminal(width, widest):
    text = marked_sentence(["word"] * 30, ["word"] * 30, [0.0] * 30, width=width)
    assert max(map(len, text.split("\n"))) == widest
    assert text.count("word") == 30
    assert all(line == line.rstrip() for line in text.split("\n"))


def test_the_example_is_the_row_with_the_surest_answer():
    tokenizer = Tokenizer.train(word_salad(20, 40), 331)
    model, batch = tiny_electra(tiny_shape(vocab_size=331)), tiny_batch([23, 11, 5, 17], 23)
    outputs = compute_outputs(model, replaced_token_detection, batch, torch.device("cpu"), torch.float32)
    assert outputs.discriminator is not None
    text = corrupted_example(batch, outputs.discriminator, tokenizer)
    logits = [max(row[:n]) for row, n in zip(outputs.discriminator.logits.tolist(), (23, 11, 5, 17), strict=True)]
    row = logits.index(max(logits))
    assert text.count("%") == (23, 11, 5, 17)[row]
    assert "[CLS]" in text
