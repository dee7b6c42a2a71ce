"""Runs that differ in a setting are not seeds of one another."""

from itertools import pairwise

import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from bench.analysis import report
from bench.analysis.runs import read_runs
from bench.analysis.style import break_names, legend_size, new_figure
from bench.analysis.variants import tell_apart
from tests.analysis.test_report import make_run


def configured(root, seed=0, algo="alpha", task="maze-v1", experiment="exp", **settings):
    """Write a run's records, with settings in its config.yaml."""
    place = make_run(root, algo, seed, task=task, experiment=experiment)
    config = {"seed": seed, "results": str(root), "names": {"algo": algo, "task": task}}
    for key, value in settings.items():
        part, _, name = key.rpartition("__")
        (config.setdefault(part, {}) if part else config)[name] = value
    (place / "config.yaml").write_text(yaml.safe_dump(config))


def names(root):
    runs, notes = tell_apart(read_runs(root))
    return {(r.facts["task"], r.facts["algo"], r.facts["seed"]) for r in runs}, notes


def test_seeds_of_equal_settings_are_pooled(tmp_path):
    for seed in (0, 1):
        configured(tmp_path, seed, algo__n_step=3, threads=seed + 1)  # threads do not matter
    assert names(tmp_path) == ({("maze-v1", "alpha", 0), ("maze-v1", "alpha", 1)}, [])


def test_experiments_of_equal_settings_are_pooled_where_they_share_no_seed(tmp_path):
    for experiment, seeds in (("first", (0, 1)), ("second", (2, 3))):
        for seed in seeds:
            configured(tmp_path, seed, experiment=experiment, algo__n_step=3)
        configured(tmp_path, 0, "beta", experiment=experiment, algo__n_step=3)
    runs, notes = tell_apart(read_runs(tmp_path))
    assert sorted((run.facts["algo"], run.facts["seed"]) for run in runs) == [
        *(("alpha", seed) for seed in range(4)), ("beta (first)", 0), ("beta (second)", 0),
    ]  # fmt: skip
    assert notes == [
        "pooled: runs of alpha in the experiments first, second have equal settings and no seed in "
        "common"
    ]
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert notes[0] in page
    table = pd.read_csv(tmp_path / "out" / "table.csv").set_index("algorithm")
    assert set(table.loc["alpha", "seeds"]) == {4}
    assert set(table.loc["beta (first)", "seeds"]) == {1}


def test_experiments_whose_settings_are_unknown_stay_apart(tmp_path):
    for seed, experiment in enumerate(("first", "second")):
        make_run(tmp_path, "alpha", seed, task="maze-v1", experiment=experiment)
    runs, notes = tell_apart(read_runs(tmp_path))
    assert [run.facts["algo"] for run in runs] == ["alpha (first)", "alpha (second)"]
    assert notes == []


def test_a_setting_that_differs_names_variants(tmp_path):
    for seed in (0, 1, 2, 3):
        configured(tmp_path, seed, algo__n_step=3 if seed < 2 else 10, algo__batch=64)
    configured(tmp_path, 0, "beta", algo__n_step=5)
    found, notes = names(tmp_path)
    assert found == {
        ("maze-v1", "alpha · n_step=3", 0), ("maze-v1", "alpha · n_step=3", 1),
        ("maze-v1", "alpha · n_step=10", 2), ("maze-v1", "alpha · n_step=10", 3),
        ("maze-v1", "beta", 0),
    }  # fmt: skip
    assert notes == ["not pooled: runs of alpha differ in n_step: they are 2 variants"]
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert notes[0] in page
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert set(table["algorithm"]) == {"alpha · n_step=3", "alpha · n_step=10", "beta"}
    assert set(table[table["algorithm"] != "beta"]["seeds"]) == {2}


def test_the_variant_of_most_tasks_has_the_plain_name(tmp_path):
    for task in ("maze-v1", "maze-v2"):
        configured(tmp_path, 0, task=task, algo__labels="clusters", algo__hidden=[8, 8])
    configured(tmp_path, 1, algo__labels="task", algo__hidden=[8, 8])
    configured(tmp_path, 2, algo__labels="task", algo__hidden=[8, 4])
    found, notes = names(tmp_path)
    assert found == {
        ("maze-v1", "alpha", 0), ("maze-v2", "alpha", 0), ("maze-v1", "alpha · labels=task", 1),
        ("maze-v1", "alpha · hidden=[8, 4], labels=task", 2),
    }  # fmt: skip
    assert notes == [
        "not pooled: runs of alpha differ in hidden, labels: they are 3 variants, of which alpha "
        "by itself is hidden=[8, 8], labels=clusters"
    ]


