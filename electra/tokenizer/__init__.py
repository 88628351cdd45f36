"""Text to token ids and back."""

from electra.tokenizer.byte_level import Tokenizer as Tokenizer
