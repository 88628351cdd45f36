"""Figures 1 to 3 with matplotlib, as PNG and SVG: told apart by line, marker and lightness, so also in grey."""

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
"""The eight panels of figure 3 with their units."""

STYLES = [
    {"linestyle": line, "marker": marker, "color": color}
    for line, marker, color in zip(
        ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 1, 1, 1))), "o^svDP<X",
        ("#08306b", "#8c2d04", "#41ab5d", "#9e9ac8", "#d6a300", "#e7298a", "#17becf", "#7f7f7f"), strict=True,
    )
]  # fmt: skip


def has_matplotlib() -> bool:
    """Whether figures can be drawn: the `[plots]` extra is installed."""
    return importlib.util.find_spec("matplotlib") is not None


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure in inches that is saved as `path` with .png and .svg; equal inputs give equal bytes."""
    matplotlib = importlib.import_module("matplotlib")
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    settings = {
        "svg.hashsalt": "electra",
        "font.size": 11,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(settings):
        yield figure
        figure.savefig(path.with_suffix(".png"), dpi=150)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _line(axes: Any, run: PretrainRun, name: str, **style: Any) -> None:
    points = [(r["step"], r[name]) for r in run.held_out() if r.get(name) is not None]
    if points:
        every = max(1, len(points) // 8)  # markers that do not run together
        axes.plot(*zip(*points, strict=True), markevery=every, markersize=5, **style)


def _thousands(axes: Any) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value < 1e6 else f"{value / 1e6:g}M")


def draw_sweep(sweep: Sequence[PretrainRun], path: Path) -> None:
    """Figure 2: masked-LM accuracy of the generator and AUC of the discriminator over updates, a line a run."""
    sizes = sorted({run.config.generator_size for run in sweep})
    with _figure(path, 11, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        for run in sweep:
            size = run.config.generator_size
            is_first = run is next(other for other in sweep if other.config.generator_size == size)
            label = {"label": f"generator {100 * size:g} %"} if is_first else {}
            style = STYLES[sizes.index(size) % len(STYLES)]
            _line(left, run, "masked_lm_accuracy", **style)
            _line(right, run, "disc_auc", **style, **label)
            if run.collapse_step is not None:
                auc = next(r["disc_auc"] for r in run.evaluations if r["step"] == run.collapse_step)
                right.plot([run.collapse_step], [auc], "X", color="black", markersize=10, zorder=5)
        right.plot([], [], "X", color="black", markersize=10, linestyle="", label="declared collapsed")
        for axes, title in ((left, PANELS["masked_lm_accuracy"]), (right, PANELS["disc_auc"])):
            axes.set(xlabel="updates", ylabel=title)
            _thousands(axes)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)


def draw_curves(runs: Sequence[PretrainRun], path: Path) -> None:
    """Figure 3: the eight panels, ours over the official curve, updates on a logarithmic axis."""
    curve = official_curve()
    with _figure(path, 15, 7.5) as figure:
        for axes, (name, title) in zip(figure.subplots(2, 4).flat, PANELS.items(), strict=True):
            for run, style in zip(runs, STYLES * len(runs), strict=False):
                _line(axes, run, name, label=f"ours: {run.name}", **style)
            axes.plot(
                curve["step"],
                curve[name],
                "*",
                color="black",
                markersize=9,
                zorder=5,
                label="official, read off its figure",
            )
            axes.set(xlabel="updates (logarithmic)", ylabel=title, xscale="log")
            _thousands(axes)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def draw_architecture(config: PretrainConfig, shape: EncoderConfig, path: Path) -> None:
    """Figure 1: the two networks over what they share, with widths and parameters, data flowing upwards."""
    blocks = parameter_blocks(shape, config.generator_size)
    shared = {block: n for block, n in blocks.items() if not block.startswith(("generator", "discriminator"))}
    with _figure(path, 10, 6.6) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 9.7))
        axes.axis("off")
        text = "shared: " + ", ".join(f"{block} {count:,}" for block, count in shared.items()).replace(
            ", token-type", ",\ntoken-type"
        )
        _box(axes, 0.2, 0.9, 9.6, f"{text}\nall of width {shape.embedding_size}", "#e8e8e8")
        axes.text(
            5, 0.3, "tokens in: the generator sees [MASK], the discriminator the generator's samples", ha="center"
        )
        _draw_network(axes, "generator", 0.2, shape.generator(config.generator_size), blocks)
        _draw_network(axes, "discriminator", 5.4, shape, blocks)
        total = f"{sum(blocks.values()):,} parameters, what is shared counted once"
        axes.text(5, 9.3, total, ha="center", weight="bold")
        arrow = {"arrowstyle": "->", "linestyle": "--"}
        axes.annotate("sampled\ntokens", (5, 2.35), (5, 8), ha="center", va="center", arrowprops=arrow)


def _draw_network(axes: Any, network: str, x: float, shape: EncoderConfig, blocks: Mapping[str, int]) -> None:
    heads = {
        "generator": f"to {shape.embedding_size}, GELU, LayerNorm, word\ntable transposed: {shape.vocab_size:,} logits",
        "discriminator": f"to {shape.hidden_size}, GELU, to 1:\nreplaced or original, every token",
    }
    words = {
        "projection": f"{shape.embedding_size} to {shape.hidden_size}",
        "layers": f"{shape.num_layers} x (self-attention, heads: {shape.num_heads};\n"
        f"feed-forward {shape.hidden_size} to {shape.intermediate_size} to {shape.hidden_size})",
        "head": heads[network],
    }
    top = 2.9
    for part, text in words.items():
        if f"{network} {part}" in blocks:
            title = f"{network} {part}: {blocks[f'{network} {part}']:,}"
            _box(axes, x, top, 4.4, f"{title}\n{text}", "#ffffff")
            axes.annotate("", (x + 2.2, top), (x + 2.2, top - 0.6), arrowprops={"arrowstyle": "->"})
            top += 2.2


def _box(axes: Any, x: float, y: float, width: float, text: str, color: str) -> None:
    patches = importlib.import_module("matplotlib.patches")
    axes.add_patch(patches.Rectangle((x, y), width, 1.4, facecolor=color, edgecolor="black"))
    axes.text(x + width / 2, y + 0.7, text, ha="center", va="center")


def draw(figures: Mapping[str, Callable[[Path], None]], out: Path) -> dict[str, str]:
    """Draw each named figure into a folder; the Markdown that shows it, or the one line on how to get figures."""
    if not has_matplotlib():
        return dict.fromkeys(figures, "No figure: matplotlib is not installed; pip install -e '.[plots]'")
    for name, function in figures.items():
        function(out / name)
    return {name: f"![{name}]({name}.png) ([SVG]({name}.svg))" for name in figures}
