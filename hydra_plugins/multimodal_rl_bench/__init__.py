"""`hydra/launcher=ray`: every run is a task of a Ray cluster. Hydra looks for launchers here.

Hydra's own plugin asks for cloudpickle before 3, for Ray's dashboard and for an AWS client, cannot
join a running cluster as it is, and ends with the first run whose worker dies. Annotations are no
strings here: Hydra looks at plugins outside of `sys.modules`, where dataclasses would resolve them.
"""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

PASSED = ("PYTHONPATH", "BENCH_")  # variables that begin like this go with every run
STORE = 80 * 2**20  # bytes that a cluster started here keeps for objects: runs exchange none


@dataclass
class RayConf:
    """What goes to `ray.init`, and to `ray.remote` for every run."""

    init: dict[str, Any] = field(default_factory=lambda: {"address": None})
    remote: dict[str, Any] = field(default_factory=lambda: {"num_cpus": 1, "num_gpus": None})


@dataclass
class RayLauncherConf:
    """The settings `hydra.launcher.…`."""

    _target_: str = "hydra_plugins.multimodal_rl_bench.RayLauncher"
    ray: RayConf = field(default_factory=RayConf)


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayLauncherConf)


class RayLauncher(Launcher):
    """Runs of a sweep as tasks of a cluster that is joined, or started for them."""

    def __init__(self, ray: DictConfig) -> None:
        self.settings: Any = OmegaConf.to_container(OmegaConf.create(ray), resolve=True)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what every launcher is given."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Do all runs; one whose worker dies has failed, and takes no other with it."""
        import ray

        setup_globals()
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        variables = {key: os.environ[key] for key in os.environ if key.startswith(PASSED)}
        if not ray.is_initialized():
            settings = init_settings(self.settings["init"], variables)
            try:
                with own_handlers():
                    ray.init(**settings)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise CompactHydraException(
                    f"no Ray cluster at address={settings['address']}: {first_line(error)}"
                ) from None
        gpus = ray.cluster_resources().get("GPU", 0)
        asked = remote_settings(self.settings["remote"], gpus, str(self.config.device))
        remote = ray.remote(do).options(**asked)
        tasks = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = f"ray-{number}", number
            tasks.append(
                remote.remote(self.context, config, self.task, Singleton.get_state(),
                              asked["num_cpus"])
            )  # fmt: skip
        return [result(ray, task, list(line)) for task, line in zip(tasks, job_overrides,
                                                                   strict=True)]  # fmt: skip


@contextmanager
def own_handlers() -> Iterator[None]:
    """Keep what this process does when it is asked to end: `ray.init` makes it end at once."""
    if threading.current_thread() is not threading.main_thread():  # which Ray leaves alone
        yield
        return
    before = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            if handler is not None:  # what C code has set cannot be set from here
                signal.signal(which, handler)


def init_settings(given: dict[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    """Return what `ray.init` is called with: a cluster that is joined has its store already.

    Without an address one is started, also beside another of this machine, which Ray would join. In
    it, runs are as nice as the command, not by 15 nicer than it.
    """
    address = given.get("address") or os.environ.get("RAY_ADDRESS") or "local"
    settings = {"log_to_driver": False, "logging_level": "warning", **given, "address": address}
    if address == "local":
        settings = {"include_dashboard": False, "object_store_memory": STORE,
                    "_system_config": {"worker_niceness": 0}, **settings}  # fmt: skip
    else:
        settings.pop("object_store_memory", None)
    environment = dict(settings.get("runtime_env") or {})
    environment["env_vars"] = {**variables, **environment.get("env_vars", {})}
    return settings | {"runtime_env": environment}


def remote_settings(given: dict[str, Any], gpus: float, device: str) -> dict[str, Any]:
    """Return what a run asks the cluster for: a GPU where there are any, unless told otherwise."""
    settings = {"max_retries": 0, "num_cpus": 1, **given}
    if settings.get("num_gpus") is None:
        settings["num_gpus"] = 1 if gpus and device != "cpu" else 0
    return settings


def first_line(error: BaseException) -> str:
    """Return what an error is, in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def result(ray: Any, task: Any, overrides: list[str]) -> JobReturn:
    """Wait for a run; return its failure where its worker, or its node, has died."""
    try:
        found: JobReturn = ray.get(task)
    except ray.exceptions.RayError as error:
        found = JobReturn(overrides=overrides, status=JobStatus.FAILED)
        found.return_value = CompactHydraException(first_line(error))
    return found


def do(
    context: HydraContext, config: DictConfig, task: TaskFunction, state: Any, cpus: float
) -> JobReturn:
    """Do one run on the node that it was sent to."""
    setup_globals()
    Singleton.set_state(state)
    HydraConfig.instance().set_config(config)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ["BENCH_SIDE_BY_SIDE"] = str(max(1, int((cores or 1) / max(cpus, 1))))
    return run_job(hydra_context=context, task_function=task, config=config,
                   job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir")  # fmt: skip
