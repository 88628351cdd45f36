"""Command `report`: write all tables and figures on one Markdown page, from the logs of runs and the results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from electra.cli import Parser, printable
from electra.config import EncoderConfig, PretrainConfig
from electra.files import atomic_write
from electra.report.efficiency import block_table, table_1, table_3
from electra.report.figures import draw, draw_architecture, draw_curves, draw_sweep
from electra.report.groups import ablations, controls, reproductions, sweeps
from electra.report.runs import Inputs, PretrainRun, read_inputs
from electra.report.scores import comparison_tables, own_tasks_table, pretraining_seeds, table_2, table_4, wnli_table
from electra.report.settings import tables_5_and_6
from electra.scores.tables import NOT_MEASURED, bullets, markdown

HEAD = (
    "# Report\n\nWritten by `python -m electra report`. Scores are on GLUE's dev files, in points: mean ± sample "
    "standard deviation (number of fine-tuning seeds) of the model of the last update. Brackets after a difference "
    "are Student's 95 % interval over seeds. A row is one protocol, each task on one data set."
)
TOKENIZERS = (
    "The official curve was made with an uncased WordPiece vocabulary and packed pairs of segments; ours with "
    "byte-level BPE and random windows. Losses and accuracies a token depend on both, and about 15 % of the "
    "masked-LM accuracy is copying of visible targets, in both: look at the shape, not at the last digit."
)


def input_tables(inputs: Inputs) -> str:
    """Return tables of the runs (budget, device, commit) and protocols (tasks, seeds), and what was left out."""
    runs, protocols = [], []
    for run in inputs.runs:
        config, steps = run.config, run.last_step
        cells = [run.name, config.recipe, config.objective, f"{steps:,} of {config.num_train_steps:,}"]
        cells += [f"{steps * config.batch_size * config.seq_length:,}", str(config.seed)]
        runs.append([*cells, f"{run.num_devices} {run.device}", run.commit])
    for protocol in inputs.protocols:
        records = protocol.records
        tasks, seeds = dict.fromkeys(r["task"] for r in records), sorted({r["seed"] for r in records})
        devices = sorted({f"{r['provenance']['device']} ({r['precision']})" for r in records})
        commits = sorted({r["provenance"]["commit"] for r in records})
        protocols.append([protocol.name, *(", ".join(map(str, cell)) for cell in (tasks, seeds, devices, commits))])
    header = ["pre-training run", "recipe", "objective", "updates", "tokens seen", "seed", "device", "commit"]
    parts = [markdown(header, runs or [[NOT_MEASURED] * len(header)])]
    header = ["fine-tuning protocol", "tasks", "seeds", "device", "commit"]
    parts.append(markdown(header, protocols or [[NOT_MEASURED] * len(header)]))
    return "\n\n".join([*parts, f"Left out or assumed:\n\n{bullets(inputs.notes or ['nothing'])}"])


def model_of(runs: Sequence[PretrainRun]) -> tuple[PretrainConfig, EncoderConfig]:
    """Return the settings and shape of the first run, or of the small size if there are no runs."""
    return (runs[0].config, runs[0].shape) if runs else (PretrainConfig(), EncoderConfig())


def figures(inputs: Inputs) -> dict[str, Callable[[Path], None]]:
    """Return {file name: function that draws the figure} for each figure that the inputs allow."""
    runs = reproductions(inputs)
    drawn: dict[str, Callable[[Path], None]] = {"figure-1": partial(draw_architecture, *model_of(runs))}
    drawn |= {f"figure-2-{n}": partial(draw_sweep, sweep) for n, sweep in enumerate(sweeps(inputs.runs), 1)}
    return {**drawn, **({"figure-3": partial(draw_curves, runs)} if runs else {})}


def report(inputs: Inputs, shown: Mapping[str, str]) -> str:
    """Return the whole report as Markdown; `shown` maps each name in `figures` to Markdown that shows the figure."""
    runs = reproductions(inputs)
    name = runs[0].name if runs else "the small size; no run among the inputs"
    sizes = [f"{table_4(s, inputs)}\n\n{shown[f'figure-2-{n}']}" for n, s in enumerate(sweeps(inputs.runs), 1)]
    sizes = sizes or [f"{table_4([], inputs)}\n\nFigure 2: {NOT_MEASURED}."]
    sections = {
        "Inputs": input_tables(inputs),
        "Table 1: compute": table_1(inputs),
        "Table 2: GLUE dev sets": f"{table_2(inputs)}\n\n{wnli_table(inputs)}{own_tasks_table(inputs)}",
        "Controls": comparison_tables("Controls", "control minus base", controls(inputs)),
        "Table 3: efficiency": table_3(inputs),
        "Table 4 and figure 2: generator size": "\n\n".join(sizes),
        "Pre-training seeds": pretraining_seeds(inputs),
        "Ablations": comparison_tables("Ablations", "setting: base -> variant", ablations(inputs)),
        "Tables 5 and 6: settings": tables_5_and_6(inputs),
        f"Figure 1: the model ({name})": f"{shown['figure-1']}\n\n{block_table(*model_of(runs))}",
        "Figure 3: training curves": f"{shown.get('figure-3', f'Figure 3: {NOT_MEASURED}.')}\n\n{TOKENIZERS}",
    }
    return HEAD + "".join(f"\n\n## {title}\n\n{text}" for title, text in sections.items()) + "\n"


def main(argv: Sequence[str]) -> None:
    """Run `python -m electra report`."""
    parser = Parser("python -m electra report", description="Redraw every table and figure from runs and results.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, results folders, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write (default report)")
    asked = parser.parse_args(argv)
    inputs = read_inputs(asked.runs)
    asked.out.mkdir(parents=True, exist_ok=True)
    shown = draw(figures(inputs), asked.out)
    with atomic_write(asked.out / "report.md") as file:
        file.write(report(inputs, shown).encode())
    for note in inputs.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    counts = f"{len(inputs.runs)} runs, {len(inputs.protocols)} fine-tuning protocols"
    print(f"report: {asked.out / 'report.md'}: {counts}; left out or assumed: {len(inputs.notes)}")
