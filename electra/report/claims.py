"""The report's claims R10 to R18, and R19, the paper's: what decides each, by which interval, and the verdict.

"supported": measured, and the whole interval is on the claim's side, or p is below 0.05. "not supported": measured,
and it is not, which is no proof of the opposite. "not measured": nothing among the inputs decides it. Intervals are
over fine-tuning seeds of one pre-training: the spread between pre-trainings is not in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from electra.report import findings as find
from electra.pretrain.collapse import COLLAPSE_RULE
from electra.report.literature import (OFFICIAL, MERCIER, mean_of_eight, table)
from electra.report.runs import Inputs
from electra.report.scores import SAME_FLOPS
from electra.scores.tables import markdown


class Claim(NamedTuple):
    """A claim and the comparison that decides it."""

    name: str
    text: str
    decided_by: str
    printed: str  # what the report's own numbers say
    find: Callable[[Inputs], find.Finding]


def _gap(average: str, value: float) -> str:
    """The report's own last row minus a printed average, from the printed columns."""
    row = table("2")[MERCIER]
    ours = mean_of_eight(row) if average == "AVG" else row["GLUE*"].number
    return f"{ours:.2f} - {value:.2f} = {ours - value:+.2f}"


def claims() -> Sequence[Claim]:
    """All claims in the order of the list."""
    rows, margin = table("2"), f"inside ±{100 * find.MARGIN:g}"
    original, gpt = mean_of_eight(rows[OFFICIAL]), mean_of_eight(rows["GPT"])
    distil = rows["DistilBERT6"]["GLUE*"].number
    days = ", ".join(f"{cells['days'].value} d on {name}" for name, cells in table("3.5").items() if "days" in cells)
    return (
        Claim("R10", "pre-training fits 16 GB, and 11 GB in two micro-batches",
              "peak bytes on CUDA at 128 and at 64 rows", "15 GB stated", find.find_memory),
        Claim("R10", "days for 1M updates",
              "measured tokens/s on the same device, middle 95 % of the log", days, find.find_days),
        Claim("R11", "preprocessing takes about 3 hours, vocabulary 30,522",
              "recorded hours and vocabulary", "3 h stated", find.find_preprocessing),
        Claim("R12", "results are similar to the original on OpenWebText", f"AVG minus the original's, {margin}",
              _gap("AVG", original) + "; Wikibooks was never compared", find.find_similar),
        Claim("R13", "training dynamics are similar",
              f"figure 3 within {100 * find.CURVE_TOLERANCE:g} % at common steps",
              "its figure ends near masked-LM accuracy .54, the official at .454", find.find_dynamics),
        Claim("R14", "outperforms GPT", "AVG minus GPT's, above 0", _gap("AVG", gpt), find.better_than("AVG", gpt)),
        Claim("R14", "outperforms DistilBERT", "GLUE* minus DistilBERT's, above 0",
              _gap("GLUE*", distil) + ": not supported by its own table", find.better_than("GLUE*", distil)),
        Claim("R14", "more efficient than all compared",
              "pfs-days over score against GPT, BERT-Base and DistilBERT",
              "22 x, 21 x, 3.6 x; no compute printed for TinyBERT", find.find_efficiency),
        Claim("R15", "a larger generator collapses the discriminator",
              f"how many at half size or more, against smaller: {COLLAPSE_RULE}",
              "3 of 3, one seed each", find.find_collapse),
        Claim("R16", "robust to pair swap, decay of rates and pooling", f"paired effects, {margin}",
              "not varied one at a time", find.find_robust),
        Claim("R17", "AVG of the paper is no GLUE score: WNLI is not in it",
              "which formula gives the printed averages", '"surely" WNLI; another average, not an overstatement',
              find.find_meta_score),
        Claim("R18", "on WNLI the majority class beats all models", "accuracy minus 56.34, below 0",
              "constant used", find.find_wnli),
        Claim("R19", "replaced-token detection beats masked LM at equal compute",
              f"paired mean, above 0, FLOPs within {100 * SAME_FLOPS:g} %", "not run", find.find_control),
    )  # fmt: skip


def claims_table(inputs: Inputs) -> str:
    """Every claim with its verdict."""
    header = ["", "claim", "decided by", "the report's own numbers", "ours [95 % interval]", "verdict"]
    found = [(claim, claim.find(inputs)) for claim in claims()]
    rows = [[c.name, c.text, c.decided_by, c.printed, f.ours, f"**{f.verdict}**"] for c, f in found]
    explanation = " ".join((__doc__ or "").split("\n\n", 1)[1].split())
    return markdown(header, rows) + f"\n\n{explanation} Differences are in points, ours minus theirs."
