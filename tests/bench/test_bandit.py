"""The bandit's command: what it writes, keeps and refuses."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from bench.__main__ import main
from bench.commands import bandit
from bench.rollout import Rollout
from bench.tasks import make_task
from bench.tasks.bandit import CASES


def test_a_result_replaces_its_own_kind_alone(tmp_path):
    out = f"out={tmp_path}"
    assert main(["bandit", "algo=td3,dipo", "case=equal", "updates=1", out]) == 0
    assert main(["bandit", "algo=td3", "case=equal,unequal", "updates=2", "seed=3", out]) == 0
    table = pd.read_csv(tmp_path / "bandit.csv")
    rows = list(zip(table["algo"], table["case"], table["updates"], table["seed"], strict=True))
    assert rows == [("dipo", "equal", 1, 0), ("td3", "equal", 2, 3), ("td3", "unequal", 2, 3)]
    assert len((tmp_path / "bandit.md").read_text().splitlines()) == 2 + len(rows)
    assert (tmp_path / "bandit.png").stat().st_size > 10_000
    assert set(bandit.stored_samples(tmp_path)) == {"dipo.equal", "td3.equal", "td3.unequal"}


def test_seeds_are_rows_of_their_own_and_means_in_the_table(tmp_path):
    words = ["bandit", "algo=ppo", "case=equal", "updates=1"]
    here, alone = f"out={tmp_path}", f"out={tmp_path / 'alone'}"
    assert main([*words, "seed=5,3", here]) == 0 and main([*words, "seed=3,7", here]) == 0
    found = pd.read_csv(tmp_path / "bandit.csv")
    assert found["seed"].tolist() == [3, 5, 7]
    assert found["in_mode"].nunique() > 1, "seeds that differ in nothing"
    assert main([*words, "seed=3", alone]) == 0
    drawn, first = (
        bandit.stored_samples(folder)["ppo.equal"] for folder in (tmp_path, tmp_path / "alone")
    )
    assert np.array_equal(drawn, first), "the figure is of the first seed"
    found["kept"] = [1, 2, 4]
    found.to_csv(tmp_path / "bandit.csv", index=False)
    bandit.write(tmp_path)
    (row,) = (tmp_path / "bandit.md").read_text().splitlines()[2:]
    in_mode = f"{found['in_mode'].mean():.2f}"
    assert f" | {in_mode} | 2.3 (1–4) | 3 | 1 | –" in row


def test_commands_that_add_to_one_folder_at_once_lose_no_row(tmp_path, monkeypatch):
    """Each reads the table and writes it anew: slowed down, they would meet in between."""
    stored_table = bandit.stored_table

    def slowly(out):
        table = stored_table(out)
        time.sleep(0.2)
        return table

    monkeypatch.setattr(bandit, "stored_table", slowly)
    action = torch.zeros(8, 2)
    row = {"algo": "td3", "case": "equal", **bandit.measure(action), "critic": "exact"}
    with ThreadPoolExecutor(4) as pool:
        for seed in range(4):
            pool.submit(bandit.keep, tmp_path, row | {"updates": 1, "seed": seed}, action)
    assert stored_table(tmp_path)["seed"].tolist() == [0, 1, 2, 3]


def test_what_a_replaced_policy_was_commanded_goes_with_it(tmp_path):
    action = torch.zeros(8, 2)
    facts = {"case": "equal", **bandit.measure(action), "critic": "exact", "updates": 1}
    for name, seed in (("pmoe", 0), ("pmoe (commanded)", 0), ("pmoe (commanded)", 1), ("pmoe", 0)):
        bandit.keep(tmp_path, {"algo": name, **facts, "seed": seed}, action)
    table = bandit.stored_table(tmp_path)
    assert list(zip(table["algo"], table["seed"], strict=True)) == [
        ("pmoe", 0), ("pmoe (commanded)", 1),
    ]  # fmt: skip
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bandit.csv", "", "bandit.csv: no table"),
        ("bandit.csv", "a,b\n1,2\n", "it lacks algo, case"),
        ("actions.npz", "PK", "actions.npz: no samples"),
    ],
)
def test_a_damaged_folder_is_refused_before_anything_is_trained(
    tmp_path, capsys, monkeypatch, name, content, said
):
    (tmp_path / name).write_text(content)
    monkeypatch.setattr(bandit, "begin", None)
    assert main(["bandit", "algo=td3", "case=equal", "updates=1", f"out={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert (tmp_path / name).read_text() == content


def test_a_row_says_what_its_policy_began_with_and_older_rows_stay(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bandit, "begin", partial(bandit.begin, imitation=1))
    small, out = "algo.hidden=[8]", f"out={tmp_path}"
    older = "algo,case,mode_0,mode_1,mode_2,mode_3,in_mode,kept,critic,updates,seed,seconds\n"
    older += "pmoe,equal,0.685,0.237,0.004,0.024,0.951,2,exact,1000,0,82\n"
    (tmp_path / "bandit.csv").write_text(older)
    for _ in range(2):  # the second finds a table with both kinds of rows
        assert main(["bandit", "algo=sac,pmoe", "case=imitated", "updates=1", small, out]) == 0
    assert "sac is left out of case=imitated" in capsys.readouterr().out
    kept, own, commanded = (tmp_path / "bandit.csv").read_text().splitlines()[1:]
    assert kept == older.splitlines()[1] + ",,"
    first = pd.read_csv(tmp_path / "bandit.csv").set_index(["algo", "case"])["first_modes"]
    assert own.endswith(f",{first['pmoe', 'imitated']:.0f}") and first.notna().sum() == 2
    assert commanded.startswith("pmoe (commanded),imitated")
    table = (tmp_path / "bandit.md").read_text().splitlines()
    assert table[2].endswith("| 1000 | – |") and table[3].count("(") == 1
    assert set(bandit.stored_samples(tmp_path)) == {"pmoe.imitated", "pmoe (commanded).imitated"}


@pytest.mark.parametrize("shape", [(2,), (1, 2), (3, 1)])
def test_actions_of_the_wrong_shape_are_refused(shape):
    env = make_task("bandit").make(3, seed=0)
    env.reset()
    with pytest.raises(ValueError, match=r"action has shape .*; expected \(3, 2\)"):
        env.step(np.zeros(shape, np.float32))


@pytest.mark.parametrize("case", ["equal", "imitated"])
def test_an_algorithm_that_fails_is_one_line_and_no_other_stops(
    case, tmp_path, capsys, monkeypatch
):
    whole = bandit.built

    def built(name, *given):
        if name == "pmoe":
            raise RuntimeError("no such layer")
        return whole(name, *given)

    monkeypatch.setattr(bandit, "built", built)
    monkeypatch.setattr(bandit, "begin", partial(bandit.begin, imitation=1))
    words = ["algo=pmoe,qvpo", f"case={case}", "updates=1", "algo.batch=8", f"out={tmp_path}"]
    assert main(["bandit", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"algo=pmoe case={case} seed=0: RuntimeError: no such layer (")
    assert said.count("\n") == 1
    assert pd.read_csv(tmp_path / "bandit.csv")["algo"].tolist() == ["qvpo"]
    assert main(["bandit", "algo=pmoe", *words[1:-1], f"out={tmp_path / 'new'}"]) == 1
    assert not (tmp_path / "new" / "bandit.md").exists()


def test_the_imitated_case_begins_with_the_replay_in_a_policy():
    algo, _ = bandit.begin("pmoe", "imitated", changes=["algo.hidden=[8]"], imitation=0)
    stored = algo.replay.fields["action"][: bandit.FILLED]
    found = bandit.measure(stored)
    assert min(found[f"mode_{k}"] for k in range(4)) > 0.22 and found["in_mode"] > 0.98
    seen = []
    algo.imitate = lambda *given: seen.append(given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandit, "built", lambda *given: algo)
        bandit.begin("pmoe", "imitated", imitation=7)
    ((obs, action, steps),) = seen
    assert obs.shape == (bandit.FILLED, 2) and not obs.any() and steps == 7
    assert torch.equal(action, stored)


def test_settings_can_be_changed():
    changes = ["algo.actor.steps=3", "algo.actor.hidden=[8]", "algo.ema=1"]
    changed = bandit.settings("dipo", changes).algo
    assert (changed.actor.steps, changed.actor.hidden, changed.ema) == (3, [8], 1.0)
    assert changed.actor.activation == bandit.settings("dipo").algo.actor.activation == "mish"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algo=dipo", "algo.actor.stesp=3"], "Did you mean 'algo.actor.steps'"),
        (["algo=dipo,td3", "algo.actor.steps=3"], "unknown setting 'algo.actor'"),
        (["algo=dipo", "algo.actor.steps=1"], "actor.steps=1"),
        (["algo=dipo", "algo.ema=fast"], "ema"),
        (["algo=dipo", "case=equals"], "Did you mean 'equal'"),
        (["algo=dipo", "critic=true"], "exact, learned"),
        (["algo=dipo", "updates=none"], "updates=none"),
        (["algo=dipo", "seed=1,a"], "seed=a"),
        (["algo=dipo", "seed="], "seed="),
        (
            ["algo=dipo", "case="],
            "case=? is missing; valid are all, equal, lopsided, unequal, imitated",
        ),
        (["algo="], "algo=? is missing"),
        (["algo=dipo", "lopsided"], "not 'lopsided'"),
        (["algo=sac,td3", "case=imitated"], "no policy of algo=sac,td3 can imitate"),
    ],
)
def test_bad_input_is_one_line_status_2_and_nothing_written(tmp_path, capsys, words, message):
    assert main(["bandit", f"out={tmp_path / 'b'}", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (tmp_path / "b").exists()


def test_a_file_is_no_folder_to_write_to(tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    words = ["algo=td3", "case=equal", "updates=1", f"out={tmp_path / 'file'}"]
    assert main(["bandit", *words]) == 2
    assert capsys.readouterr().err.strip().endswith(f"{tmp_path / 'file'} is not a folder")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("case", list(CASES))
def test_the_exact_values_are_the_tasks_rewards(case):
    action = 2 * torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) - 1
    step = Rollout(make_task("bandit", case=case).make(64, 0)).step(action.numpy())
    heights = CASES[case].heights
    assert np.allclose(step.reward, bandit.height(action, heights), atol=1e-6)
    modes = bandit.measure(action)
    assert [episode.success for episode in step.ended] == (step.success.tolist())
    for k in range(4):
        share = np.mean([episode.mode == k for episode in step.ended])
        assert modes[f"mode_{k}"] == pytest.approx(share, abs=1e-3)


def test_exact_values_reach_the_ascent_and_their_target_networks():
    algo = bandit.train("dipo", "unequal", 1)
    assert algo.critic.exact is not None and algo.target_critic.exact is not None
    action = algo.improve(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))[0]
    assert bandit.height(action, (1.0, 0.9, 0.8, 0.7)) > bandit.height(
        torch.tensor([[0.5, 0.5]]), (1.0, 0.9, 0.8, 0.7)
    )
    assert bandit.train("dipo", "unequal", 1, exact=False).critic.exact is None
