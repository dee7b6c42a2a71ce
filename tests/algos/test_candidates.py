"""Candidate actions, judged and drawn in parts that a CPU's cache holds."""

import torch

from bench.algos.common import candidates, networks
from bench.algos.common.critics import CriticConfig, TwinCritic
from bench.algos.common.diffusion import DiffusionConfig, DiffusionPolicy
from bench.commands import bandit


def test_parts_change_no_value_and_no_gradient(monkeypatch):
    torch.manual_seed(0)
    critic = TwinCritic(1, 3, 2, CriticConfig())
    norm_obs, action = torch.randn(7, 3), torch.rand(7, 4, 2, requires_grad=True)
    found = []
    for cached in (1_000 * 128, 9 * 128, 1):  # in one part; two states at once; one by one
        monkeypatch.setattr(networks, "CACHED", cached)
        value = candidates.candidate_values(critic, norm_obs, action)
        (grad,) = torch.autograd.grad(value.sum(), action)
        found.append((value, grad))
    assert found[0][0].shape == (2, 7, 4)
    for value, grad in found[1:]:
        torch.testing.assert_close(value, found[0][0])
        torch.testing.assert_close(grad, found[0][1])


def test_candidates_belong_to_their_own_states(monkeypatch):
    torch.manual_seed(0)
    actor = DiffusionPolicy(2, 3, DiffusionConfig())
    monkeypatch.setattr(actor, "sample", lambda condition, rng: condition[:, :2])
    norm_obs = torch.randn(7, 3)
    drawn = candidates.candidates(actor, norm_obs, 4)
    torch.testing.assert_close(drawn, norm_obs[:, None, :2].expand(-1, 4, -1))


def test_commanded_samples_ask_for_every_mode_equally_often():
    class Obedient:
        num_modes = 4

        def act(self, obs, explore=False, mode=None):
            return torch.zeros(len(obs), 2) if mode is None else bandit.PEAKS[mode]

    commanded = bandit.measure(bandit.samples(Obedient(), commanded=True))
    assert [commanded[f"mode_{k}"] for k in range(4)] == [0.25] * 4
    assert bandit.measure(bandit.samples(Obedient()))["in_mode"] == 0, "without a command: none"
