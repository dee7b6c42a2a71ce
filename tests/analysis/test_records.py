"""Which records are read, pooled, compared and refused; the colours they are drawn in."""

import html
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from test_report import chart, make_run

from bench.__main__ import main
from bench.algos import discover
from bench.analysis import (
    catalogue,
    comparison,
    mazes,
    metrics,
    report,
    style,
    survival,
    tables,
)
from bench.analysis.load import final_scores, load_results, refusals
from bench.analysis.runs import read_runs
from bench.analysis.variants import tell_apart
from bench.errors import UsageError
from bench.records import Record
from bench.storage import CHECKSUMS, Checksums


def edit(place, **facts):
    known = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps(known | facts))


def test_all_evaluations_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(6), 30)
    mode, commanded = rng.integers(-1, 5, 180), np.tile(np.arange(-1, 5), 30)
    commanded[group < 3] = -1
    returns, lengths = rng.random(180), rng.integers(1, 99, 180)
    detours = rng.random(180)

    def scores(own, group):
        return metrics.evaluations(metrics.Evaluations(
            group, mode[own], mode[own] >= 0, returns[own], lengths[own], commanded[own], 4,
            detours[own],
        ))  # fmt: skip

    together = scores(np.ones(180, bool), group)
    for one in range(6):
        own = group == one
        alone = scores(own, np.zeros(own.sum(), int))
        assert list(alone) == list(together)
        np.testing.assert_allclose(
            [v[0] for v in alone.values()], [v[one] for v in together.values()]
        )


def test_headings_are_a_metric_of_the_evaluations_that_they_were_recorded_in(tmp_path):
    place = make_run(tmp_path)
    episodes = pd.read_parquet(place / "episodes.parquet")  # no mode to command before the end
    late = (episodes["protocol"] == "sampled") | (episodes["env_steps"] == 400)
    episodes[late].to_parquet(place / "episodes.parquet")
    make_run(tmp_path, "older")  # an earlier build's: it has none
    counts = np.array([[[256, 0, -1]], [[128, 128, -1]]])
    np.savez(place / "headings.npz", env_steps=[200, 300], counts=counts)
    frame = load_results(tmp_path).set_index(["algo", "protocol", "env_steps"])
    frame = frame["branch_entropy"].sort_index()
    assert frame["alpha", "sampled"].fillna(-1).round(6).tolist() == [-1, 0, 1, -1]
    assert frame["alpha", "commanded"].isna().all() and frame["older"].isna().all()
    assert "branch entropy" in tables.result_table(load_results(tmp_path))
    (place / "headings.npz").unlink()
    assert "branch entropy" not in tables.result_table(load_results(tmp_path))


def test_results_of_a_folder_that_is_not_there_are_an_error(tmp_path):
    assert load_results(tmp_path).empty
    with pytest.raises(UsageError, match=f"results={tmp_path}/none: no such folder"):
        load_results(tmp_path / "none")


def test_nothing_of_a_damaged_run_is_fatal_and_all_is_named(tmp_path):
    make_run(tmp_path)
    damage = {
        "empty": ("run.json", b""), "list": ("run.json", b"[1]"), "text": ("run.json", b"\xff\xfe"),
        "half": ("episodes.parquet", b"PAR1"), "none": ("episodes.parquet", b""),
        "ways": ("headings.npz", b"not an archive"),
    }  # fmt: skip
    for name, (file, content) in damage.items():
        (make_run(tmp_path, name) / file).write_bytes(content)
    pd.DataFrame({"a": [1]}).to_parquet(make_run(tmp_path, "foreign") / "episodes.parquet")
    edit(make_run(tmp_path, "odd"), task_info=[1])
    for name in ("values.npz", "clusters.npz", "exploration.npz", "paths.npz"):
        (make_run(tmp_path, f"bad-{name}") / name).write_bytes(b"not an archive")
    old = make_run(tmp_path, "old")
    edit(old, seconds=None, versions=None)
    page = report.write(tmp_path, tmp_path / "out").read_text()
    for name in (*damage, "foreign", "odd"):
        assert f"skipped {tmp_path}/exp/maze-v1/{name}" in page
    for name in ("values.npz", "clusters.npz", "exploration.npz", "paths.npz"):
        assert f"bad-{name}/seed=0/{name}" in page
    assert (tmp_path / "out" / "maze-v1-paths.png").exists()
    assert "alpha" in (tmp_path / "out" / "table.csv").read_text()


