"""The parts of the algorithms, against closed forms and small cases worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.algos.common.critics import CriticConfig, TwinCritic, clip_by_group, inherit
from bench.algos.common.diffusion import DiffusionConfig, DiffusionPolicy, Inward
from bench.algos.common.exploration import ExplorationConfig, RandomExploration
from bench.algos.common.networks import RunningNorm
from bench.algos.common.novelty import EpisodicCounts, NovelD, NoveltyConfig
from bench.algos.common.replay import Replay
from bench.algos.ddiffpg import modes as modes_module
from bench.algos.ddiffpg.clustering import distances, erase_loops, match, partition, summarize
from bench.algos.ddiffpg.episodes import Episodes
from bench.algos.ddiffpg.modes import Modes, ModesConfig
from bench.api import Spec, Transition

SPEC = Spec(obs_dim=4, act_dim=2, num_envs=2, horizon=5, position_dim=2, max_return=10.0,
            seed=0)  # fmt: skip


def test_no_bound_on_a_gradient_leaves_it_as_it_is():
    critic = TwinCritic(2, 4, 2, CriticConfig())
    critic.loss(torch.randn(2, 8, 4), torch.randn(2, 8, 2), torch.full((2, 8, 51), 1 / 51)).sum(
    ).backward()  # fmt: skip
    before = [p.grad.clone() for p in critic.parameters()]
    clip_by_group(critic, 2, 0.0)
    assert all(torch.equal(a, p.grad) for a, p in zip(before, critic.parameters(), strict=True))
    clip_by_group(critic, 2, 1e-3)
    norms = sum(p.grad.view(2, -1).square().sum(1) for p in critic.parameters()).sqrt()
    torch.testing.assert_close(norms, torch.full((2,), 1e-3), rtol=0.01, atol=0)


@pytest.mark.parametrize("reward", [0.0, 0.31, 1.0, 1.2])
def test_a_terminal_reward_is_the_mean_of_its_projection(reward):
    critic = TwinCritic(1, 4, 2, CriticConfig())
    target = critic.target(
        torch.randn(1, 3, 4), torch.zeros(1, 3, 2), torch.full((1, 3), reward), torch.zeros(1, 3)
    )
    assert torch.allclose(target.sum(-1), torch.ones(1, 3), atol=1e-6)
    assert torch.allclose(target @ critic.support, torch.full((1, 3), reward), atol=1e-5)


def test_the_target_takes_the_head_with_the_lower_mean_per_row():
    critic = TwinCritic(1, 1, 1, CriticConfig(atoms=3, v_max=2.0))
    rows = torch.tensor([[[[9.0, 0, 0], [0, 0, 9.0]], [[0, 9.0, 0], [0, 9.0, 0]]]])
    critic.outputs = lambda *_: rows.mT  # heads: (low, high), (middle, middle)
    target = critic.target(torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.zeros(1, 2),
                           torch.ones(1, 2))  # fmt: skip
    assert target[0, 0].argmax() == 0 and target[0, 1].argmax() == 1


def test_groups_are_independent_networks():
    critic = TwinCritic(3, 4, 2, CriticConfig())
    obs, act = torch.randn(3, 5, 4), torch.randn(3, 5, 2)
    alone = critic.values(critic.features(obs[:1]), act[:1])
    assert torch.allclose(critic.values(critic.features(obs), act)[:1], alone, atol=1e-6)
    assert not torch.allclose(critic.values(critic.features(obs), act)[1], alone[0], atol=1e-3)


def test_inheritance_copies_weights_and_calms_the_fresh():
    critic = TwinCritic(4, 3, 1, CriticConfig(hidden=(8,)))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    critic.values(critic.features(torch.ones(4, 2, 3)), torch.ones(4, 2, 1)).sum().backward()
    optimizer.step()
    before = critic.act_weight.detach().clone()
    momentum = optimizer.state[critic.act_weight]["exp_avg"].clone()
    assert momentum[4:6].abs().sum() > 0
    inherit(critic, torch.tensor([0, 2, 2]), torch.tensor([False, False, True]), optimizer)
    assert torch.equal(critic.act_weight[2:4], before[4:6])
    assert torch.equal(critic.act_weight[4:6], before[4:6])
    assert torch.equal(optimizer.state[critic.act_weight]["exp_avg"][2:4], momentum[4:6])
    assert optimizer.state[critic.act_weight]["exp_avg"][4:6].abs().sum() == 0


@pytest.mark.parametrize("predict", ["x0", "eps"])
def test_a_diffusion_policy_learns_two_peaks(predict):
    torch.manual_seed(0)
    policy = DiffusionPolicy(1, 1, DiffusionConfig(steps=20, predict=predict, hidden=(64, 64)))
    optimizer = torch.optim.Adam(policy.parameters(), 2e-3)
    condition = torch.zeros(256, 1)
    for _ in range(1500):
        action = 0.6 * (2 * torch.randint(2, (256, 1)) - 1.0)
        optimizer.zero_grad()
        policy.loss(action, condition).mean().backward()
        optimizer.step()
    with torch.no_grad():
        sample = policy.sample(torch.zeros(1000, 1))
    assert sample.abs().max() <= 1
    near = ((sample.abs() - 0.6).abs() < 0.25).float().mean()
    assert near > 0.7 and 0.3 < (sample > 0).float().mean() < 0.7


def test_a_clamp_leads_back_from_beyond_the_box_and_no_further_out():
    inputs = torch.tensor([-2.0, -2.0, -0.5, 0.5, 2.0, 2.0], requires_grad=True)
    towards = torch.tensor([0.0, -3.0, -3.0, 3.0, 0.0, 3.0])
    clamped = Inward.apply(inputs)
    assert torch.equal(clamped, inputs.clamp(-1, 1))
    (grad,) = torch.autograd.grad((clamped - towards).square().sum(), inputs)
    assert torch.equal(grad, torch.tensor([-2.0, 0.0, 5.0, -5.0, 2.0, 0.0]))


@pytest.mark.parametrize("inward", [False, True])
def test_an_actor_that_has_left_the_box_comes_back_if_so_configured(inward):
    torch.manual_seed(0)
    policy = DiffusionPolicy(1, 1, DiffusionConfig(inward=inward, hidden=(32, 32)))
    last = [layer for layer in policy.trunk if isinstance(layer, torch.nn.Linear)][-1]
    last.bias.data.fill_(5.0)
    optimizer = torch.optim.Adam(policy.parameters(), 1e-2)
    for _ in range(200):
        sample = policy.sample(torch.zeros(32, 1))
        optimizer.zero_grad()
        (sample + 0.5).square().mean().backward()
        optimizer.step()
    assert (sample.mean() < 0) == inward, "a clamp has no gradient beyond"


def test_running_norm_equals_the_whole():
    rows = torch.randn(300, 3) * torch.tensor([1.0, 5.0, 0.1]) + 2
    norm = RunningNorm(3)
    for part in rows.split([7, 193, 100]):
        norm.observe(part)
    assert torch.allclose(norm.mean, rows.mean(0), atol=1e-4)
    assert torch.allclose(norm.var, rows.var(0, correction=0), atol=1e-3)


def test_dtw_of_a_path_with_repeated_points_is_zero_and_ends_tell_apart():
    path = np.cumsum(np.full((40, 2), 0.3), 0)
    same = np.stack([summarize(p, 32, 0.1) for p in (path, path.repeat(3, 0))])
    assert distances(same[:0], same).max() < 1e-9
    longer = np.stack([same[0], same[0] + np.linspace(0, 1, 32)[:, None] ** 8 * 9])
    assert distances(longer[:0], longer)[0, 1] >= np.hypot(9, 9) - 1e-9


def test_incremental_distances_equal_those_from_cold():
    rng = np.random.default_rng(0)
    paths = np.stack([summarize(rng.normal(size=(60, 2)).cumsum(0), 32, 1.0) for _ in range(9)])
    whole = distances(paths[:0], paths)
    assert np.allclose(distances(paths[:6], paths[6:]), whole[6:])
    assert np.allclose(whole, whole.T)


def test_loops_are_erased():
    out = np.stack([np.arange(0, 10, 0.5), np.zeros(20)], 1)
    loop = np.concatenate([out, out[::-1], out])
    assert len(erase_loops(loop, 0.4)) <= len(out) + 1


def test_partition_merges_the_nearest_beyond_the_limit():
    places = np.array([0.0, 0.1, 5.0, 5.1, 9.0])
    matrix = np.abs(places[:, None] - places[None])
    assert len(set(partition(matrix, 1.0, 10))) == 3
    two = partition(matrix, 1.0, 2)
    assert two[2] == two[3] == two[4] and two[0] == two[1] != two[2]


def test_inheritance_of_splits_merges_and_claims():
    # algorithms.md 2.9: all three outcomes, worked by hand
    assert match([{1, 2}, {3, 6}, {4, 5, 7}], [{1, 2, 3}, {4, 5}]) == (
        [0, 0, 1], [False, True, False], [0, -1, 1],
    )  # fmt: skip
    parents, fresh, embeddings = match([{3}, {1, 2}], [{1, 2, 3}, {4, 5}])
    assert (parents, fresh, embeddings) == ([0, 0], [False, True], [-1, 0])
    assert match([{1, 2, 3, 4, 5}], [{1, 2, 3}, {4, 5}])[0] == [0]
    assert match([{9}], [{1}]) == ([-1], [True], [-1])


def play(episodes: Episodes, length: int, ends: str, env: int = 0, at: float = 0.0):
    """Let environment `env` live an episode of `length` steps on a straight line."""
    done = None
    for t in range(length):
        obs = torch.zeros(2, 4)
        obs[env, 0], obs[env, 1] = float(t), at
        after = obs.clone()
        after[env, 0] += 1
        last = t == length - 1
        flag = torch.zeros(2, dtype=torch.bool)
        flag[env] = last
        reward = torch.zeros(2)
        reward[env] = float(last and ends == "success")
        done = episodes.append(Transition(
            obs, torch.zeros(2, 2), reward, after,
            flag & (ends == "success"), flag & (ends == "timeout"), flag & (ends == "success"),
            obs[:, :2], after[:, :2],
        ))  # fmt: skip
        episodes.length[1 - env] = 0  # the other environment does not count here
    assert done is not None and done.tolist() == [env]


def test_n_step_returns_by_hand():
    episodes = Episodes(replace(SPEC), 4, "cpu")
    play(episodes, 3, "success")
    episodes.store(0, 2)
    play(episodes, 5, "timeout")
    episodes.store(0, 3)
    slot, step = torch.tensor([2, 2, 3]), torch.tensor([0, 2, 3])
    reward, after, discount = episodes.n_step(slot, step, 2, 0.5)
    assert reward.tolist() == [0.0, 1.0, 0.0]
    assert discount.tolist() == [0.25, 0.0, 0.25]  # a time limit bootstraps
    assert after[:, 0].tolist() == [2.0, 3.0, 5.0]
    stop = torch.tensor([[False, True], [True, True], [False, False]])
    reward, _, discount = episodes.n_step(slot, step, 2, 0.5, stop)
    assert reward.tolist() == [0.0, 0.0, 0.0] and discount.tolist() == [0.0, 0.0, 0.25]


def test_equal_shares_whatever_the_memory_holds():
    episodes = Episodes(replace(SPEC), 40, "cpu")
    modes = Modes(episodes, ModesConfig(capacity=40, loop_radius=0.1, smallest=1))
    for at in [0.0] * 9 + [50.0]:
        play(episodes, 4, "success", at=at)
        modes.add_episode(0)
    play(episodes, 5, "timeout")
    modes.add_episode(0)
    modes.recluster()
    assert modes.count == 2 and np.bincount(modes.labels).tolist() == [9, 1]
    slot, step = episodes.draw(modes.weights()[0], 64)
    assert slot.shape == step.shape == (2, 64)
    assert set(slot[1].tolist()) == {modes.slots[9]} and len(set(slot[0].tolist())) > 4


@pytest.mark.parametrize(("beyond", "labels"), [("merge", [0, 0, 0, 0, 0, 1]),
                                                ("drop", [0, 0, 0, 1, 1, -1])])  # fmt: skip
def test_beyond_the_limit_clusters_are_merged_or_the_smallest_dropped(beyond, labels):
    episodes = Episodes(replace(SPEC), 40, "cpu")
    modes = Modes(episodes, ModesConfig(loop_radius=0.1, smallest=1, most=2, beyond=beyond))
    for at in (0.0, 0.1, 0.0, 9.0, 9.0, 50.0):
        play(episodes, 4, "success", at=at)
        modes.add_episode(0)
    modes.recluster()
    assert modes.count == 2 and modes.labels.tolist() == labels


@pytest.mark.parametrize("success", [False, True])
def test_steps_in_which_a_failure_is_stuck_are_drawn_as_rarely_as_asked(success):
    episodes = Episodes(replace(SPEC, horizon=100), 8, "cpu", stuck=0.1, near=0.5)
    episodes.allocate()
    walked = torch.linspace(0, 4.0, 21)  # 0.2 m a step: from the 19th on it is near to its end
    episodes.position[0, :21, 0], episodes.position[0, 21:, 0] = walked, 4.0
    episodes.length[0], episodes.success[0] = 100, success
    slot = SPEC.num_envs
    episodes.store(0, slot)
    moving = 100 if success else 18
    assert float(episodes.mass()[slot]) == pytest.approx(moving + 0.1 * (100 - moving))
    weights = torch.zeros(1, episodes.slots)
    weights[0, slot] = 1.0
    _, step = episodes.draw(weights, 200_000)
    often = torch.bincount(step[0], minlength=100).float()
    assert often[:moving].min() > 0.9 * often[:moving].mean()
    if not success:
        assert float(often[18:].mean() / often[:18].mean()) == pytest.approx(0.1, rel=0.05)
    twin = Episodes(episodes.spec, 8, "cpu", stuck=0.1, near=0.5)
    twin.set_extra_state(episodes.get_extra_state())
    assert torch.equal(twin.mass(), episodes.mass()), "which is in no checkpoint"


def test_memory_keeps_the_shortest_of_a_full_mode():
    episodes = Episodes(replace(SPEC), 8, "cpu")
    modes = Modes(episodes, ModesConfig(capacity=8, loop_radius=0.1))
    for length in (5, 4, 3, 2, 3, 3):
        play(episodes, length, "success")
        modes.add_episode(0)
    assert len(modes.slots) == 4
    assert sorted(episodes.length[modes.slots].tolist()) == [2, 3, 3, 3]


def test_memory_grows_once_nothing_explores():
    episodes = Episodes(replace(SPEC), 12, "cpu")
    modes = Modes(episodes, ModesConfig(capacity=8, settled=12, loop_radius=0.1))
    for settled, kept in ((False, 4), (True, 6)):
        if settled:
            modes.settle()
        for end in ("success", "timeout"):
            for _ in range(9):
                play(episodes, 3, end)
                modes.add_episode(0)
        assert len(modes.slots) == len(modes.failures) == kept
        modes.recluster()
        assert len(modes.slots) == kept
    assert len({*modes.slots, *modes.failures}) == 12 and episodes.free_slot() is None


def test_memory_keeps_starts_that_lie_apart():
    gone = set()
    for seed in range(8):
        episodes, rng = Episodes(replace(SPEC), 8, "cpu"), torch.Generator().manual_seed(seed)
        modes = Modes(episodes, ModesConfig(capacity=8, loop_radius=0.1, evict="spread"), rng)
        for at in (0.0, 1.0, 1.25, 2.0, 3.0):
            play(episodes, 3, "success", at=at)
            modes.add_episode(0)
        gone |= {1.0, 1.25} - set(episodes.position[modes.slots, 0, 1].tolist())
        assert {0.0, 2.0, 3.0} < set(episodes.position[modes.slots, 0, 1].tolist())
    assert gone == {1.0, 1.25}, "of two that are near to each other either may go"


@pytest.mark.parametrize("dim", [0, 2])
def test_starts_that_are_all_one_give_way_at_random(dim):
    episodes = Episodes(replace(SPEC, position_dim=dim), 60, "cpu")
    rng = torch.Generator().manual_seed(0)
    modes = Modes(episodes, ModesConfig(capacity=20, discover=False, evict="spread"), rng)
    modes.slots, modes.labels = list(range(10)), np.zeros(10, np.int64)
    episodes.allocate()
    assert {modes.surplus(np.arange(10)) for _ in range(200)} == set(range(10))


def step_of(t, reward, terminated=False, truncated=False):
    """Return the t-th step of two environments; the second is 100 further on and ends never."""
    obs = torch.tensor([[float(t)], [100.0 + t]]).expand(2, 4).clone()
    flags = [torch.tensor([flag, False]) for flag in (terminated, truncated)]
    return Transition(
        obs, torch.zeros(2, 2), torch.tensor([reward, 0.0]), obs + 1, *flags, flags[0],
        obs[:, :2], obs[:, :2] + 1,
    )  # fmt: skip


def test_n_step_returns_of_a_ring_that_has_wrapped():
    replay = Replay(SPEC, 8, "cpu")  # 4 vector steps
    for t, (reward, *ends) in enumerate([
        (1.0,), (2.0,), (4.0, True), (8.0,), (16.0, False, True), (32.0,),
    ]):  # fmt: skip
        replay.add(step_of(t, reward, *ends))
    # the ring holds steps 4, 5, 2, 3 of either environment: rows 0-1, 2-3, 4-5, 6-7
    assert replay.fields["obs"][::2, 0].tolist() == [4, 5, 2, 3]
    reward, bootstrap_obs, discount = replay.n_step(torch.tensor([4, 6, 0, 2, 6 + 1]), 3, 0.5)
    # 2: terminated; 3: goes on over the seam, stopped by the time limit at 4; 4: stopped there;
    # 5: the latest; 3 of the other environment: 3, 4, 5 over the seam
    assert reward.tolist() == [4.0, 8.0 + 8.0, 16.0, 32.0, 0.0]
    assert bootstrap_obs[:, 0].tolist() == [3, 5, 5, 6, 106]
    assert discount.tolist() == [0.0, 0.25, 0.5, 0.5, 0.125]


def test_recent_rows_are_the_latest():
    replay = Replay(SPEC, 8, "cpu")
    for t in range(6):
        replay.add(step_of(t, 0.0))
    drawn = replay.draw(200, torch.Generator().manual_seed(0), recent=2)
    assert set(drawn.tolist()) == {2, 3}
    assert set(replay.draw(500, torch.Generator().manual_seed(0)).tolist()) == set(range(8))


def test_rows_of_successful_episodes_are_drawn_while_they_are_stored():
    replay = Replay(SPEC, 20, "cpu")  # 10 vector steps
    replay.note_successes()
    rng = torch.Generator().manual_seed(0)
    for t in range(4):
        replay.add(step_of(t, 0.0))
    assert set(replay.draw_successes(300, rng).tolist()) == set(range(8)), "none yet: uniform"
    replay.add(step_of(4, 0.0, truncated=True)._replace(success=torch.zeros(2, dtype=torch.bool)))
    for t in range(5, 8):  # of the first environment alone: its rows are the even ones
        replay.add(step_of(t, 1.0, terminated=t == 7))
    assert set(replay.draw_successes(300, rng).tolist()) == {10, 12, 14}
    copy = Replay(SPEC, 20, "cpu")
    copy.note_successes()
    copy.load_state_dict(replay.state_dict())
    for memory in (replay, copy):
        for t in range(8, 16):  # steps 0 to 5 are overwritten, 6 and 7 are not
            memory.add(step_of(t, 0.0))
        assert set(memory.draw_successes(300, rng).tolist()) == {12, 14}
        for t in range(16, 24):
            memory.add(step_of(t, 0.0))
        assert len(memory.successes) == 0, "nothing of it is stored"
        assert len(set(memory.draw_successes(300, rng).tolist())) == 20


def test_the_task_s_labels_sort_successes_where_they_are_the_oracle():
    episodes = Episodes(replace(SPEC), 40, "cpu")
    modes = Modes(episodes, ModesConfig(labels="task", loop_radius=0.1))
    for at, truth in ((0.0, 7), (0.1, 3), (50.0, 7), (50.0, 3), (0.0, 3)):  # no cluster of paths
        play(episodes, 4, "success", at=at)
        modes.add_episode(0, truth)
    modes.recluster()
    assert modes.count == 2 and modes.labels.tolist() == [1, 0, 1, 0, 0], "the larger one is 0"
    play(episodes, 4, "success", at=90.0)
    modes.add_episode(0, 7)
    assert modes.labels[-1] == 1, "it joins at once"
    play(episodes, 4, "success", at=90.0)
    with pytest.raises(ValueError, match="labels of this task are not known"):
        modes.add_episode(0)


def test_without_equal_shares_modes_count_as_often_as_they_succeed():
    for equal, shares, kept in ((True, [1.0, 1.0], [2, 1]), (False, [1.5, 0.5], [3, 1])):
        episodes = Episodes(replace(SPEC), 8, "cpu")
        modes = Modes(episodes, ModesConfig(capacity=8, loop_radius=0.1, smallest=1, equal=equal))
        for at in (0.0, 50.0, 50.0, 0.0, 0.0, 0.0):  # room for four successes
            play(episodes, 4, "success", at=at)
            modes.add_episode(0)
        modes.recluster()
        assert np.bincount(modes.labels).tolist() == kept
        assert modes.shares().tolist() == shares


def test_the_bonus_by_hand(monkeypatch):
    novelty = NovelD(1, 0, NoveltyConfig(coef=0.5, alpha=0.5, normalize=False), warmup=60)
    monkeypatch.setattr(novelty, "novelty", lambda obs, position: obs[..., 0])
    states = torch.tensor([[[2.0], [4.0], [1.0]], [[3.0], [1.0], [1.0]]])  # left, entered
    bonus = novelty.bonus(states, torch.zeros(2, 3, 0))
    assert bonus.tolist() == [[0.5 * (3 - 1), 0.0, 0.5 * (1 - 0.5)]]
    novelty.config.normalize = True  # the mean bonus becomes `coef`
    bonus = novelty.bonus(states, torch.zeros(2, 3, 0))
    assert bonus.mean() == pytest.approx(0.5) and float(novelty.mean) == pytest.approx(2.5 / 3)
    novelty.config.anneal = 100
    novelty.observe(torch.zeros(60, 0))
    assert novelty.bonus(states, torch.zeros(2, 3, 0)).mean() == pytest.approx(0.5), "warm-up"
    novelty.observe(torch.zeros(75, 0))
    assert novelty.bonus(states, torch.zeros(2, 3, 0)).mean() == pytest.approx(0.25 * 0.5)
    novelty.observe(torch.zeros(50, 0))
    assert not novelty.bonus(states, torch.zeros(2, 3, 0)).any(), "annealed"
    novelty.config.schedule = "constant"
    assert novelty.coef == 0, "185 steps, 60 of them before it counts"
    novelty.config.anneal = 126
    assert novelty.coef == 0.5
    novelty.config.anneal, novelty.config.coef = 0, 0.0
    assert not novelty.bonus(states, torch.zeros(2, 3, 0)).any()


@pytest.mark.parametrize("observe", ["all", "position"])
def test_what_is_known_is_less_novel_than_what_is_not(observe):
    torch.manual_seed(0)
    novelty = NovelD(4, 2, NoveltyConfig(observe=observe))
    obs, position = torch.randn(64, 4), torch.rand(64, 2)
    novelty.observe(position)
    before = novelty.novelty(obs, position).mean()
    for _ in range(400):
        novelty.learn(obs, position)
    after = novelty.novelty(obs, position).mean()
    assert after < 0.3 * before < novelty.novelty(obs, position + 3).mean()
    elsewhere = novelty.novelty(obs + 3, position).mean()
    assert (elsewhere > 2 * after) == (observe == "all"), "the place alone is looked at"


def test_where_nothing_is_counted_the_mean_bonus_stays():
    novelty = EpisodicCounts(1, NoveltyConfig(kind="counts", coef=0.5))
    bonus, all_of_it = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    assert torch.allclose(novelty.weighed(bonus, all_of_it), 0.5 * bonus)
    assert not novelty.weighed(bonus, ~all_of_it).any() and novelty.mean == 1


def walk(novelty, places, ends=()):
    """Show one environment's places (x, 0); return what was noted of its steps (T, ...)."""
    no, rows = torch.zeros(1, dtype=torch.bool), []
    at = torch.tensor([[x, 0.0] for x in places])
    for t in range(len(places) - 1):
        step = Transition(
            at[t : t + 1], torch.zeros(1, 1), torch.zeros(1), at[t + 1 : t + 2], no,
            torch.tensor([t in ends]), no, at[t : t + 1], at[t + 1 : t + 2],
        )  # fmt: skip
        rows.append(novelty.note(step, RunningNorm(2)))
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


