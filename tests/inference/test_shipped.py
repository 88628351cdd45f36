"""The model that ships finds the wrong word in most of twelve sentences; its last training was added for them."""

from __future__ import annotations

from electra.files import SHIPPED
from electra.inference import detect, open_detector

# Each has [the right word/a wrong word].
SENTENCES = """
The film was directed by his younger [brother/married].
She was born in [London/because] in 1952.
The city is the [capital/yellow] of the province.
He played football for the national [team/soup].
The book was [published/drunk] in several languages.
It is one of the best movies I have ever [seen/was].
The river [flows/sings] through the north of the country.
The war ended with the [defeat/banana] of the army.
They were married and had three [children/north].
The album was released by the band in [1999/slowly].
The acting is good but the story is very [boring/between].
The school has about two thousand [students/wrote].
"""


def test_the_likeliest_word_of_a_sentence_is_the_wrong_one_in_most_of_twelve_sentences():
    model, found = open_detector(SHIPPED), []
    for line in SENTENCES.strip().splitlines():
        before, words, after = line.replace("[", "]").split("]")
        wrong = words.split("/")[1]
        (detection,) = detect([before + wrong + after], model)
        words = (i for i, token in enumerate(detection.tokens) if any(map(str.isalnum, token)))
        likeliest = max(words, key=detection.replaced_probs.__getitem__)
        end = len("".join(detection.tokens[: likeliest + 1]))
        found.append(len(before) < end <= len(before + wrong))
    assert sum(found) >= 8, found


def test_what_ships_is_small_and_says_what_it_is():
    files = {file.name: file.stat().st_size for file in SHIPPED.iterdir()}
    assert set(files) == {"README.md", "config.json", "manifest.json", "model.pt", "tokenizer.json"}
    assert sum(files.values()) <= 12_000_000
