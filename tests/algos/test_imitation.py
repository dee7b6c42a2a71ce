"""A policy that imitates has the modes that it was shown, and nothing else has moved."""

import pytest
import torch

import bench.algos
from bench.algos.common.diffusion import DiffusionConfig
from bench.algos.common.mixture import Mixture
from bench.api import Imitates
from bench.commands import bandit
from bench.testing import SPEC, feed

bench.algos.discover()
SMALL = {  # settings by which a class imitates in two seconds
    "fpmd": {"actor": DiffusionConfig(steps=10, hidden=(128, 128), activation="mish")},
    "latent-sac": {"hidden": (128, 128)},
    "pmoe": {"hidden": (128, 128)},
}


def build(name, **settings):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    return entry.factory(SPEC, entry.config(**settings), "cpu")


IMITATORS = [name for name in bench.algos.registry if isinstance(build(name), Imitates)]


def test_what_has_one_mode_per_state_does_not_imitate():
    assert sorted(set(bench.algos.registry) - set(IMITATORS)) == ["ppo", "random", "sac", "td3"]


@pytest.fixture
def taught():
    """Return small policies that have imitated four clusters in one state."""

    def teach(name, steps=500):
        algo = build(name, batch=128, **SMALL[name])
        which = torch.arange(2000) % 4
        action = (bandit.PEAKS[which] + 0.1 * torch.randn(2000, 2)).clamp(-1, 1)
        algo.imitate(torch.zeros(2000, SPEC.obs_dim), action, steps)
        return algo

    return teach


@pytest.mark.parametrize("name", ["fpmd", "pmoe"])
def test_four_clusters_are_imitated(name, taught):
    obs = torch.zeros(2000, SPEC.obs_dim)
    assert bandit.measure(taught(name, 0).act(obs))["in_mode"] < 0.4
    found = bandit.measure(taught(name).act(obs), bandit.IMITATED)
    assert found["kept"] == 4 and found["in_mode"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", IMITATORS)
def test_every_policy_that_imitates_begins_with_all_four_modes(name):
    algo, _ = bandit.begin(name, "imitated")
    first = bandit.at_first(algo)[False]
    assert first["first_modes"] == 4 and first["first_in_mode"] > 0.5


@pytest.mark.parametrize("name", IMITATORS)
def test_only_the_policy_has_moved(name):
    """Averages of it are copies of it; critics, their targets and all optimisers are as before."""
    algo = build(name)
    feed(algo, 2, seed=1)
    with torch.no_grad():  # averages lag behind
        for module in (algo.actor, getattr(algo, "critic", algo.actor)):
            for parameter in module.parameters():
                parameter.add_(0.01)
    before = {key: value.clone() for key, value in algo.named_parameters()}
    spent = [optimizer_state(algo)]
    algo.imitate(torch.randn(64, SPEC.obs_dim), 2 * torch.rand(64, SPEC.act_dim) - 1, steps=3)
    moved = {
        key.split(".")[0]
        for key, value in algo.named_parameters()
        if not torch.equal(value, before[key])
    }
    own = {"cppo": {"flow", "actor"}, "mfpo": {"actor", "divergence"}}.get(name, {"actor"})
    averages = {f"ema_{key}" for key in own if hasattr(algo, f"ema_{key}")}
    assert moved == own | averages
    for key in averages:
        source = getattr(algo, key.removeprefix("ema_"))
        for one, other in zip(getattr(algo, key).parameters(), source.parameters(), strict=True):
            assert torch.equal(one, other)
    assert optimizer_state(algo) == spent[0]


def optimizer_state(algo):
    """Return how many steps each optimiser has taken."""
    found = algo.optimizers
    return [
        sorted(float(state["step"]) for state in optimizer.state.values())
        for optimizer in (found.values() if isinstance(found, dict) else found)
    ]


def test_a_mixtures_surprise_is_the_densitys_in_the_box():
    """Of a uniform gate over two Gaussians, squashed: by the change of variables, by hand."""
    torch.manual_seed(0)
    mean, log_std = torch.randn(5, 2, 1), torch.randn(5, 2, 1) / 4
    action = torch.rand(5, 1) - 0.5
    normal = torch.distributions.Normal(mean[..., 0], log_std[..., 0].exp())
    density = normal.log_prob(action.atanh()).exp().mean(1) / (1 - action[:, 0].square())
    mixture = Mixture(torch.full((5, 2), 0.5).log(), mean, log_std)
    torch.testing.assert_close(mixture.surprise(action), -density.log().mean())
    assert torch.isfinite(mixture.surprise(torch.ones(5, 1)))


def test_skills_share_what_they_imitate_among_themselves(taught):
    algo = taught("latent-sac")
    obs, skill = torch.zeros(1600, SPEC.obs_dim), torch.arange(1600) % 8
    assert bandit.measure(algo.act(obs), bandit.IMITATED)["kept"] == 4
    nearest = torch.cdist(algo.act(obs, mode=skill), bandit.PEAKS).argmin(dim=1)
    counted = torch.stack([torch.bincount(nearest[skill == z], minlength=4) for z in range(8)])
    assert counted.amax(dim=1).float().mean() > 0.75 * 200, "most of a skill's are in one cluster"


def test_a_flow_that_has_imitated_does_not_imitate_random_exploration():
    algo = build("cppo", imitation_epochs=1)
    algo.explored.append({"obs": torch.zeros(8, SPEC.obs_dim), "action": torch.ones(8, 2)})
    algo.imitate(torch.randn(64, SPEC.obs_dim), torch.zeros(64, SPEC.act_dim), steps=1)
    flow = [parameter.clone() for parameter in algo.flow.parameters()]
    assert algo.update() == {}
    for one, other in zip(flow, algo.flow.parameters(), strict=True):
        assert torch.equal(one, other)


def test_looking_at_what_a_policy_begins_with_changes_nothing():
    algo = build("pmoe")
    torch.manual_seed(3)
    before = torch.get_rng_state(), algo.rng.get_state()
    with torch.no_grad():
        algo.act = lambda obs, mode=None: torch.randn(len(obs), 2)
        assert set(bandit.at_first(algo)) == {False, True}
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], algo.rng.get_state())