def test_a_cell_pays_once_an_episode_and_the_less_the_oftener_it_was_seen():
    config = NoveltyConfig(kind="counts", coef=0.5, normalize=False, cell=1.0)
    novelty = EpisodicCounts(1, config)
    to_and_fro = walk(novelty, [0.1, 0.9, 1.1, 0.9, 1.1, 2.5], ends=[4])
    assert to_and_fro["first"].tolist() == [False, True, False, False, True]
    again = walk(novelty, [0.1, 1.1, 1.1])
    assert again["first"].tolist() == [True, False], "a new episode, whose first cell does not pay"
    fields = {key: torch.cat([to_and_fro[key], again[key]]) for key in again}
    rows = torch.tensor([[1, 4, 5], [2, 4, 6]])
    counted = torch.tensor([[True, True, True], [True, False, True]])
    bonus = novelty.of_rows(fields, RunningNorm(2), rows, counted)
    # Four steps ended in the cell from 1 m on, one in that from 2 m on.
    torch.testing.assert_close(bonus, torch.tensor([[0.25, 0.5, 0.25], [0.0, 0.0, 0.0]]))
    novelty.config.normalize = True
    bonus = novelty.of_rows(fields, RunningNorm(2), rows, counted)
    assert bonus.sum() / counted.sum() == pytest.approx(0.5), "the mean over the steps there are"


