"""What the release of GLUE is: addresses, sizes, digests, and whether a folder holds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from electra.files import FormatError
from electra.glue.files import read_split
from electra.glue.tasks import TASKS, Task

BASE_URL = "https://dl.fbaipublicfiles.com/"


class Download(NamedTuple):
    """One file of the release."""

    path: str  # under `BASE_URL`
    num_bytes: int
    sha256: str


_DOWNLOADS = """
cola glue/data/CoLA.zip 376971 f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff
sst2 glue/data/SST-2.zip 7439277 d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa
mrpc senteval/senteval_data/msr_paraphrase_train.txt 1047044 60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89
mrpc senteval/senteval_data/msr_paraphrase_test.txt 441275 a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784
mrpc glue/data/mrpc_dev_ids.tsv 6222 971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7
stsb glue/data/STS-B.zip 802872 e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85
qqp glue/data/QQP-clean.zip 41696084 40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0
mnli glue/data/MNLI.zip 312783507 e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633
mnli glue/data/AX.tsv 222257 0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd
qnli glue/data/QNLIv2.zip 10627589 e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5
rte glue/data/RTE.zip 697150 6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee
wnli glue/data/WNLI.zip 28999 ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46
"""  # noqa: E501
DOWNLOADS: Mapping[str, tuple[Download, ...]] = {
    task: tuple(
        Download(path, int(num_bytes), sha256)
        for name, path, num_bytes, sha256 in map(str.split, _DOWNLOADS.strip().splitlines())
        if name == task
    )
    for task in TASKS
}
"""What each task is made of. Source: GLUE-baselines; sizes and digests as huggingface/datasets has them."""

RELEASED_SHA256: Mapping[str, str] = {
    "AX/AX.tsv": "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd",
    "CoLA/dev.tsv": "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd",
    "CoLA/test.tsv": "3b4df85f7a9a0633574b38d181e18090ac961a24b18fb6bcd74999ddea8ad0b8",
    "CoLA/train.tsv": "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624",
    "MRPC/dev.tsv": "9e8f284788040f7c9ecde2e1b3c07237c756f926bd9ef8548ef5d34b56f69f17",
    "MRPC/dev_ids.tsv": "971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7",
    "MRPC/test.tsv": "aee460ceda833926b8ab2ad952d399f5cf8bc9335cff19afcac03dc449558622",
    "MRPC/train.tsv": "69abcedee3cf738c6ce58d772e43e1b7cdf5b4edee4aceda459c0d9f4e5599f3",
    "RTE/dev.tsv": "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
    "RTE/test.tsv": "6e33f09b5c2bfd5fd5fde217070f3dd49e484e33b9752b5864cf36fc421a213f",
    "RTE/train.tsv": "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c",
    "STS-B/dev.tsv": "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59",
    "STS-B/test.tsv": "16b4223d7d44a644fbc10f1b449472cfe81e1715fb07cf44023b0aa88ce856eb",
    "STS-B/train.tsv": "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2",
    "WNLI/dev.tsv": "cba00490596dd14be8cf53b4f53bb744abe3a7b89f81ab210528d80225338ed5",
    "WNLI/test.tsv": "ff0296817e235bf6f7a230c5f6781bd6ee228a45445f6510831fdef6f2a04766",
    "WNLI/train.tsv": "9a88e9d54b6861cc796a088e9acf4f5f65064a9ef65ae6fa7a688b28391e5c9a",
}
"""Digests of released files, where known: those of the smaller tasks."""


def missing_files(task: Task, data_dir: Path) -> list[Path]:
    """The files that training on a task and scoring it need and `data_dir` does not have."""
    needed = [task.splits[name].path for name in ("train", *task.dev_splits)]
    return [data_dir / path for path in needed if not (data_dir / path).is_file()]


def verify_file(task: Task, data_dir: Path, split: str) -> str:
    """One line about one file of a task: its rows, and whether its bytes are the released ones, where known.

    Raises:
        FileNotFoundError, FormatError: as `read_split`; also if the bytes are not the released ones.
    """
    file = task.splits[split]
    rows = read_split(task, data_dir, split)
    released = RELEASED_SHA256.get(file.path, rows.sha256)
    if rows.sha256 != released:
        raise FormatError(f"{rows.path}: expected sha256 {released[:12]}…, found {rows.sha256[:12]}…; "
                          f"fetch it with python -m electra glue download --task {task.name}")  # fmt: skip
    damaged = f", {rows.num_damaged:,} damaged rows left out" if rows.num_damaged else ""
    verdict = "as released" if file.path in RELEASED_SHA256 else "released digest unknown"
    return f"{file.path}: {len(rows):,} rows{damaged}, sha256 {rows.sha256}, {verdict}"
