"""From records to a page, on records made here."""

import base64
import gzip
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from bench.analysis import comparison, report, survival, tables
from bench.analysis.load import final_scores, load_results, refusals
from bench.analysis.outputs import together
from bench.analysis.runs import read_runs

LAYOUT = ["#####", "#...#", "#G#R#", "#...#", "#####"]


def make_run(
    root, algo="alpha", seed=0, budget="quick", shares=(0.5, 0.5), status="done", task="maze-v1",
    experiment="exp",
):  # fmt: skip
    """Write one run's records: two modes taken in the given shares, by two protocols."""
    place = root / experiment / task / algo / f"seed={seed}"
    place.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, paths = [], []
    for steps in (100, 200, 300, 400):
        for protocol, commands in (("sampled", [-1]), ("commanded", [0, 1])):
            for command in commands:
                for episode in range(20):
                    mode = command if command >= 0 else int(rng.random() > shares[0])
                    up = -1 if mode else 1
                    paths.append(np.array([[0, 0], [0, 400 * up], [-800, 400 * up], [-800, 0]]))
                    rows.append({
                        "env_steps": steps, "protocol": protocol, "commanded": command,
                        "episode": episode, "seed": 1, "return": 10.0, "length": 3,
                        "success": True, "goal": 0, "mode": mode, "mode_name": f"A{mode + 1}",
                    })  # fmt: skip
    pd.DataFrame(rows).to_parquet(place / "episodes.parquet")
    offsets = np.arange(len(paths) + 1) * 4
    np.savez_compressed(place / "paths.npz", points=np.concatenate(paths).astype(np.int16),
                        offsets=offsets, scale=np.array(0.01))  # fmt: skip
    facts = {
        "status": status, "error": "it broke" if status == "failed" else None, "seed": seed,
        "experiment": experiment, "algo": algo, "task": task, "family": "maze", "budget": budget,
        "preset": "suite", "env_steps": 400, "target_env_steps": 400, "updates": 1,
        "seconds": {"env": 30.0, "learner": 60.0, "eval": 30.0}, "versions": {"mujoco": "4.0.0"},
        "task_info": {"modes": ["A1", "A2"], "layout": LAYOUT, "cell": 4.0, "max_return": 10.0,
                      "horizon": 150, "random_start": False},
    }  # fmt: skip
    (place / "run.json").write_text(json.dumps(facts))
    return place


