"""Launchers: what each run gets, several hosts on one folder, and clusters where installed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from hydra.errors import CompactHydraException
from test_lease import from_elsewhere
from test_sweeps import TINY

import hydra_plugins.multimodal_rl_bench as plugin
from bench import launchers, lease
from bench.__main__ import main
from bench.launchers import VISIBLE, own_device
from hydra_plugins.multimodal_rl_bench import init_settings, own_handlers, remote_settings


def seen_by_runs(count):
    """Start runs, which see what they are told to, until they are to end."""
    code = f"import os, sys; print(os.environ.get('{VISIBLE}')); sys.stdout.flush(); input()"
    started = []
    for _ in range(count):
        with own_device("auto") as (variables, files):
            started.append(subprocess.Popen(
                [sys.executable, "-c", code], env=os.environ | variables, pass_fds=files,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            ))  # fmt: skip
    return started, [one.stdout.readline().strip() for one in started]


@pytest.fixture
def four(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr(launchers.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv(VISIBLE, raising=False)


def test_each_run_has_a_gpu_of_its_own_and_more_runs_share_evenly(four):
    started, seen = seen_by_runs(8)
    try:
        assert seen == ["0", "1", "2", "3"] * 2
        for one in (started[2], started[5]):
            one.kill()
            one.wait()
        more, seen = seen_by_runs(3)
        started += more
        assert seen == ["2", "1", "0"], "where one has ended, however, and whoever comes next"
    finally:
        for one in started:
            one.kill()
            one.communicate()


def test_no_other_gpus_are_shared_out_than_are_to_be_seen(four, monkeypatch):
    assert launchers.gpus({VISIBLE: "5, GPU-7,"}, 2) == ["5", "GPU-7"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv(VISIBLE, "MIG-a/1/0,5")
    with own_device("cuda") as (one, _), own_device("auto") as (other, _):
        assert one == {VISIBLE: "MIG-a/1/0"} and other == {VISIBLE: "5"}


@pytest.mark.parametrize("device, count", [("cuda:1", 4), ("cpu", 4), ("auto", 1), ("auto", 0)])
def test_a_gpu_that_is_chosen_or_alone_stays(device, count, four, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with own_device(device) as given:
        assert given == ({}, ())


def test_a_run_on_ray_asks_for_a_gpu_where_there_are_any():
    assert remote_settings({}, 0, "auto")["num_gpus"] == 0
    assert remote_settings({"num_gpus": None}, 2, "auto")["num_gpus"] == 1
    assert remote_settings({"num_gpus": None}, 2, "cpu")["num_gpus"] == 0
    packed = remote_settings({"num_gpus": 0.25, "num_cpus": 2}, 2, "auto")
    assert packed == {"max_retries": 0, "num_gpus": 0.25, "num_cpus": 2}


def test_ray_leaves_to_a_sweep_what_it_does_when_asked_to_end():
    """`ray.init` sets handlers by which the process ends, and no run saves."""
    before = signal.getsignal(signal.SIGTERM)
    with own_handlers():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_whose_worker_on_ray_died_has_failed_in_one_line():
    class RayError(Exception):
        pass

    def get(_):
        raise RayError("the worker died\nand much more")

    fake = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayError=RayError))
    found = plugin.result(fake, None, ["seed=1"])
    with pytest.raises(CompactHydraException, match=r"^RayError: the worker died$"):
        _ = found.return_value


def test_a_ray_cluster_that_is_joined_keeps_its_store(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    joined = init_settings({"address": "auto", "object_store_memory": None}, {"BENCH_A": "1"})
    assert "object_store_memory" not in joined and joined["address"] == "auto"
    assert joined["runtime_env"] == {"env_vars": {"BENCH_A": "1"}}
    started = init_settings({"address": None}, {})
    assert started["object_store_memory"] > 0 and started["address"] == "local"
    monkeypatch.setenv("RAY_ADDRESS", "host:6379")
    joined = init_settings({"address": None}, {})
    assert "object_store_memory" not in joined and joined["address"] == "host:6379"
    monkeypatch.delenv("RAY_ADDRESS")
    given = {"address": "auto", "runtime_env": {"pip": ["x"], "env_vars": {"BENCH_A": "2"}}}
    assert init_settings(given, {"BENCH_A": "1"})["runtime_env"] == given["runtime_env"]


@pytest.mark.parametrize("launcher, extra", launchers.EXTRAS.items())
def test_a_launcher_that_is_not_installed_is_one_line(
    launcher, extra, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    assert main(["run", *TINY, f"results={tmp_path}", f"hydra/launcher={launcher}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].endswith(f"{launcher}: pip install multimodal-rl-bench[{extra}]")
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_host_is_left_to_it_and_done_here_once_that_is_dead(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(lease, "BEAT", 0.5)
    monkeypatch.setenv("BENCH_LEASE_BEAT", "0.5")
    places = [tmp_path / f"default/pointmaze-v1/random/seed={seed}" for seed in (0, 1)]
    places[0].mkdir(parents=True)
    from_elsewhere(places[0])
    dead = threading.Event()

    def live():
        beat = 0
        while not dead.wait(0.05):
            from_elsewhere(places[0], beat=(beat := beat + 1))

    other = threading.Thread(target=live)
    other.start()
    words = ["run", *TINY, "seed=0,1", f"results={tmp_path}", "hydra/launcher=basic"]
    try:
        assert main(words) == 1, "not all is done"
    finally:
        dead.set()
        other.join()
    assert f"left to another host, which makes it: {places[0]}" in capsys.readouterr().err
    assert not (places[0] / "run.json").exists()
    before = (places[1] / "run.json").read_bytes()
    assert main(words) == 0
    assert json.loads((places[0] / "run.json").read_text())["status"] == "done"
    assert (places[1] / "run.json").read_bytes() == before, "nothing is done again"


def test_status_tells_where_a_run_goes_on(tmp_path, capsys):
    assert main(["run", *TINY, f"results={tmp_path}"]) == 0
    place = tmp_path / "default/pointmaze-v1/random/seed=0"
    facts = json.loads((place / "run.json").read_text())
    (place / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    (place / "checksums.json").unlink()
    from_elsewhere(place, 9)
    assert main(["status", f"results={tmp_path}"]) == 0
    assert "running on other " in capsys.readouterr().out
    moment = time.time() - 300
    os.utime(place / ".lease-9", (moment, moment))
    assert main(["status", f"results={tmp_path}"]) == 0
    assert "running on other, silent for 0:05:0" in capsys.readouterr().out


@pytest.mark.slow  # starts a cluster
@pytest.mark.parametrize("launcher", ["ray", "submitit_local"])
def test_a_killed_worker_takes_no_other_run_with_it(launcher, tmp_path):
    if find_spec(launchers.PACKAGES[launchers.EXTRAS[launcher]]) is None:
        pytest.skip(f"{launcher} is not installed")
    words = [*TINY, "env_steps=4096", "eval.every=4096", "seed=0,1,2,3", f"results={tmp_path}"]
    call = [sys.executable, "-m", "bench", "run", *words, f"hydra/launcher={launcher}"]
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True)
    killed = None
    while killed is None and process.poll() is None:
        time.sleep(0.05)
        for place in tmp_path.glob("default/*/*/seed=*"):
            user = lease.holder(place)
            if user is not None and not user.gone():
                os.kill(user.pid, signal.SIGKILL)
                killed = place
                break
    error = process.communicate()[1]
    assert killed is not None and process.returncode == 1, error
    kept = {}
    for path in tmp_path.glob("default/*/*/*/run.json"):
        if json.loads(path.read_text())["status"] == "done":
            kept[path] = path.read_bytes()
    assert len(kept) == 3
    assert subprocess.run(call, capture_output=True).returncode == 0
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_other_programs_of_hydra_find_the_plugin():
    """Hydra runs a plugin's module that nobody has imported, and leaves it out of sys.modules."""
    spec = importlib.util.spec_from_file_location("found_by_hydra", plugin.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.RayLauncherConf().ray.init == {"address": None}
