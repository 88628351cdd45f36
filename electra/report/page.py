"""Records to a report: `python -m electra report runs/ --out report/` redraws every table and figure from the logs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from electra.cli import Parser
from electra.config import (EncoderConfig, PretrainConfig)
from electra.files import atomic_write
from electra.report.literature import table
from electra.report.runs import (Inputs, read_inputs)
from electra.report.claims import claims_table
from electra.report.efficiency import (block_table, table_1, table_3)
from electra.report.figures import (draw, draw_architecture, draw_curves, draw_sweep, has_matplotlib)
from electra.report.scores import (ablation_tables, control_tables, pretraining_seeds, reproductions, sweeps, table_2, table_4, wnli_table)
from electra.report.settings import tables_5_and_6
from electra.scores.tables import (NOT_MEASURED, bullets, markdown)

TOKENIZERS = (
    "The official curve was made with an uncased WordPiece vocabulary and packed pairs of segments; ours with "
    "byte-level BPE and random windows. Losses and accuracies a token depend on both, and about 15 % of the "
    "masked-LM accuracy is copying of visible targets, in both: look at the shape, not at the last digit."
)


def input_table(inputs: Inputs) -> str:
    """What was read: each run with its budget and provenance, each protocol with its seeds, and every loss."""
    runs = [
        [run.name, run.config.recipe, run.config.objective, f"{run.last_step:,} of {run.config.num_train_steps:,}",
         f"{run.last_step * run.config.batch_size * run.config.seq_length:,}", str(run.config.seed),
         f"{run.num_devices} {run.provenance.get('device')}", str(run.provenance.get("commit"))]
        for run in inputs.runs
    ]  # fmt: skip
    header = ["pre-training run", "recipe", "objective", "updates", "tokens seen", "seed", "device", "commit"]
    protocols = [
        [protocol.name, ", ".join(dict.fromkeys(record["task"] for record in protocol.records)),
         ", ".join(map(str, sorted({record["seed"] for record in protocol.records}))),
         ", ".join(sorted({f"{r['provenance']['device']} ({r['precision']})" for r in protocol.records})),
         ", ".join(sorted({str(record["provenance"]["commit"]) for record in protocol.records}))]
        for protocol in inputs.protocols
    ]  # fmt: skip
    parts = [markdown(header, runs or [[NOT_MEASURED] * len(header)])]
    header = ["fine-tuning protocol", "tasks", "seeds", "device", "commit"]
    parts.append(markdown(header, protocols or [[NOT_MEASURED] * len(header)]))
    parts.append("Left out or assumed:\n\n" + (bullets(inputs.notes) if inputs.notes else "- nothing"))
    return "\n\n".join(parts)


def figures(inputs: Inputs) -> dict[str, Callable[[Path], None]]:
    """What can be drawn of the inputs, by file name."""
    runs, found = reproductions(inputs), sweeps(inputs.runs)
    config, shape = (runs[0].config, runs[0].shape) if runs else (PretrainConfig(), EncoderConfig())
    drawn: dict[str, Callable[[Path], None]] = {"figure-1": partial(draw_architecture, config, shape)}
    drawn |= {f"figure-2-{number}": partial(draw_sweep, sweep) for number, sweep in enumerate(found, 1)}
    return {**drawn, **({"figure-3": partial(draw_curves, runs)} if runs else {})}


def report(inputs: Inputs, shown: dict[str, str], usd_per_hour: float) -> str:
    """The whole report as Markdown.

    Args:
        shown: the Markdown of each figure of `figures`.
        usd_per_hour: what a device-day is priced at.
    """
    runs, found = reproductions(inputs), sweeps(inputs.runs)
    name = runs[0].name if runs else "the small size; no run among the inputs"
    sections = {
        "Inputs": input_table(inputs),
        "Claims": claims_table(inputs),
        "Table 1: compute": table_1(inputs, usd_per_hour),
        "Table 2: GLUE dev sets": f"{table_2(inputs)}\n\n{wnli_table(inputs)}",
        "Controls": control_tables(inputs),
        "Table 3: efficiency": table_3(inputs),
        "Table 4 and figure 2: generator size": "\n\n".join(
            f"{table_4(sweep, inputs)}\n\n{shown[f'figure-2-{number}']}" for number, sweep in enumerate(found, 1)
        )
        or f"{table_4([], inputs)}\n\nFigure 2: {NOT_MEASURED}.",
        "Pre-training seeds": pretraining_seeds(inputs),
        "Ablations": ablation_tables(inputs),
        "Tables 5 and 6: settings": tables_5_and_6(inputs),
        f"Figure 1: the model ({name})": f"{shown['figure-1']}\n\n{block_table(runs[0] if runs else None)}",
        "Figure 3: training curves": f"{shown.get('figure-3', f'Figure 3: {NOT_MEASURED}.')}\n\n{TOKENIZERS}",
    }
    head = (
        "# Report\n\nWritten by `python -m electra report`. Scores are on GLUE's dev files, in points: mean ± sample "
        "standard deviation (number of fine-tuning seeds) of the model of the last update. Brackets after a difference "
        "are Student's 95 % interval over seeds. Rows of different protocols are never averaged."
    )
    return head + "".join(f"\n\n## {title}\n\n{text}" for title, text in sections.items()) + "\n"


def main(argv: Sequence[str]) -> None:
    """`python -m electra report`."""
    parser = Parser("python -m electra report", description="Redraw every table and figure from runs and results.")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders, results folders, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write (default report)")
    default = table("1")["overall"]["usd_per_hour"].number
    parser.add_argument(
        "--usd-per-hour", type=float, default=default, help=f"of one device (default {default}, the report's)"
    )
    asked = parser.parse_args(argv)
    if not asked.runs:
        raise ValueError("runs: expected a folder of runs or results, found none; name one, for example runs/")
    inputs = read_inputs(asked.runs)
    for note in inputs.notes:
        print(f"note: {note}", file=sys.stderr)
    asked.out.mkdir(parents=True, exist_ok=True)
    shown = draw(figures(inputs), asked.out)
    with atomic_write(asked.out / "report.md") as file:
        file.write(report(inputs, shown, asked.usd_per_hour).encode())
    if not has_matplotlib():
        print(f"note: {shown['figure-1']}", file=sys.stderr)
    print(f"report: {asked.out / 'report.md'}: {len(inputs.runs)} runs, {len(inputs.protocols)} fine-tuning protocols")