def test_cells_of_an_arena_share_no_bucket():
    novelty = EpisodicCounts(1, NoveltyConfig(kind="counts", cell=0.5))
    line = 0.25 + 0.5 * torch.arange(-40, 40)
    cells = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)
    assert novelty.bucket(cells).unique().numel() == 80 * 80


def test_rows_of_rarely_visited_cells_are_drawn_as_often_as_others_while_there_is_a_bonus():
    rng, no = torch.Generator().manual_seed(0), torch.zeros(2, dtype=torch.bool)
    config = NoveltyConfig(kind="counts", cell=1.0, rare=0.5, anneal=4000, schedule="constant")
    novelty, replay = EpisodicCounts(2, config), Replay(SPEC, 4000, "cpu")
    for t in range(2000):  # 40 of 4000 steps end in a cell of their own
        at = torch.full((2, 2), 5.5 if t % 100 == 0 else 0.5)
        obs, action = torch.zeros(2, SPEC.obs_dim), torch.zeros(2, SPEC.act_dim)
        step = Transition(obs, action, torch.zeros(2), obs, no, no, no, at, at)
        replay.add(step, **novelty.note(step, RunningNorm(2)))
        novelty.observe(at)

    def share_of_rare():
        index = novelty.draw(replay, 200, rng)
        assert index.shape == (200,) and index.max() < 4000
        return float((replay.fields["position"][index, 0] > 1).float().mean())

    ended = [share_of_rare() for _ in range(50)]
    assert np.mean(ended) == pytest.approx(0.01, abs=0.006), "the bonus has ended: uniform rows"
    novelty.steps = 0
    drawn = [share_of_rare() for _ in range(50)]
    # 16 of the 1,600 rows that compete are of the rare cell. Were each drawn again and again, they
    # would be half of the share, 0.25 of all; each once, 16 of 200 at most, but for the uniform 1.
    assert 0.06 < np.mean(drawn) < 0.09, drawn


