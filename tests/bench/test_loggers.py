"""Mirrors of the records: what is passed on arrives, and nothing is needed by default."""

import sys

import pytest

from bench.configuration import resolve, understand
from bench.errors import UsageError
from bench.loggers import Loggers

SCALARS = {"success": 0.5, "updates": 3, "note": "text", "losses": [1.0]}


START = "2026-01-01T00:00:00+00:00"


def settings(*names):
    words = ["algo=random", "task=pointmaze-v1", "experiment=exp", f"logger=[{','.join(names)}]"]
    understand(words)
    return resolve(words)


def test_without_loggers_nothing_is_written(tmp_path):
    loggers = Loggers(settings(), tmp_path, START)
    loggers.log(SCALARS, 10)
    loggers.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_clear_line(tmp_path, monkeypatch, name):
    for module in (name, "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    with pytest.raises(UsageError, match=f"logger={name}: not installed; pip install {name}"):
        Loggers(settings(name), tmp_path, START)


def test_tensorboard_holds_the_numbers_and_goes_on_after_a_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begins, logged in ((0, (10, 20, 30)), (20, (30, 40))):  # killed at 30, saved at 20
        loggers = Loggers(settings("tensorboard"), tmp_path, START, begins)
        for steps in logged:
            loggers.log(SCALARS | {"success": (steps + begins) / 100}, steps)
        loggers.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["success", "updates"]
    seen = [(event.step, round(event.value, 6)) for event in events.Scalars("success")]
    assert seen == [(10, 0.1), (20, 0.2), (30, 0.5), (40, 0.6)]
    (text,) = events.Tensors("config/text_summary")
    assert b"algo: random" in text.tensor_proto.string_val[0]


def test_wandb_goes_on_with_the_run_that_it_began(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    place = tmp_path / "maze-v1" / "alpha" / "seed=0"
    place.mkdir(parents=True)
    ids = []
    for start, begins in ((START, 0), (START, 20), ("2026-01-02T00:00:00+00:00", 0)):
        loggers = Loggers(settings("wandb"), place, start, begins)
        assert wandb.run.name == "maze-v1/alpha/seed=0" and wandb.run.group == "exp"
        assert wandb.run.config["names"]["algo"] == "random"
        ids.append(wandb.run.id)
        loggers.log(SCALARS, begins + 10)
        loggers.close()
        assert wandb.run is None
    assert ids[0] == ids[1] != ids[2], "only a run that is begun anew is another one"
    for stored in place.glob("wandb/offline-run-*/*.wandb"):
        content = stored.read_bytes()
        assert b"env_steps" in content and b"losses" not in content
