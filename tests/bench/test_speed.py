"""What `python -m bench speed` counts, and what it refuses."""

import json
from itertools import pairwise
from math import prod

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import bench.algos
from bench import testing
from bench.__main__ import main
from bench.commands.speed import updates
from bench.updates import PARTS, REST, ROUNDS, Products, Speed, count_action, in_turn, parts

bench.algos.discover()


def learning(name):
    config = bench.algos.registry[name].config(batch=32)
    algo = bench.algos.registry[name].factory(testing.SPEC, config, "cpu")
    testing.feed(algo, 12, seed=1)
    return algo


@pytest.mark.parametrize("name", ["ddiffpg", "qvpo", "sac"])
def test_the_products_noted_are_those_that_the_counter_sees(name):
    algo = learning(name)
    with FlopCounterMode(display=False) as counter, Products() as products:
        algo.learn()
    noted = sum(2 * n * prod(one) * other[-1] for (one, other), n in products.shapes.items())
    assert noted == counter.get_total_flops() > 1e6
    with FlopCounterMode(display=False) as again:
        products.repeat()
    assert again.get_total_flops() == noted


def test_parts_share_the_time_among_methods_that_are_called(monkeypatch):
    algo = learning("ddiffpg")
    now = iter(range(10_000))  # every look at the clock is one second later
    monkeypatch.setattr("bench.updates.time.perf_counter", lambda: float(next(now)))
    found = parts(algo, 2)
    assert sum(found.values()) == pytest.approx(1)
    expected = {"sampling", "bonus", "critics", "ascent", "actor", "averages", "novelty", REST}
    assert set(found) == expected
    # sampling is interrupted by one bonus, and the update by six parts
    second = found["ascent"]
    assert found["sampling"] == pytest.approx(2 * second) == pytest.approx(2 * found["bonus"])
    assert not set(PARTS) & set(vars(algo)), "its methods are its class's again"


@pytest.mark.parametrize(
    ("name", "calls"),
    [("td3", 1), ("pmoe", 1), ("latent-sac", 2), ("rpg", 2), ("mfpo", 2), ("dipo", 5), ("fpmd", 5)],
)
def test_calls_of_an_action_are_those_of_its_networks(name, calls):
    assert count_action(learning(name), testing.SPEC).calls == calls


def test_an_action_of_a_gaussian_is_one_product_per_layer():
    sizes = [testing.SPEC.obs_dim, 128, 128, 2 * testing.SPEC.act_dim]
    found = count_action(learning("sac"), testing.SPEC)
    assert found.flops == sum(2 * a * b for a, b in pairwise(sizes))


def test_a_step_more_is_a_call_more():
    config = bench.algos.registry["dipo"].config(batch=32)
    config.actor.steps = 7
    algo = bench.algos.registry["dipo"].factory(testing.SPEC, config, "cpu")
    assert count_action(algo, testing.SPEC).calls == 7


def test_works_take_turns():
    done = []
    pairs = in_turn([lambda: done.append("a"), lambda: done.append("b")], 1e-6)
    assert len(pairs) == ROUNDS and "".join(done) == "ab" * (ROUNDS + 1)


def test_algorithms_and_precisions_are_measured_in_turn(monkeypatch):
    together = []

    def measure(algos, seconds):
        together.append(([type(algo).__name__ for algo in algos], seconds))
        return [Speed(1.0, 1, 0, 1.0, 1.0, {}) for _ in algos]

    monkeypatch.setattr("bench.commands.speed.measure", measure)
    monkeypatch.setattr("bench.commands.speed.beside_stable_baselines3", lambda *words: None)
    found = updates(["sac", "ppo", "td3"], "pointmaze-v1", "suite", 640, 2, ["fp32", "bf16"], "cpu")
    assert together == [(["SAC", "SAC", "TD3", "TD3"], 8)], "so that ratios hold"
    rows = [(row["algo"], row["precision"]) for row in found["updates"]]
    assert rows == [("sac", "fp32"), ("sac", "bf16"), ("td3", "fp32"), ("td3", "bf16")]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("algo=sax", "unknown algorithm 'sax'. Did you mean 'sac'?"),
        ("algo=ppo", "algo=ppo: none of these learns from a replay, timed=0 counts actions"),
        ("task=pointmaze-v9", "unknown task 'pointmaze-v9'"),
        ("task=all", "task=all: speed takes one task"),
        ("size=huge", "size='huge': valid are suite, paper"),
        ("precision=fp8", "precision='fp8': valid are fp32, bf16, auto"),
        ("device=tpu", "device='tpu': valid are auto, cpu, cuda, cuda:<index>"),
        ("seconds=0", "seconds=0: valid are integers from 1"),
        ("timed=2", "timed=2: valid are 0, 1"),
        ("out=pyproject.toml", "out=pyproject.toml: pyproject.toml is not a folder"),
        ("fast", "speed takes key=value words, not 'fast'"),
    ],
)
def test_bad_input_is_one_line(word, line, capsys):
    assert main(["speed", word]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_tables_and_record_of_one_algorithm(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.commands.speed.environment", None)  # not asked for
    threads = torch.get_num_threads()
    words = ["algo=sac", "task=pointmaze-v1", "warmup=640", "seconds=1", "precision=fp32,bf16",
             f"out={tmp_path / 'speed'}"]  # fmt: skip
    try:
        assert main(["speed", *words]) == 0
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    for part in ("learning on pointmaze-v1, size=suite", "GFLOP/s", "sampling", "on Pendulum"):
        assert part in shown
    found = json.loads((tmp_path / "speed/pointmaze-v1-suite-cpu.json").read_text())
    assert found["settings"]["warmup"] == 640 and found["environments"] == []
    assert [(row["algo"], row["calls"]) for row in found["actions"]] == [("sac", 1)]
    for key in ("updates", "stable_baselines3"):
        named = [(row["algo"], row["precision"]) for row in found[key]]
        assert named == [("sac", "fp32"), ("sac", "bf16")]
    for row in found["updates"]:
        assert row["rate"] > 0 and row["flops"] > 1e6
        assert sum(row["parts"].values()) == pytest.approx(1)


def test_counting_takes_no_clock(tmp_path, monkeypatch):
    for name in ("environment", "measure", "beside_stable_baselines3"):
        monkeypatch.setattr(f"bench.commands.speed.{name}", None)  # not asked for
    words = ["algo=sac,dipo,ppo,random", "task=pointmaze-v1", "timed=0", f"out={tmp_path}"]
    threads = torch.get_num_threads()
    try:
        assert main(["speed", *words]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "pointmaze-v1-suite-cpu-actions.json").read_text())
    counted = [(row["algo"], row["calls"]) for row in found["actions"]]
    assert counted == [("sac", 1), ("dipo", 5), ("ppo", 1)], "random actions take no network"
    assert found["updates"] == found["environments"] == found["stable_baselines3"] == []
