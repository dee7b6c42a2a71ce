"""What an algorithm holds to be true: its Q-functions over a maze, its clusters of successes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, set_link_color_palette

from bench.analysis.catalogue import figure
from bench.analysis.mazes import draw_maze
from bench.analysis.runs import RunRecord, arrays
from bench.analysis.style import INK, new_figure

LINKS = ["C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9"]  # clusters in turn, none of them grey,
ABOVE = "#777"  # as what the cut tells apart
WIDEST = 7  # maps side by side


@figure(
    "run", "values", "Q-functions",
    "What each Q-function expects of acting from a position; all other numbers of the observation "
    "are those of an episode's start.", place=1,
)  # fmt: skip
def value_maps(run: RunRecord) -> Figure | None:
    """Return every Q-function of a run over its maze, from values.npz."""
    path, info = run.path / "values.npz", run.facts["task_info"]
    if not path.exists() or not info.get("layout"):
        return None
    with arrays(path) as stored:
        values, (x0, x1, y0, y1) = stored["values"], stored["extent"]
        names = stored["names"].tolist() if "names" in stored else None
        if values.ndim != 3 or not len(values):
            raise ValueError(f"values of shape {values.shape}, not (Q, rows, columns)")
    if names is None or len(names) != len(values):  # of older records
        names = [f"Q-function {i}" for i in range(len(values))]
    columns = min(len(values), WIDEST)
    rows = -(-len(values) // columns)
    drawn = new_figure(1.85 * columns, 2.1 * rows)
    drawn.records = [run.path]
    grid = np.ravel(drawn.subplots(rows, columns))
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    for axes, name, one in zip(grid, names, values, strict=False):
        image = axes.imshow(one, extent=(x0, x1, y1, y0), cmap="viridis", vmin=0,
                            vmax=max(float(one.max()), 0.1))  # fmt: skip
        draw_maze(axes, info["layout"], info["cell"])
        axes.set_title(name)
        bar = drawn.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
        bar.ax.tick_params(labelsize=6)
    drawn.supxlabel("value, share of the goal's reward", fontsize=7.5)
    return drawn


@figure(
    "run", "clusters", "Clusters",
    "Dendrogram of the distances between successful paths at the end of training. Links below the "
    "dashed cut join paths of one cluster, in its colour; grey links are cut.", place=2,
)  # fmt: skip
def cluster_tree(run: RunRecord) -> Figure | None:
    """Return the dendrogram of a run's successes with its cut, if that is recorded."""
    path = run.path / "clusters.npz"
    if not path.exists():
        return None
    with arrays(path) as stored:
        linkage, labels = stored["linkage"], stored["labels"]
        # older records have the setting, which is the cut where it is above 0
        cut = float(stored["cut"] if "cut" in stored else stored["threshold"])
        if linkage.ndim != 2 or linkage.shape[1] != 4 or len(labels) != len(linkage) + 1:
            raise ValueError(f"a linkage of shape {linkage.shape} for {len(labels)} labels")
    drawn = new_figure(6.0, 2.4)
    drawn.records = [run.path]
    axes, top = drawn.subplots(), float(linkage[-1, 2])
    height = cut if cut > 0 else 2 * top  # an unknown cut tells nothing apart
    set_link_color_palette(LINKS)
    dendrogram(linkage, ax=axes, no_labels=True, color_threshold=height,
               above_threshold_color=ABOVE)  # fmt: skip
    set_link_color_palette(None)
    if cut > 0:
        axes.axhline(cut, color=INK, lw=0.9, ls="--")
        axes.text(0.995, cut, f" cut at {cut:.2g}", ha="right", va="bottom", fontsize=7,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    modes = len(set(labels[labels >= 0].tolist()))
    axes.set(ylabel="distance of paths", yscale="symlog" if top > 20 * cut > 0 else "linear")
    axes.set_ylim(0, 1.15 * max(top, cut))  # the cut is seen where all paths are nearer too
    axes.set_title(f"{run.facts['algo']}, seed {run.facts['seed']}: {len(labels)} successes in "
                   f"{modes} cluster{'s' * (modes != 1)}")  # fmt: skip
    return drawn