def test_rows_that_led_to_a_row_are_of_its_episode_and_equally_likely():
    replay, rng = Replay(SPEC, 20, "cpu"), torch.Generator().manual_seed(0)
    lengths, begun, kept = (3, 5), [0, 0], {}
    for t in range(13):  # the latest ten are kept, from the middle of an episode on
        ended = [(t + 1) % length == 0 for length in lengths]
        obs, action, no = torch.zeros(2, 4), torch.zeros(2, 2), torch.zeros(2, dtype=torch.bool)
        step = Transition(obs, action, torch.tensor([t, t + 100.0]), obs, no, torch.tensor(ended),
                          no, obs[:, :2], obs[:, :2])  # fmt: skip
        replay.add(step)
        for env in (0, 1):
            kept[t + 100.0 * env] = [s + 100.0 * env for s in range(max(begun[env], 3), t + 1)]
            begun[env] = t + 1 if ended[env] else begun[env]
    many = torch.arange(20).repeat_interleave(600)
    times = replay.fields["reward"][replay.before(many, rng)].view(20, 600)
    for row, drawn in zip(replay.fields["reward"].tolist(), times, strict=True):
        found, count = drawn.unique(return_counts=True)
        assert found.tolist() == kept[row]
        assert count.min() > 600 / len(found) - 60, "each as often, but for chance"


