"""Figures and tables as files, and as the page shows them."""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from bench.analysis import tables
from bench.analysis.runs import RunRecord
from bench.analysis.style import break_names

DPI = 144
COLORS = 128  # of a picture on the page: what antialiasing needs of a few palettes
SMALL = {"quality": 50, "method": 3}  # of WebP; below, it is larger
UNREADABLE = (OSError, ValueError, LookupError, TypeError)  # what a damaged record leads to


@dataclass
class Picture:
    """A figure as the page shows it.

    Attributes:
        name: of its files beside the page, without suffix.
        title: above it.
        caption: below the title.
        code: its pixels, base64: lossless WebP, less than half the size of its PNG.
        size: width and height in pixels, so that nothing moves when they are unpacked.
        records: run directories that it is made from, those that differ in seed alone in one.
        algo: the only algorithm that it shows, or "".
    """

    name: str
    title: str
    caption: str
    code: str
    size: tuple[int, int]
    records: list[str] = field(default_factory=list)
    algo: str = ""


@dataclass
class Sheet:
    """A table as the page shows it.

    Attributes:
        name: of its files beside the page, without suffix.
        title: above it.
        columns: names.
        rows: cells, with the task and the algorithm that the filters look at.
        links: each format's name and the file as a data URI: the page alone is enough.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[dict[str, Any]]
    links: dict[str, str]


@dataclass
class Job:
    """A figure to be drawn: what it is called and how it is made (see `Picture`)."""

    name: str
    title: str
    caption: str
    make: Callable[[], Figure | None]
    algo: str = ""


def first_drawn(
    make: Callable[[RunRecord], Figure | None], runs: list[RunRecord], notes: list[str]
) -> Figure | None:
    """Return the figure of the first run that has what it needs; note the damaged ones."""
    for run in runs:
        try:
            figure = make(run)
        except UNREADABLE as error:
            notes.append(f"skipped {error}")
            continue
        if figure is not None:
            return figure
    return None


def draw_all(jobs: list[Job], out: Path, records: list[str], notes: list[str]) -> list[Picture]:
    """Draw and save figures; one that cannot be drawn is noted, and the others are."""
    pictures = []
    for job in jobs:
        try:
            picture = draw(job, out, records, notes)
        except UNREADABLE as error:
            notes.append(f"{job.name} is not drawn: {error}")
            continue
        if picture:
            pictures.append(picture)
    return pictures


def draw(job: Job, out: Path, records: list[str], notes: list[str]) -> Picture | None:
    """Save a figure as PNG, SVG and PDF; return it for the page, or None for none."""
    figure = job.make()
    if figure is None:
        return None
    path = out / job.name
    break_names(figure)
    for _ in range(2):  # titles and legends of several lines need the second time
        if engine := figure.get_layout_engine():
            engine.execute(figure)
    figure.set_layout_engine("none")  # once for all formats: it takes longer than drawing
    figure.dpi = DPI
    # savefig would draw each twice; without dates the files are the same each time
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(path.with_name(f"{path.name}.png"))
    code = webp(canvas)
    for print_as, suffix, date in (
        (FigureCanvasSVG(figure).print_svg, "svg", "Date"),
        (FigureCanvasPdf(figure).print_pdf, "pdf", "CreationDate"),
    ):
        figure.dpi = DPI  # of what is rasterised in them; a canvas leaves its own behind
        print_as(path.with_name(f"{path.name}.{suffix}"), metadata={date: None})
    own = [str(place) for place in getattr(figure, "records", [])]
    notes += getattr(figure, "problems", [])
    places = together(list(dict.fromkeys(own)) or records)
    size = canvas.get_width_height()
    return Picture(path.name, job.title, job.caption, code, size, places, job.algo)


def webp(canvas: FigureCanvasAgg) -> str:
    """Return what is drawn as base64 of a lossless WebP, in so few colours that it is half as long.

    The page's alone: files beside it have all colours.
    """
    file = io.BytesIO()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # none is transparent
    few = pixels.quantize(COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    white = few.convert("RGB").point([*range(253), 255, 255, 255] * 3)  # it is 254 in these
    white.save(file, "WEBP", lossless=True, **SMALL)
    return base64.b64encode(file.getvalue()).decode()


def packed(text: str) -> str:
    """Return text as base64 of its gzip, which browsers unpack; the same each time."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def together(records: Sequence[str]) -> list[str]:
    """Return run directories as a shell writes them: those beside each other in one pattern."""
    beside: dict[str, list[str]] = {}
    for record in records:
        folder, mark, seed = record.rpartition("=")
        beside.setdefault(folder + mark or record, []).append(seed if mark else "")
    return [
        place + (seeds[0] if len(seeds) == 1 else f"{{{','.join(seeds)}}}")
        for place, seeds in beside.items()
    ]


def sheet(table: pd.DataFrame, path: Path, title: str) -> Sheet:
    """Save a table as CSV, Markdown and LaTeX; return it for the page."""
    files = {"csv": tables.csv(table), "md": tables.markdown(table),
             "tex": tables.latex(table)}  # fmt: skip
    links = {}
    for suffix, text in files.items():
        path.with_name(f"{path.name}.{suffix}").write_text(text)
        links[suffix] = f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"
    tasks, algos = (table.get(key, [""] * len(table)) for key in ("task", "algorithm"))
    rows = [
        {"cells": list(map(str, row)), "task": task, "algo": algo}
        for row, task, algo in zip(table.to_numpy().tolist(), tasks, algos, strict=True)
    ]
    return Sheet(path.name, title, list(table.columns), rows, links)
