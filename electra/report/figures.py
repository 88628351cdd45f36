"""Draw figures 1 to 3 with matplotlib, as PNG and SVG. Lines differ in dash, marker and lightness, not only in hue."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from electra.config import EncoderConfig, PretrainConfig
from electra.model.flops import parameter_blocks
from electra.report.literature import official_curve
from electra.report.runs import PretrainRun

PANELS: Mapping[str, str] = {
    "disc_loss": "discriminator loss (nats a token)",
    "total_loss": "total loss (nats, weighted)",
    "masked_lm_loss": "masked-LM loss (nats a target)",
    "masked_lm_accuracy": "masked-LM accuracy (of targets)",
    "sampled_masked_lm_accuracy": "sampled accuracy (of targets)",
    "disc_accuracy": "discriminator accuracy (of tokens)",
    "disc_auc": "discriminator AUC",
    "disc_precision": "discriminator precision (of calls)",
}
"""{metric: title with its unit}, one for each panel of figure 3."""

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 1, 1, 1)))
_COLORS = ("#08306b", "#8c2d04", "#41ab5d", "#9e9ac8", "#d6a300", "#e7298a", "#17becf", "#7f7f7f")
STYLES = [
    {"linestyle": _DASHES[n - turn], "marker": "o^svDP<X"[n], "color": color}
    for turn in range(len(_DASHES))  # a color comes back with another dash, so that no two of 64 lines look alike
    for n, color in enumerate(_COLORS)
]


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """Yield a figure (size in inches), then save it as `path` with .png and .svg. Equal figures give equal bytes."""
    matplotlib = importlib.import_module("matplotlib")
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    grid = {"axes.grid": True, "grid.alpha": 0.3}
    with matplotlib.rc_context({"svg.hashsalt": "electra", "svg.fonttype": "path", "font.size": 11, **grid}):
        yield figure
        figure.savefig(path.with_suffix(".png"), dpi=150)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _line(axes: Any, run: PretrainRun, name: str, **style: Any) -> None:
    points = [(record["step"], record[name]) for record in run.evaluations if record.get(name) is not None]
    if points:
        every = max(1, len(points) // 8)  # about eight markers a line, so that markers do not overlap
        axes.plot(*zip(*points, strict=True), markevery=every, markersize=5, **style)


def _label(axes: Any, metric: str, xlabel: str, **scale: Any) -> None:
    axes.set(xlabel=xlabel, ylabel=PANELS[metric], **scale)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value < 1e6 else f"{value / 1e6:g}M")


def draw_sweep(sweep: Sequence[PretrainRun], path: Path) -> None:
    """Draw figure 2: the generator's masked-LM accuracy and the discriminator's AUC by update, a line for each run."""
    sizes = sorted({run.config.generator_size for run in sweep})
    labels = {size: f"generator {100 * size:g} %" for size in sizes}
    with _figure(path, 11, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        for run in sweep:
            size = run.config.generator_size
            style = STYLES[sizes.index(size) % len(STYLES)]
            _line(left, run, "masked_lm_accuracy", **style)
            _line(right, run, "disc_auc", **style, label=labels.pop(size, None))
            if run.collapse_step is not None:
                auc = next(r.get("disc_auc") for r in run.evaluations if r["step"] == run.collapse_step)
                right.plot([run.collapse_step], [auc], "X", color="black", markersize=10, zorder=5)
        right.plot([], [], "X", color="black", markersize=10, linestyle="", label="declared collapsed")
        _label(left, "masked_lm_accuracy", "updates")
        _label(right, "disc_auc", "updates")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)


def draw_curves(runs: Sequence[PretrainRun], path: Path) -> None:
    """Draw figure 3: eight panels with our runs as lines and the official curve as stars, on a logarithmic axis."""
    curve = official_curve()
    star = {"color": "black", "markersize": 9, "zorder": 5, "label": "official, read off its figure"}
    with _figure(path, 15, 7.5) as figure:
        for axes, name in zip(figure.subplots(2, 4).flat, PANELS, strict=True):
            for run, style in zip(runs, STYLES * len(runs), strict=False):
                _line(axes, run, name, label=f"ours: {run.name}", **style)
            axes.plot(curve["step"], curve[name], "*", **star)
            _label(axes, name, "updates (logarithmic)", xscale="log")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def draw_architecture(config: PretrainConfig, shape: EncoderConfig, path: Path) -> None:
    """Draw figure 1: the blocks that both networks share, and above them the networks, with widths and parameters."""
    blocks = parameter_blocks(shape, config.generator_size)
    shared = [f"{b} {n:,}" for b, n in blocks.items() if not b.startswith(("generator", "discriminator"))]
    text = f"shared: {', '.join(shared[:2])},\n{', '.join(shared[2:])}\nall of width {shape.embedding_size}"
    vocabulary = f"word\ntable transposed: {shape.vocab_size:,} logits"
    generator_head = f"to {shape.embedding_size}, GELU, LayerNorm, {vocabulary}"
    discriminator_head = f"to {shape.hidden_size}, GELU, to 1:\nreplaced or original, every token"
    with _figure(path, 10, 6.6) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 9.7))
        axes.axis("off")
        _box(axes, 0.2, 0.9, 9.6, text, "#e8e8e8")
        tokens = "tokens in: the generator sees [MASK], the discriminator the generator's samples"
        axes.text(5, 0.3, tokens, ha="center")
        _tower(axes, "generator", 0.2, shape.generator(config.generator_size), blocks, generator_head)
        _tower(axes, "discriminator", 5.4, shape, blocks, discriminator_head)
        total = f"{sum(blocks.values()):,} parameters, what is shared counted once"
        axes.text(5, 9.3, total, ha="center", weight="bold")
        arrow = {"arrowstyle": "->", "linestyle": "--"}
        axes.annotate("sampled\ntokens", (5, 2.35), (5, 8), ha="center", va="center", arrowprops=arrow)


def _tower(axes: Any, network: str, x: float, shape: EncoderConfig, blocks: Mapping[str, int], head: str) -> None:
    """Draw the boxes of one network from bottom to top: projection (if it has one), layers, head."""
    layers = (
        f"{shape.num_layers} x (self-attention, heads: {shape.num_heads};\n"
        f"feed-forward {shape.hidden_size} to {shape.intermediate_size} to {shape.hidden_size})"
    )
    parts = {"projection": f"{shape.embedding_size} to {shape.hidden_size}", "layers": layers, "head": head}
    y = 2.9
    for part, text in parts.items():
        if num_parameters := blocks.get(f"{network} {part}"):
            _box(axes, x, y, 4.4, f"{network} {part}: {num_parameters:,}\n{text}", "#ffffff")
            axes.annotate("", (x + 2.2, y), (x + 2.2, y - 0.6), arrowprops={"arrowstyle": "->"})
            y += 2.2


def _box(axes: Any, x: float, y: float, width: float, text: str, color: str) -> None:
    axes.add_patch(
        importlib.import_module("matplotlib.patches").Rectangle((x, y), width, 1.4, facecolor=color, edgecolor="black")
    )
    axes.text(x + width / 2, y + 0.7, text, ha="center", va="center")


def draw(figures: Mapping[str, Callable[[Path], None]], out: Path) -> dict[str, str]:
    """Draw each named figure into a folder; return {name: Markdown that shows the figure, or says what to install}."""
    if importlib.util.find_spec("matplotlib") is None:
        return dict.fromkeys(figures, "No figure: matplotlib is not installed; pip install -e '.[plots]'")
    for name, function in figures.items():
        function(out / name)
    return {name: f"![{name}]({name}.png) ([SVG]({name}.svg))" for name in figures}