@pytest.mark.parametrize("leading", [0.0, 0.5, 1.0])
def test_the_rarest_rows_give_way_to_what_led_there(leading):
    rng, no = torch.Generator().manual_seed(0), torch.zeros(2, dtype=torch.bool)
    config = NoveltyConfig(kind="counts", cell=1.0, rare=1.0, leading=leading)
    novelty, replay = EpisodicCounts(2, config), Replay(SPEC, 400, "cpu")
    for t in range(200):  # the first of forty episodes goes to a cell of its own by its last step
        last = torch.full((2,), t % 5 == 4)
        at, to = torch.full((2, 2), 0.5), torch.full((2, 2), 5.5 if t == 4 else 0.5)
        obs, action = torch.zeros(2, SPEC.obs_dim), torch.zeros(2, SPEC.act_dim)
        step = Transition(obs, action, torch.zeros(2), obs, no, last, no, at, to)
        replay.add(step, **novelty.note(step, RunningNorm(2)))
    index = torch.cat([novelty.draw(replay, 100, rng) for _ in range(200)])
    first = index[index < 10] // 2  # steps of that episode: 8 of 100 rows, and 2 by chance
    assert len(first) / len(index) == pytest.approx(0.1, abs=0.02)
    share = torch.bincount(first, minlength=5) / len(first)
    assert float(share[4]) == pytest.approx(0.8 if leading == 0 else 0.2, abs=0.06)
    assert share[:4].min() > (0.02 if leading == 0 else 0.15), share


