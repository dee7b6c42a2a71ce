"""Mirrors of the records: what is passed on arrives, and nothing is needed by default."""

import sys
from types import SimpleNamespace

import pytest

from bench.errors import UsageError
from bench.loggers import Loggers

SCALARS = {"success": 0.5, "updates": 3, "note": "text", "losses": [1.0]}


def settings(*names):
    return SimpleNamespace(logger=list(names), experiment="exp")


def test_without_loggers_nothing_is_written(tmp_path):
    loggers = Loggers(settings(), tmp_path)
    loggers.log(SCALARS, 10)
    loggers.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_clear_line(tmp_path, monkeypatch, name):
    for module in (name, "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    with pytest.raises(UsageError, match=f"logger={name}: not installed; pip install {name}"):
        Loggers(settings(name), tmp_path)


def test_tensorboard_holds_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = Loggers(settings("tensorboard"), tmp_path)
    for steps in (10, 20):
        loggers.log(SCALARS | {"success": steps / 100}, steps)
    loggers.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["success", "updates"]
    seen = [(event.step, round(event.value, 6)) for event in events.Scalars("success")]
    assert seen == [(10, 0.1), (20, 0.2)]


def test_wandb_offline_keeps_a_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    place = tmp_path / "maze-v1" / "alpha" / "seed=0"
    place.mkdir(parents=True)
    loggers = Loggers(settings("wandb"), place)
    assert wandb.run.name == "maze-v1/alpha/seed=0" and wandb.run.group == "exp"
    loggers.log(SCALARS, 10)
    loggers.close()
    assert wandb.run is None
    (stored,) = place.glob("wandb/offline-run-*/*.wandb")
    assert b"updates" in stored.read_bytes() and b"losses" not in stored.read_bytes()