def test_a_record_that_lacks_what_tells_variants_apart_is_pooled_with_none(tmp_path):
    for task in ("maze-v1", "maze-v2"):
        configured(tmp_path, 0, task=task, algo__labels="clusters")
    configured(tmp_path, 1, algo__labels="task")
    configured(tmp_path, 2)  # of a build that had no such setting
    found, _ = names(tmp_path)
    assert {name for _, name, seed in found if seed == 2} == {"alpha"}
    assert {name for _, name, seed in found if seed == 0} == {"alpha · labels=clusters"}


def test_values_that_read_alike_are_no_error(tmp_path):
    configured(tmp_path, 0, algo__steps=1)
    configured(tmp_path, 1, algo__steps="1")
    assert len(names(tmp_path)[0]) == 2


def test_runs_that_learned_beside_the_physics_are_a_variant(tmp_path):
    for seed in (0, 1):
        configured(tmp_path, seed, algo__n_step=3, overlap=bool(seed))
    configured(tmp_path, 2, algo__n_step=3)  # of a build that had no such setting
    assert {name for _, name, _ in names(tmp_path)[0]} == {
        "alpha · overlap=False", "alpha · overlap=True", "alpha",
    }  # fmt: skip


def test_variants_have_the_same_names_on_all_tasks_and_presets_differ_by_task(tmp_path):
    configured(tmp_path, 0, algo__n_step=3, algo__batch=64)
    configured(tmp_path, 1, algo__n_step=10, algo__batch=64)
    configured(tmp_path, 0, task="other", algo__n_step=3, algo__batch=128)
    found, _ = names(tmp_path)
    assert found == {("maze-v1", "alpha", 0), ("maze-v1", "alpha · n_step=10", 1),
                     ("other", "alpha", 0)}  # fmt: skip


def test_tasks_of_different_layouts_are_different_tasks(tmp_path):
    configured(tmp_path, 0, task__layout=["#R.G#"])
    configured(tmp_path, 1, task__layout=["#G.R#"])
    found, notes = names(tmp_path)
    assert {task for task, _, _ in found} == {
        "maze-v1 · layout=['#R.G#']", "maze-v1 · layout=['#G.R#']"
    }  # fmt: skip
    assert {algo for _, algo, _ in found} == {"alpha"} and "maze-v1 differ in layout" in notes[0]


def test_many_differing_settings_are_numbered_and_still_not_pooled(tmp_path):
    for seed in (0, 1, 2):
        value = 1 if seed < 2 else 2
        configured(tmp_path, seed, **{f"algo__{key}": value for key in "abcd"})
    found, notes = names(tmp_path)
    assert {(algo, seed) for _, algo, seed in found} == {
        ("alpha · settings 1", 0), ("alpha · settings 1", 1), ("alpha · settings 2", 2)
    }  # fmt: skip
    assert "a, b, c and 1 more settings" in notes[0]
    large = tmp_path / "large/maze-v1/alpha"
    large.mkdir(parents=True)
    (tmp_path / "exp/maze-v1/alpha/seed=2").rename(large / "seed=2")
    assert {algo for _, algo, _ in names(tmp_path)[0]} == {"alpha · exp", "alpha · large"}


def test_a_setting_that_older_records_lack_makes_no_difference(tmp_path):
    configured(tmp_path, 0, algo__n_step=3)
    configured(tmp_path, 1, algo__n_step=3, algo__new=True)
    make_run(tmp_path, "alpha", 2)  # has no config.yaml
    assert {algo for _, algo, _ in names(tmp_path)[0]} == {"alpha"}


def test_a_record_of_unknown_settings_may_be_of_a_seed_that_another_experiment_has(tmp_path):
    configured(tmp_path, 0, experiment="first", algo__n_step=3)
    make_run(tmp_path, "alpha", 0, experiment="second")  # has no config.yaml
    found, notes = names(tmp_path)
    assert {algo for _, algo, _ in found} == {"alpha (first)", "alpha (second)"}
    assert notes == []


@pytest.mark.parametrize(("columns", "width"), [(1, 3.9), (4, 8.8)])
def test_long_names_stay_in_their_panels_and_within_the_figure(columns, width):
    names = [f"alpha (block-{k}) · modes.discover=True, modes.labels=clusters" for k in range(4)]
    across, below = legend_size(names, 2, width, 6)
    drawn = new_figure(width, 2.2 + below)
    panels = drawn.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.set_title(f"{names[0]}, seed 100")
    handles = [Line2D([], [], label=name) for name in [*names, "sampled", "commanded"]]
    drawn.legend(handles=handles, loc="outside lower center", ncols=across)
    break_names(drawn)
    FigureCanvasAgg(drawn).draw()
    legend = drawn.legends[0]
    assert [text.get_text().replace("\n", " ") for text in legend.get_texts()][:4] == names
    titles = [axes.title.get_window_extent() for axes in panels]
    for box in (legend.get_window_extent(), *titles):
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.width
    assert all(one.x1 < other.x0 for one, other in pairwise(titles))
    assert all(axes.get_window_extent().height > 50 for axes in panels), "room is left for the data"