def test_random_exploration_holds_warms_up_and_shares():
    rng = torch.Generator().manual_seed(0)
    config = ExplorationConfig(warmup=300 * 50, hold=5.0, share=0.25)
    exploration = RandomExploration(50, 2, config)
    policy, kept, drawn = torch.full((50, 2), 7.0), 0, []
    for _ in range(300):
        assert exploration.warming_up
        before = exploration.held.clone()
        action = exploration.replace(policy, rng)
        assert action.abs().max() <= 1, "all environments act at random"
        kept += int((action == before).all(1).sum())
        drawn.append(action)
        exploration.observe(torch.ones(50, dtype=torch.bool), rng)
    assert not exploration.warming_up
    assert 1 / (1 - kept / 15_000) == pytest.approx(5, rel=0.1), "actions are held for 5 steps"
    assert torch.stack(drawn).mean().abs() < 0.05 and torch.stack(drawn).std() > 0.5
    shares = []
    for _ in range(200):
        exploration.observe(torch.ones(50, dtype=torch.bool), rng)
        shares.append(float((exploration.replace(policy, rng) != 7).all(1).float().mean()))
    assert np.mean(shares) == pytest.approx(0.25, abs=0.02)
    chosen = exploration.random.clone()
    exploration.observe(torch.zeros(50, dtype=torch.bool), rng)
    assert torch.equal(exploration.random, chosen), "who explores changes between episodes alone"


def test_a_mode_is_dropped_at_the_second_request_for_itself(monkeypatch):
    episodes = Episodes(replace(SPEC), 40, "cpu")
    modes = Modes(episodes, ModesConfig(loop_radius=0.1, smallest=1))
    for at in (0.0, 0.0, 20.0, 20.0, 50.0, 50.0):
        play(episodes, 4, "success", at=at)
        modes.add_episode(0)
    modes.recluster()
    assert modes.count == 3
    known = modes.labels.copy()
    merged = [1, 2, 2]  # into mode 0, at each reclustering
    monkeypatch.setattr(
        modes_module, "partition", lambda *_: np.where(known == merged.pop(0), 0, known)
    )
    assert modes.recluster() is None and modes.count == 3, "the first request"
    assert modes.recluster() is None and modes.count == 3, "another mode's: it is the first too"
    inheritance = modes.recluster()
    assert inheritance is not None and modes.count == 2
