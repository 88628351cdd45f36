"""Turn text into token ids, and token ids into text."""

from electra.tokenizer.byte_level import Tokenizer as Tokenizer