def chart(page):
    """Return what the page's own charts are drawn from."""
    packed = re.search(r'<script type="text/plain" id="packed-data">(.*?)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_a_picture_on_the_page_is_the_file_beside_it(tmp_path):
    make_run(tmp_path)
    page = report.write(tmp_path, tmp_path / "out").read_text()
    name, code = re.search(
        r'download="([\w.-]+\.png)".*?src="data:image/webp;base64,([^"]+)"', page, re.S
    ).groups()
    files = io.BytesIO(base64.b64decode(code)), tmp_path / "out" / name
    shown, saved = (np.array(Image.open(file).convert("RGB")) for file in files)
    assert shown.size > 10_000 and shown.shape == saved.shape
    apart = np.abs(shown.astype(int) - saved)
    assert apart.mean() < 1 and np.percentile(apart, 99.5) < 32, "in fewer colours"
    assert (shown[(saved == 255).all(-1)] == 255).all(), "white is white"
    codes = re.findall(r"data:image/webp;base64,([^\"]+)", page)
    files = [path.stat().st_size for path in (tmp_path / "out").glob("*.png")]
    assert len(codes) == len(files) and sum(map(len, codes)) * 3 / 4 < 0.6 * sum(files)


def test_records_of_several_seeds_are_one_pattern():
    assert together(["r/a/seed=0", "r/b/seed=3", "r/a/seed=1"]) == ["r/a/seed={0,1}", "r/b/seed=3"]
    assert together(["plain", "else"]) == ["plain", "else"]


NASTY = "<!--<script>\"'&[/red]|`*](x)"  # opens a comment, tags, quotes, markup


def test_what_records_say_is_text_everywhere(tmp_path):
    place = make_run(tmp_path, "alpha", status="failed")
    facts = json.loads((place / "run.json").read_text())
    facts |= {"error": NASTY, "git": NASTY, "digest": NASTY, "budget": NASTY}
    (place / "run.json").write_text(json.dumps(facts))
    named = make_run(tmp_path, "beta")
    facts = json.loads((named / "run.json").read_text())
    facts |= {"algo": NASTY, "task": f"{NASTY}/../../t", "family": NASTY, "experiment": NASTY}
    (named / "run.json").write_text(json.dumps(facts))
    out = tmp_path / "inner" / "out"
    page = report.write(tmp_path, out).read_text()
    assert "<!--" not in page and page.count("<script") == 4 == page.count("</script>")
    assert html.escape(NASTY).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
    assert NASTY in {line["algo"] for line in chart(page)["lines"]}
    assert {path.name for path in tmp_path.iterdir()} == {"exp", "inner"}, "a name is no path"
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["out"]
    console = Console(file=io.StringIO(), width=400)
    console.print(report.summary(load_results(tmp_path)))
    assert "[/red]" in console.file.getvalue()


def test_from_records_to_one_self_contained_page(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "alpha", seed)
        make_run(tmp_path, "beta", seed, shares=(1.0, 0.0))
    make_run(tmp_path, "beta", 9, status="failed")
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert page.count("data:image/webp;base64") >= 3
    assert not re.search(r"(src|href)=['\"](https?:)?//", page), "the page loads something"
    assert not re.search(r"<script[^>]+src", page), "the page loads a script"
    assert "showSendToCloud: false" in page, "a button uploads what it shows"
    assert {line["algo"] for line in chart(page)["lines"]} == {"alpha", "beta"}
    assert "failed" in page and "it broke" in page
    for name in ("headline.pdf", "maze-v1-paths.png", "maze-v1-curves.png", "table.csv",
                 "table.md", "table.tex", "maze-v1-survival.svg", "maze-v1-control.pdf",
                 "profiles.png", "improvement.png", "aggregates.svg", "speed.png"):  # fmt: skip
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_scores_are_means_over_the_last_evaluations(tmp_path):
    make_run(tmp_path, shares=(1.0, 0.0))
    frame = load_results(tmp_path)
    assert len(frame) == 8
    sampled = final_scores(frame).set_index("protocol").loc["sampled"]
    assert sampled["mode_coverage"] == 0.5 and sampled["env_steps"] == 400
    commanded = final_scores(frame).set_index("protocol").loc["commanded"]
    assert commanded["command_coverage"] == 1 and commanded["reachable_modes"] == 2


def test_the_terminal_table_has_the_metrics_that_are_defined(tmp_path):
    place = make_run(tmp_path)
    titles = [column.header for column in report.summary(load_results(tmp_path)).columns]
    assert titles == ["task", "algorithm", "protocol", "success rate", "mode coverage",
                      "effective modes", "command coverage", "seeds"]  # fmt: skip
    episodes = pd.read_parquet(place / "episodes.parquet")
    episodes[episodes["protocol"] == "sampled"].to_parquet(place / "episodes.parquet")
    fewer = [column.header for column in report.summary(load_results(tmp_path)).columns]
    assert fewer == [title for title in titles if title != "command coverage"]


def test_one_seed_is_said_and_no_interval_invented(tmp_path):
    make_run(tmp_path)
    assert "(1 seed)" in tables.result_table(load_results(tmp_path))["success rate"].iloc[0]


def test_the_report_says_what_each_algorithm_ran_with(tmp_path):
    for seed, bonus in ((0, 0.003), (1, 0.0)):
        place = make_run(tmp_path, "alpha", seed)
        settings = f"num_envs: 64\nalgo: {{novelty: {{coef: {bonus}}}, n_step: 10}}\n"
        (place / "config.yaml").write_text(settings)
    make_run(tmp_path, "beta")  # its settings are lost
    report.write(tmp_path, tmp_path / "out")
    ran = pd.read_csv(tmp_path / "out" / "settings.csv", dtype=str).set_index("algorithm")
    for bonus in ("0.003", "0.0"):
        alpha = ran.loc[f"alpha · novelty.coef={bonus}"]
        assert alpha[["novelty bonus", "n-step", "environments"]].tolist() == [bonus, "10", "64"]
        assert alpha["critic"] == ran.loc["beta", "environments"] == "–"


def specify(place, mode=0):
    """Add what the protocol `specified` gave: in every episode the same mode, -1 for none."""
    episodes = pd.read_parquet(place / "episodes.parquet")
    added = episodes[episodes["protocol"] == "sampled"].assign(
        protocol="specified", mode=mode, success=mode >= 0
    )
    with np.load(place / "paths.npz") as stored:
        points, offsets, scale = stored["points"], stored["offsets"], stored["scale"]
    more = offsets[-1] + 2 * np.arange(1, len(added) + 1)
    points = np.concatenate([points, np.zeros((2 * len(added), 2), np.int16)])
    np.savez(place / "paths.npz", points=points, offsets=[*offsets, *more], scale=scale)
    whole = pd.concat([episodes, added], ignore_index=True)
    whole.sort_values("env_steps", kind="stable").to_parquet(place / "episodes.parquet")


def test_what_is_specified_stands_beside_and_changes_nothing_else(tmp_path):
    for folder in ("plain", "specified"):
        for seed in range(3):
            make_run(tmp_path / folder, "alpha", seed)
            specified = make_run(tmp_path / folder, "beta", seed, shares=(0.8, 0.2))
            if folder == "specified":
                specify(specified)
    plain, whole = (load_results(tmp_path / folder) for folder in ("plain", "specified"))
    rest = whole[whole["protocol"] != "specified"].reset_index(drop=True)
    assert len(whole) == len(rest) + 3 * 4
    pd.testing.assert_frame_equal(rest, plain)
    scopes = [comparison.scopes(frame) for frame in (plain, whole)]
    for made in (comparison.aggregate_table, comparison.tests_table, comparison.improvement_table,
                 lambda found: comparison.points(found[0].frame)):  # fmt: skip
        pd.testing.assert_frame_equal(*map(made, scopes))
    assert tables.matrix(plain) == tables.matrix(whole) and refusals(whole) == []
    lives = [survival.survival_table(read_runs(tmp_path / f)) for f in ("plain", "specified")]
    pd.testing.assert_frame_equal(*lives)
    before, after = tables.result_table(plain), tables.result_table(whole)
    added = ["success rate, as specified", "solved modes, as specified"]
    assert list(after.columns.difference(before.columns, sort=False)) == added
    pd.testing.assert_frame_equal(after[before.columns], before)
    cells = after.set_index(["algorithm", "protocol"])[added]
    assert cells.loc[("beta", "sampled")].tolist() == ["1.00 [1.00, 1.00]", "0.50 [0.50, 0.50]"]
    assert cells.loc[("alpha", "sampled")].tolist() == ["–", "–"]
    assert set(cells.xs("commanded", level="protocol").to_numpy().ravel()) == {""}
    page = report.write(tmp_path / "specified", tmp_path / "out").read_text()
    assert "is not drawn" not in page and "solved modes, as specified" in page


def test_a_run_that_found_no_mode_to_command_solved_nothing_on_command(tmp_path):
    make_run(tmp_path)
    place = make_run(tmp_path, seed=1)
    episodes = pd.read_parquet(place / "episodes.parquet")
    late = (episodes["protocol"] == "sampled") | (episodes["env_steps"] == 400)
    episodes[late].to_parquet(place / "episodes.parquet")  # the first command at the very end
    scores = final_scores(load_results(tmp_path)).set_index(["seed", "protocol"])
    assert scores.loc[(0, "commanded"), "command_coverage"] == 1
    assert scores.loc[(1, "commanded"), "command_coverage"] == pytest.approx(1 / 3)
    assert scores.loc[(1, "commanded"), "success"] == pytest.approx(1 / 3)
    episodes[episodes["protocol"] == "sampled"].to_parquet(place / "episodes.parquet")
    frame = load_results(tmp_path)
    figure = comparison.ablation(frame, ["exp"], ["as it is"])
    on_command = figure.axes[0].lines
    assert sorted(on_command[0].get_xdata()) == [0, 1], "a dot per seed"
    assert on_command[-1].get_xdata() == [0.5], "their mean"


def test_different_budgets_are_not_compared(tmp_path):
    make_run(tmp_path, "alpha", 0)
    make_run(tmp_path, "beta", 0, budget="hour")
    assert refusals(load_results(tmp_path)) == ["maze-v1: runs differ in budget: hour, quick"]
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert "not compared: maze-v1" in page and not (tmp_path / "out" / "table.csv").exists()


def test_damaged_and_foreign_files_are_named_and_skipped(tmp_path):
    make_run(tmp_path)
    bad = make_run(tmp_path, "gamma")
    (bad / "episodes.parquet").write_bytes(b"half")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text("[1]")
    with pytest.warns(UserWarning, match="skipped"):
        frame = load_results(tmp_path)
    assert set(frame["algo"]) == {"alpha"}


def test_many_algorithms_are_rows_of_the_first_table_and_not_columns(tmp_path):
    """Twenty columns do not fit on a page."""
    for name in ("one", *"abcdef"):
        make_run(tmp_path, name, shares=(float(name == "one"), 0.0))
    page = report.write(tmp_path, tmp_path / "out").read_text()
    table = re.search(r'<table class="matrix">(.*?)</table>', page, re.S)[1]
    rows = dict(re.findall(r'<tr data-algo="(\w+)"><th>\w+</th>(.*?)</tr>', table, re.S))
    assert sorted(rows) == sorted(["one", *"abcdef"])
    cells = re.findall(r'<td data-task="maze-v1" title="([^"]+)"[^>]*>([\d.]*)</td>', rows["one"])
    assert [value for _, value in cells] == ["0.50", "1.00"]
    assert cells[0][0].startswith("one, sampled") and cells[1][0].startswith("one, commanded")


@pytest.mark.parametrize("listed", [200, 0])
def test_the_page_works_in_a_browser(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(report, "LISTED", listed)  # the table of runs is packed beyond
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here")
    for seed in range(2):
        make_run(tmp_path, "alpha", seed)
        make_run(tmp_path, "beta", seed, shares=(1.0, 0.0))
    page = report.write(tmp_path, tmp_path / "out")
    probe = """<script>
      const drawn = setInterval(() => {
        if (!document.querySelector("#points .scatterlayer .trace")) return;  // unpacked first
        if (!document.querySelector("#runs td")) return;
        clearInterval(drawn);
        const traces = (id) => document.querySelectorAll(`#${id} .scatterlayer .trace`).length;
        const rows = () => document.querySelectorAll("#table tr[data-task]:not([hidden])").length;
        const cells = () => document.querySelectorAll(".matrix td[data-algo]:not([hidden])").length;
        const now = () => [traces("chart"), traces("points"), rows(), cells()];
        const all = now();
        const text = document.getElementById("chart").data[0].text[0];
        document.querySelector("#filters input[value=beta]").click();
        const fewer = now();
        const metric = document.getElementById("metric");
        metric.value = "return";
        metric.dispatchEvent(new Event("change", {bubbles: true}));
        const axis = document.getElementById("chart").layout.yaxis.title.text;
        document.querySelector("#filters input[value='maze-v1']").click();
        const hidden = document.querySelectorAll("section[hidden]").length;
        const links = [...document.querySelectorAll("nav a")];
        const lost = links.filter((a) => !document.getElementById(a.hash.slice(1))).length;
        const jumps = links.filter((a) => !a.hidden).map((a) => a.text);
        const counts = [...document.querySelectorAll("[data-count]")].map((c) => c.value);
        const image = document.querySelector("figure img");
        const runs = document.querySelectorAll("#runs tbody tr").length;
        const saved = png(image).startsWith("data:image/png") && image.naturalWidth > 300;
        document.title = JSON.stringify(
          {all, fewer, text, axis, hidden, saved, runs, lost, jumps, counts, errors});
      }, 50);</script>"""
    caught = "<script>window.errors = []; onerror = (m) => errors.push(m);</script>"
    page.write_text(page.read_text().replace("<title>", caught + "<title>", 1) + probe)
    shown = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
         "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True,
    )  # fmt: skip
    title = re.search("<title>(.*?)</title>", shown.stdout)
    assert title is not None
    assert json.loads(html.unescape(title[1])) == {
        "all": [2, 2, 4, 4], "fewer": [1, 1, 2, 2], "text": "exp/maze-v1/alpha<br>seed 0",
        "axis": "return", "hidden": 1, "saved": True, "runs": 4, "lost": 0,
        "jumps": ["every run", "over tasks", "runs"], "counts": ["0 of 1", "1 of 2"], "errors": []
    }  # fmt: skip


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.mark.slow
def test_a_large_suite_becomes_one_page(tmp_path):
    tasks, algos, seeds = (f"maze-{i}" for i in range(12)), [f"algo-{i}" for i in range(12)], 10
    for task in tasks:
        for i, algo in enumerate(algos):
            for seed in range(seeds):
                make_run(tmp_path, algo, seed, shares=(i / 11, 1 - i / 11), task=task)
    frame = load_results(tmp_path)
    assert len(frame) == 12 * 12 * 10 * 8
    page = report.write(tmp_path, tmp_path / "out").read_text()
    assert page.count("<section") == 12