def vouched(place):
    """List the checksums of a run's files, as a run does."""
    sums = Checksums(place)
    names = {path.name for path in place.iterdir() if path.name[0] != "."} - {CHECKSUMS}
    sums.save({name: [sums.identity(name)] for name in names})
    return place


def flip(path):
    """Turn over one bit in a file's middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_record_that_is_not_what_was_written_is_named_and_left_out(tmp_path, capsys):
    places = {name: vouched(make_run(tmp_path, name))
              for name in ("sound", "flipped", "lost", "unnamed", "thinned", "live")}  # fmt: skip
    flip(places["flipped"] / "episodes.parquet")
    (places["lost"] / "paths.npz").unlink()
    (places["unnamed"] / "run.json").unlink()
    (places["thinned"] / "checkpoint.pt").write_bytes(b"")
    vouched(places["thinned"])
    (places["thinned"] / "checkpoint.pt").unlink()  # as compacting does
    flip(make_run(tmp_path, "older") / "paths.npz")  # nothing vouches for it
    with Record(places["live"]).lock():
        flip(places["live"] / "paths.npz")  # just replaced, its checksum not yet read
        with pytest.warns(UserWarning, match="skipped") as warned:
            frame = load_results(tmp_path)
        assert set(frame["algo"]) == {"sound", "thinned", "live", "older"}
        lines = sorted(str(one.message) for one in warned)
        assert len(lines) == 3 and not any("\n" in line for line in lines)
        for line, (name, file) in zip(
            lines,
            [
                ("flipped", "episodes.parquet is damaged"),
                ("lost", "paths.npz is missing"),
                ("unnamed", "run.json is missing"),
            ],
            strict=True,
        ):
            assert f"/{name}/" in line and file in line
        assert main(["report", f"results={tmp_path}", f"out={tmp_path / 'out'}"]) == 0
    error = capsys.readouterr().err
    page = (tmp_path / "out" / "index.html").read_text()
    for line in lines:
        assert error.count(line) == 1 and html.escape(line) in page
    assert "flipped" not in set(pd.read_csv(tmp_path / "out" / "table.csv")["algorithm"])


def test_a_folder_of_damaged_runs_says_so(tmp_path):
    (make_run(tmp_path) / "run.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no runs below .*skipped"):
        report.write(tmp_path, tmp_path / "out")


def test_a_running_run_has_a_curve_but_no_score(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "alpha", seed)
    place = make_run(tmp_path, "beta", status="running")
    table = pd.read_parquet(place / "episodes.parquet")
    table[table["env_steps"] < 300].to_parquet(place / "episodes.parquet")
    (place / "progress.jsonl").write_text('{"env_steps": 100}\n{"env_steps": 250}\n')
    edit(place, env_steps=200)
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert "running at 250 of 400 env steps" in page
    assert set(pd.read_csv(tmp_path / "out" / "table.csv")["algorithm"]) == {"alpha"}
    data = chart(page)
    steps = {line["algo"]: line["env_steps"] for line in data["lines"]}
    assert steps == {"alpha": [100, 200, 300, 400], "beta": [100, 200]}
    assert {point["algo"] for point in data["points"]} == {"alpha"}


def test_runs_that_ended_elsewhere_or_mix_presets_are_refused(tmp_path):
    make_run(tmp_path, "alpha")
    place = make_run(tmp_path, "beta")
    table = pd.read_parquet(place / "episodes.parquet")
    table[table["env_steps"] < 300].to_parquet(place / "episodes.parquet")
    assert refusals(load_results(tmp_path)) == [
        "maze-v1: last evaluations differ in env_steps: 200 to 400"
    ]
    edit(make_run(tmp_path, "alpha", 1), preset="paper")
    assert "maze-v1: seeds of alpha differ in preset: paper, suite" in refusals(
        load_results(tmp_path)
    )


def test_of_random_play_the_length_is_of_no_consequence(tmp_path):
    make_run(tmp_path, "alpha")
    place = make_run(tmp_path, "luck")
    edit(place, budget="smoke", algo_info={"data": "none"})
    table = pd.read_parquet(place / "episodes.parquet")
    table[table["env_steps"] < 300].to_parquet(place / "episodes.parquet")
    frame = load_results(tmp_path)
    assert frame["floor"].any() and refusals(frame) == []
    edit(place, algo_info={"data": "off-policy"})
    assert len(refusals(load_results(tmp_path))) == 2


def test_what_random_play_alone_has_done_is_not_in_the_first_table(tmp_path):
    for task in ("maze-v1", "other"):
        edit(make_run(tmp_path, "luck", task=task), algo_info={"data": "none"})
    assert [row["task"] for row in tables.matrix(load_results(tmp_path))[1]] == ["maze-v1", "other"]
    make_run(tmp_path, "alpha")
    columns, rows = tables.matrix(load_results(tmp_path))
    assert list(columns) == ["alpha", "luck"] and [row["task"] for row in rows] == ["maze-v1"]


def test_the_first_table_begins_with_the_tasks_that_most_have_done(tmp_path):
    for algo, task in (("alpha", "maze-v1"), ("alpha", "other"), ("beta", "other")):
        make_run(tmp_path, algo, task=task)
    rows = tables.matrix(load_results(tmp_path))[1]
    assert [row["task"] for row in rows] == ["other", "maze-v1"]


def test_budgets_are_not_averaged(tmp_path):
    make_run(tmp_path, "alpha")
    make_run(tmp_path, "alpha", task="other", budget="hour")
    frame = load_results(tmp_path)
    with pytest.raises(ValueError, match="2 budgets"):
        comparison.matrices(frame, "success")
    names = [scope.name for scope in comparison.scopes(frame)]
    assert names == ["maze, budget hour", "maze, budget quick"]
    assert comparison.not_averaged(frame) == [
        "not averaged over budgets (hour: other; quick: maze-v1)"
    ]


def test_families_are_averaged_on_their_own_and_together(tmp_path):
    for task, family, shares in (("a", "one", (0.5, 0.5)), ("b", "two", (1.0, 0.0))):
        edit(make_run(tmp_path, "alpha", task=task, shares=shares), family=family)
    scopes = comparison.scopes(load_results(tmp_path))
    assert [scope.name for scope in scopes] == ["all tasks", "one", "two"]
    table = comparison.aggregate_table(scopes).set_index("tasks")
    assert table.loc["two", "mean"] == "0.50 (1 seed)"  # one of two modes, always
    assert float(table.loc["one", "mean"].split()[0]) > 0.9
    together = np.mean([float(table.loc[name, "mean"].split()[0]) for name in ("one", "two")])
    assert float(table.loc["all tasks", "mean"].split()[0]) == pytest.approx(together, abs=0.01)


def test_all_tasks_are_no_scope_where_algorithms_share_one_family(tmp_path):
    edit(make_run(tmp_path, "alpha", task="a"), family="one")
    edit(make_run(tmp_path, "alpha", task="b"), family="two")
    edit(make_run(tmp_path, "beta", task="a"), family="one")
    frame = load_results(tmp_path)
    assert [scope.name for scope in comparison.scopes(frame)] == ["one", "two"]
    assert comparison.not_averaged(frame) == [
        "not averaged over families: no tasks of two that all have done"
    ]
    edit(make_run(tmp_path, "beta", task="b"), family="two")
    frame = load_results(tmp_path)
    assert [scope.name for scope in comparison.scopes(frame)] == ["all tasks", "one", "two"]
    assert comparison.not_averaged(frame) == []


def test_both_protocols_are_averaged_over_the_same_tasks(tmp_path):
    make_run(tmp_path, "alpha", task="a")
    make_run(tmp_path, "alpha", task="b")
    make_run(tmp_path, "beta", task="a")
    table = comparison.points(load_results(tmp_path))
    assert set(table["tasks"]) == {1} and len(table) == 4


def apart(results):
    """Return runs under the names that they are compared by."""
    return tell_apart(read_runs(results))[0]


def test_experiments_are_not_pooled(tmp_path):
    make_run(tmp_path / "x")
    make_run(tmp_path / "y")
    (tmp_path / "y" / "exp").rename(tmp_path / "y" / "other")  # what a folder is called, counts
    named = {run.facts["algo"] for run in apart(tmp_path)}
    assert named == {"alpha (exp)", "alpha (other)"}
    page = report.write(tmp_path, tmp_path / "out", experiments=["other"]).read_text()
    assert "experiment=other" in page and str(tmp_path / "x") not in page
    with pytest.raises(ValueError, match="no runs"):
        report.write(tmp_path, tmp_path / "out", experiments=["third"])


def test_presets_are_told_apart_by_name_wherever_they_are_compared(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "x", seed=seed)
        edit(make_run(tmp_path / "y", seed=seed), preset="paper")
        make_run(tmp_path / "x", "beta", seed)
        make_run(tmp_path / "x", seed=seed, task="other")  # under one preset, but the same name
    (tmp_path / "y" / "exp").rename(tmp_path / "y" / "released")
    names = {"alpha (suite)", "alpha (paper)", "beta"}
    runs = apart(tmp_path)
    assert {run.facts["algo"] for run in runs} == names
    other = {run.facts["algo"] for run in runs if run.facts["task"] == "other"}
    assert other == {"alpha (suite)"}
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert "not compared" not in page, "two presets are two algorithms"
    assert set(pd.read_csv(tmp_path / "out" / "table.csv")["algorithm"]) == names
    assert set(pd.read_csv(tmp_path / "out" / "survival.csv")["algorithm"]) == names
    data = chart(page)
    assert set(data["colors"]) == names == {line["algo"] for line in data["lines"]}
    terminal = report.summary(load_results(tmp_path))
    assert set(terminal.columns[1].cells) == names and not terminal.caption
    make_run(tmp_path / "z")
    (tmp_path / "z" / "exp").rename(tmp_path / "z" / "again")
    found = {run.facts["algo"] for run in apart(tmp_path)}
    assert found == {"alpha (suite, exp)", "alpha (suite, again)", "alpha (paper, released)",
                     "beta"}  # fmt: skip
    only = report.write(tmp_path, tmp_path / "out", experiments=["released"]).read_text()
    assert "alpha (paper)" not in only, "nothing is beside it"


def test_a_record_that_names_no_preset_is_none_of_several(tmp_path):
    make_run(tmp_path)
    edit(make_run(tmp_path, seed=1), preset=None)
    assert {run.facts["algo"] for run in apart(tmp_path)} == {"alpha"}
    assert set(report.summary(load_results(tmp_path)).columns[1].cells) == {"alpha"}
    edit(make_run(tmp_path, seed=2), preset="paper")
    named = {run.facts["seed"]: run.facts["algo"] for run in apart(tmp_path)}
    assert named == {0: "alpha (suite)", 1: "alpha", 2: "alpha (paper)"}


def test_survival_by_hand(tmp_path):
    place = make_run(tmp_path, shares=(1.0, 0.0))
    table = pd.read_parquet(place / "episodes.parquet")
    some = table.index[(table["env_steps"] == 200) & (table["protocol"] == "sampled")]
    table.loc[some[:5], "mode"] = 1  # found at 200, missed at 300 and 400: lost at 300
    table.to_parquet(place / "episodes.parquet")
    lives = survival.survival_table(read_runs(tmp_path)).set_index("mode")
    assert lives.loc["A1", ["first found", "lost"]].tolist() == ["100", ""]
    assert lives.loc["A2", ["first found", "lost"]].tolist() == ["200", "300"]


def test_tables_escape_what_their_formats_read():
    table = pd.DataFrame({"task_a": ["50 % | x & y_1 > {b}"]})
    assert r"50 \% | x \& y\_1 $>$ \{b\}" in tables.latex(table)
    assert r"\toprule" in tables.latex(table) and r"task\_a" in tables.latex(table)
    assert r"50 % \| x & y_1" in tables.markdown(table)
    several = pd.DataFrame({"a": ["one\n\ntwo", "<b>[x](y)`*`\\"]})
    rows = tables.markdown(several).splitlines()
    assert rows == ["| a |", "| --- |", "| one two |", r"| &lt;b>[x]\(y)\`\*\`\\ |"]
    assert "one two" in tables.latex(several), "an empty line ends a table in LaTeX"


def test_no_cell_of_a_csv_is_a_formula():
    cells = ["=1+1", "+cmd|x", "@SUM(A1)", "-2+3", "\t=1", "-0.25", "+0.10", "–", "plain"]
    text = tables.csv(pd.DataFrame({"=a": cells, "n": range(len(cells))}))
    read = pd.read_csv(io.StringIO(text), dtype=str)
    assert read["'=a"].tolist() == [f"'{cell}" for cell in cells[:5]] + cells[5:]
    assert read["n"].tolist() == [str(n) for n in range(len(cells))]


def test_random_play_is_the_last_row_of_every_table(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "beta", seed)
        make_run(tmp_path, "gamma", seed, shares=(1.0, 0.0))
        make_run(tmp_path, "beta", seed, task="other")
        make_run(tmp_path, "gamma", seed, task="other")
        luck = make_run(tmp_path, "aleatory", seed)
        edit(luck, algo_info={"data": "none"})
        episodes = pd.read_parquet(luck / "episodes.parquet")
        episodes["success"], episodes["mode"] = False, -1
        episodes[episodes["protocol"] == "sampled"].to_parquet(luck / "episodes.parquet")
    frame = load_results(tmp_path)
    rows = tables.result_table(frame)
    assert rows.loc[rows["task"] == "maze-v1", "algorithm"].iloc[-1] == "aleatory"
    columns, matrix = tables.matrix(frame)
    assert list(columns.items())[-1] == ("aleatory", ["sampled"])
    assert [cell["mean"] for cell in matrix[0]["cells"]][-1] == 0
    assert [cell["mean"] for cell in matrix[1]["cells"]][-1] is None
    (scope,) = comparison.scopes(frame)
    tests = comparison.tests_table([scope])
    assert tests[["algorithm", "against"]].to_numpy().tolist() == [["beta", "gamma"]]
    assert tests["number of tasks"].item() == "2", "a task without random play counts"
    (scope,) = comparison.scopes(frame[frame["task"] == "maze-v1"])
    assert list(comparison.matrices(scope.frame, "success")[1]) == ["beta", "gamma", "aleatory"]
    assert len(comparison.tests_table([scope])) == 1, "random play is not tested"


def test_no_other_row_of_a_table_changes_an_interval(tmp_path):
    for seed, share in enumerate((0.97, 0.83, 0.71, 0.52, 0.36, 0.19, 0.04)):
        make_run(tmp_path, "beta", seed, shares=(share, 0.0))
    alone = tables.result_table(load_results(tmp_path)).set_index("algorithm").loc["beta"]
    for seed, share in enumerate((0.8, 0.6, 0.1, 0.7)):
        make_run(tmp_path, "aleph", seed, shares=(share, 0.0))
    beside = tables.result_table(load_results(tmp_path)).set_index("algorithm")
    assert beside.index[0] == "aleph"
    pd.testing.assert_frame_equal(beside.loc["beta"][alone.columns], alone)


def test_comparisons_of_one_algorithm_are_corrected_for_alone(tmp_path):
    for seed in range(3):
        for algo, shares in (("beta", (1.0, 0.0)), ("gamma", (0.5, 0.5)), ("delta", (1.0, 0.0))):
            make_run(tmp_path, algo, seed, shares=shares)
    (scope,) = comparison.scopes(load_results(tmp_path))
    every = comparison.tests_table([scope])
    own = comparison.tests_table([scope], of="gamma")
    assert len(every) == 3 and own["algorithm"].tolist() == ["gamma"] * 2
    assert own["against"].tolist() == ["beta", "delta"]
    assert own["difference in solved modes"].str.startswith("+").all()
    assert own["p"].tolist() == ["0.1"] * 2 and own["p, Holm"].tolist() == ["0.2"] * 2
    assert every["p, Holm"].astype(float).min() == pytest.approx(0.3)
    assert comparison.tests_table([scope], of="epsilon").empty


def test_paths_that_a_record_dropped_are_not_drawn(tmp_path):
    kept, dropped = make_run(tmp_path), make_run(tmp_path, "beta")
    for place, keep in ((kept, slice(-5, None)), (dropped, slice(0, 0))):
        with np.load(place / "paths.npz") as stored:
            paths = np.split(stored["points"], stored["offsets"][1:-1])
            some = [path[:0] for path in paths]
            some[keep] = paths[keep]
            offsets = np.cumsum([0, *map(len, some)])
            np.savez(place / "paths.npz", points=np.concatenate(some), offsets=offsets,
                     scale=stored["scale"])  # fmt: skip
    runs = {run.facts["algo"]: run for run in read_runs(tmp_path)}
    assert runs["alpha"].has_paths("commanded") and not runs["alpha"].has_paths("sampled")
    assert not runs["beta"].has_paths("commanded")
    figure = mazes.path_map(list(runs.values()), load_results(tmp_path))
    assert figure is not None and not figure.problems
    assert [axes.get_title() for axes in figure.axes] == ["alpha, commanded\nseed 0"]
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    assert sum(len(path.vertices) > 0 for c in lines for path in c.get_paths()) == 5


def test_paths_are_of_one_seed_sampled_and_commanded(tmp_path):
    for seed, even in enumerate((1.0, 0.5, 0.8)):
        make_run(tmp_path, seed=seed, shares=(even, 1 - even))  # on command all are alike
    figure = mazes.path_map(read_runs(tmp_path), load_results(tmp_path))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["alpha, sampled\nseed 2", "alpha, commanded\nseed 2"], "the median, sampled"
    (tmp_path / "exp/maze-v1/alpha/seed=2/paths.npz").unlink()
    figure = mazes.path_map(read_runs(tmp_path), load_results(tmp_path))
    assert len({axes.get_title().partition("\n")[2] for axes in figure.axes}) == 1


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two figures are named headline"):
        catalogue.figure("task", "headline", "Again", "", place=1)
    with pytest.raises(ValueError, match="is of 'page'"):
        catalogue.figure("page", "new", "New", "", place=1)


def test_an_algorithm_has_one_colour_whichever_others_are_drawn():
    alone = style.algo_colors(["beta"])["beta"]
    with style.palette(["alpha", "beta", "gamma"]):
        assert style.algo_colors(["beta"])["beta"] == style.algo_colors(["alpha", "beta"])["beta"]
        assert style.algo_colors(["beta"])["beta"] != alone
        assert style.algo_markers(["gamma"])["gamma"] != style.algo_markers(["beta"])["beta"]
    assert style.algo_colors(["beta"])["beta"] == alone


SIGHT = {  # Machado et al. 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
}  # fmt: skip
JUST_SEEN = 2.3  # CIE Lab distance


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_differ_to_all_eyes(sight):
    hexes = style.ALGOS
    rgb = np.array([[int(h[i : i + 2], 16) / 255 for i in (1, 3, 5)] for h in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    f = np.cbrt(seen @ to_xyz.T / [0.9505, 1, 1.089])
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert len(set(hexes)) == len(hexes) and apart.min() > 8 * JUST_SEEN


def test_a_variant_takes_no_algorithm_its_colour():
    plain = [f"algo-{i:02d}" for i in range(len(style.ALGOS))]
    with style.palette([*plain, "algo-00 · n_step=3", "algo-01 (classes)"]):
        assert len(set(style.algo_colors(plain).values())) == len(plain)


def test_every_algorithm_has_a_colour_of_its_own_and_no_mode_is_grey():
    ours = [e for e in discover().values() if e.factory.__module__.startswith("bench.algos.")]
    assert 19 < len(ours) <= len(style.ALGOS)
    assert all(max(color) - min(color) > 0.1 for color in style.MODES) and len(style.MODES) >= 16


@pytest.mark.parametrize(
    ("at", "label", "ticks"),
    [([200, 400], "env steps", "0 100 200 300 400"), ([6400], "env steps (thousand)", "0 2 4 6"),
     ([1e6, 2e6], "env steps (million)", "0 0.5 1 1.5 2")],
)  # fmt: skip
def test_env_steps_are_counted_in_a_unit_that_fits(at, label, ticks):
    axes = style.new_figure(3, 2).subplots()
    axes.plot(at, [0.5] * len(at))
    assert style.steps_axis(axes) == label
    low, high = axes.get_xlim()
    texts = axes.xaxis.get_major_formatter().format_ticks(
        [x for x in axes.get_xticks() if low <= x <= high]
    )
    assert " ".join(texts) == ticks
    (line,) = axes.get_lines()
    assert (line.get_marker() == "o") == (len(at) == 1), "one point is a line that nobody sees"


def test_a_copied_run_counts_once(tmp_path):
    own = make_run(tmp_path)
    shutil.copytree(tmp_path / "exp", tmp_path / "backup" / "exp")
    shutil.copytree(own, tmp_path / "a" / "renamed")
    with pytest.warns(UserWarning, match="skipped .*its names and seed are those of") as warned:
        runs = read_runs(tmp_path)
    assert [run.path for run in runs] == [own] and len(warned) == 2


def test_merged_results_of_two_machines_are_not_copies_where_settings_differ(tmp_path):
    for machine, steps in (("a", 3), ("b", 10)):
        place = make_run(tmp_path / machine)
        Record(place).write_config({"algo": {"n_step": steps}})
    runs = read_runs(tmp_path)
    assert [run.facts["experiment"] for run in runs] == ["exp", "b/exp"]
    scores = final_scores(load_results(tmp_path))
    assert len(scores) == 2 * scores["protocol"].nunique(), "none is taken for the other"
    apart, notes = tell_apart(runs)
    assert {run.facts["algo"] for run in apart} == {
        "alpha · n_step=3",
        "alpha · n_step=10",
    } and notes
