"""The example sentence with probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from electra.pretrain.evaluation import DiscriminatorOutputs
from electra.pretrain.example import corrupted_example, marked_sentence
from electra.tokenizer.byte_level import Tokenizer
from tests.conftest import tiny_batch, word_salad


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


def test_the_example_is_the_row_of_most_whole_words_of_those_whose_likeliest_token_was_replaced():
    tokenizer = Tokenizer.train(word_salad(20, 40), 331)
    words = [i for i in range(331) if tokenizer.token(i)[0] == " " and tokenizer.token(i)[1:].isalpha()]
    batch, letter = tiny_batch([5, 5, 5, 5], 5), 4
    corrupted = np.array([[words[0]] * num + [letter] * (5 - num) for num in (5, 1, 3, 2)])
    is_replaced = np.eye(5, dtype=bool)[[1, 2, 3, 4]]
    logits = np.where(is_replaced, 2.0, -1.0)
    logits[0, 4] = 3.0  # most whole words, but its likeliest token is an original
    outputs = DiscriminatorOutputs(logits, logits, is_replaced, corrupted)
    shown = [corrupted_example(batch, outputs, tokenizer).split().count(tokenizer.token(words[0]).strip())]
    nothing_is_found = outputs._replace(logits=-np.abs(logits))
    shown += [corrupted_example(batch, nothing_is_found, tokenizer).split().count(tokenizer.token(words[0]).strip())]
    assert shown == [3, 5]
