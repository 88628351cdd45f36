"""What each idea of the tokenizer is worth alone: everything as it is, and with one idea taken out.

    python -m tests.benchmarks.bench_ideas DIR [--files 12] [--repeats 3] [--json FILE]

DIR holds OpenWebText's extracted `*_data.xz`; 12 files of the test corpus are 28 MB. One process, CPU seconds of this
process; variants take turns, and a ratio is the median of the ratios within a turn, with its range.
"""

from __future__ import annotations

import argparse
import functools
import gc
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from electra.files import write_json
from electra.tokenizer import bpe
from electra.tokenizer import encode as encoder
from electra.tokenizer import train as bpe_trainer
from electra.tokenizer.byte_level import Tokenizer, count_merges, group_texts
from electra.tokenizer.count import ChunkCounter
from electra.tokenizer.train import learn_merges
from tests.benchmarks.bench_tokenizer import VOCAB_SIZE, read_with_the_standard_library, where_from

Variants = dict[str, Callable[[], object]]
NEVER = 1 << 60


def count(texts: Sequence[str]) -> Counter[str]:
    """Count chunks as `prepare` does."""
    counter = ChunkCounter()
    for group in group_texts(texts):
        counter.add(group)
    return counter.take()


def count_in_a_dictionary(texts: Sequence[str]) -> Counter[str]:
    """Count chunks one by one."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(bpe.split_text(text))
    return chunks


def encode(path: Path, texts: Sequence[str], *, together: bool = True, cached_chunks: int | None = None) -> None:
    """Encode from a cold start; not `together` is each text alone, without the table of words."""
    tokenizer = Tokenizer.load(path)
    if cached_chunks is not None:
        tokenizer._encoder._max_chunks = cached_chunks
    for group in group_texts(texts):
        if together:
            tokenizer.encode_documents(group)
        else:
            list(map(tokenizer.encode_to_bytes, group))


def without(module: object, name: str, value: int, run: Callable[[], object]) -> Callable[[], object]:
    """The same work with one constant changed."""

    def changed() -> None:
        with mock.patch.object(module, name, value):
            run()

    return changed


def compare(job: str, variants: Variants, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of variants in turns, and how many times those of the first each takes."""
    print(job)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            gc.enable() if "collector" in name else gc.disable()
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
    for name, times in seconds.items():
        ratios = [time / own for time, own in zip(times, next(iter(seconds.values())), strict=True)]
        line = f"  {name:<52}{statistics.median(times):8.2f} CPU s   {statistics.median(ratios):5.2f}x"
        print(f"{line} ({min(ratios):.2f} to {max(ratios):.2f}), n = {repeats}", flush=True)
    return seconds


def main() -> None:
    """Count, learn and encode, each with its ideas taken out in turn."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    args = parser.parse_args()
    texts = list(read_with_the_standard_library(sorted(args.data.glob("*_data.xz"))[: args.files]))
    chunks = count(texts)
    learn = functools.partial(learn_merges, chunks, count_merges(VOCAB_SIZE))
    counting: Variants = {
        "as it is": lambda: count(texts),
        "chunk by chunk in a dictionary": lambda: count_in_a_dictionary(texts),
        "the garbage collector on": lambda: count(texts),
    }
    learning: Variants = {
        "as it is: loops for few places, arrays for many": learn,
        "arrays always": without(bpe_trainer, "_LOOP_BELOW", 0, learn),
        "loops always": without(bpe_trainer, "_LOOP_BELOW", NEVER, learn),
        "the garbage collector on": learn,
    }
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tokenizer.json"
        Tokenizer.from_merges(learn()).save(path)
        as_it_is = functools.partial(encode, path, texts)
        encoding: Variants = {
            "as it is": as_it_is,
            "no table of words: a dictionary of chunks alone": functools.partial(encode, path, texts, together=False),
            "new chunks merged one by one": without(encoder, "_MIN_BATCH", NEVER, as_it_is),
            "no dictionary of chunks": functools.partial(encode, path, texts, cached_chunks=0),
            "the garbage collector on": as_it_is,
        }
        size = sum(len(text.encode()) for text in texts)
        record = {
            "bytes": size,
            "counting": compare(f"counting {size / 1e6:.1f} MB", counting, args.repeats),
            "learning": compare(f"learning from {len(chunks):,} distinct chunks", learning, args.repeats),
            "encoding": compare(f"encoding {size / 1e6:.1f} MB", encoding, args.repeats),
        }
    if args.json:
        write_json(args.json, {"provenance": where_from(), "cpu_seconds": record})


if __name__ == "__main__":
    main()
