"""A run is repeated from its record."""

import pandas as pd
import pytest
import yaml

from bench.__main__ import main
from bench.errors import UsageError
from bench.repeat import compared, take_from

TINY = ["budget=smoke", "env_steps=1024", "num_envs=16", "threads=1", "eval.every=512",
        "eval.episodes=4", "algo.exploration.warmup=256", "algo.batch=32"]  # fmt: skip


def test_a_run_is_repeated_by_its_record_alone(tmp_path, capsys):
    words = ["run", "algo=td3", "task=pointmaze-v1", "seed=3", f"results={tmp_path}", *TINY]
    assert main(words) == 0
    place = tmp_path / "default/pointmaze-v1/td3/seed=3"
    capsys.readouterr()
    assert main(["run", f"from={place}", f"results={tmp_path}"]) == 0
    assert "the same 16 evaluation episodes" in " ".join(capsys.readouterr().err.split())
    again = tmp_path / "default-again/pointmaze-v1/td3/seed=3"
    first, second = (yaml.safe_load((p / "config.yaml").read_text()) for p in (place, again))
    assert first["algo"] == second["algo"] and first["algo"]["batch"] == 32
    assert main(["run", f"from={place}", f"results={tmp_path}", "seed=4"]) == 0
    assert "other evaluation episodes" in " ".join(capsys.readouterr().err.split())


def record(place):
    place.mkdir(parents=True)
    config = {"names": {"algo": "sac", "task": "reach"}, "seed": 1, "plugins": ["evil"],
              "experiment": "x", "results": "elsewhere", "algo": {"hidden": [3, 4]}}  # fmt: skip
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return place


def test_what_is_given_wins_and_no_plugin_is_imported_unasked(tmp_path, monkeypatch):
    place = record(tmp_path / "r")
    (tmp_path / "mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    words, source = take_from([f"from={place}", "seed=2", "plugins=[mine]"])
    assert source == place
    assert sorted(words) == sorted([
        "algo=sac", "task=reach", "algo.hidden=[3,4]", "experiment=x-again", "seed=2",
        "plugins=[mine]",
    ])  # fmt: skip
    assert take_from(["algo=sac"]) == (["algo=sac"], None)


def test_bad_sources_are_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"from=\S+nowhere: no record of a run"):
        take_from([f"from={tmp_path / 'nowhere'}"])
    with pytest.raises(UsageError, match=r"algo=td3: from=.* is of algo=sac"):
        take_from([f"from={record(tmp_path / 'r')}", "algo=td3"])


def test_a_module_that_a_record_names_is_not_imported_unasked(tmp_path, monkeypatch):
    config = {"names": {"algo": "sac", "task": "gym"}, "task": {"id": "harmless:my/Env-v0"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "harmless.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"needs harmless, .* only if you name it: plugins=\["):
        take_from([f"from={tmp_path}"])


@pytest.mark.parametrize(
    "key", ["hydra", "+hydra", "++hydra", "a=b hydra", "hydra/launcher", "~seed"]
)
def test_a_record_sets_nothing_of_hydras_own(tmp_path, key):
    """Hydra imports and calls what `_target_` names, as in `hydra.callbacks`."""
    call = {"_target_": "builtins.open", "file": str(tmp_path / "ran"), "mode": "w"}
    config = {"names": {"algo": "sac", "task": "reach"}, key: {"callbacks": {"x": call}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match="which is no setting of a run"):
        take_from([f"from={tmp_path}"])
    assert not (tmp_path / "ran").exists()


def test_the_first_difference_is_named(tmp_path):
    frame = pd.DataFrame({"env_steps": [10, 20, 20], "return": [0.0, 1.0, 2.0]})
    for name, last in (("a", 2.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        frame.assign(**{"return": [0.0, 1.0, last]}).to_parquet(
            tmp_path / name / "episodes.parquet"
        )
    assert compared(tmp_path / "a", tmp_path / "b").endswith(", from env step 20 on")
    assert compared(tmp_path / "a", tmp_path / "a").startswith("the same 3")
