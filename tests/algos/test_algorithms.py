"""DDiffPG in a world where every fourth episode succeeds, and what all algorithms must prove
beside the contract (tests/bench/test_testing.py)."""

import copy
from dataclasses import replace

import pytest
import torch

import bench.algos
from bench import testing
from bench.algos.common.exploration import ExplorationConfig
from bench.algos.common.novelty import EpisodicCounts, NovelD, NoveltyConfig
from bench.algos.ddiffpg.explorer import ExplorerConfig
from bench.algos.ddiffpg.modes import Inheritance
from bench.algos.dsac_d import ReturnCritic
from bench.api import Spec, Transition
from bench.configuration import resolve, understand
from bench.policy import Policy

bench.algos.discover()
LEARNERS = sorted(n for n, e in bench.algos.registry.items() if e.info["data"] != "none")
SPEC = Spec(obs_dim=4, act_dim=2, num_envs=4, horizon=10, position_dim=2, max_return=10.0,
            seed=0)  # fmt: skip


def build(name, warmup=80, **modes):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    config = entry.config()
    config.exploration.warmup = warmup
    config.batch = 32
    for key, value in modes.items():
        setattr(config.modes, key, value)
    return entry.factory(SPEC, config, "cpu")


def live(algo, steps):
    """Let it act on a line where every fourth episode succeeds; return the last scalars."""
    obs, scalars = torch.zeros(4, 4), {}
    for t in range(steps):
        action = algo.act(obs, explore=True)
        after = obs.clone()
        after[:, :2] += 0.4 * action
        last = torch.full((4,), t % 10 == 9)
        success = last & (torch.arange(4) == t // 10 % 4)
        algo.observe(Transition(obs, action, 10.0 * success, after, success, last & ~success,
                                success, obs[:, :2], after[:, :2]))  # fmt: skip
        scalars = algo.update() or scalars
        obs = torch.where(last[:, None], torch.zeros(4, 4), after)
    return scalars


@pytest.mark.parametrize("warmup", [16, 80])  # before an episode has ended, and after
def test_without_discovery_one_mode_holds_every_episode(warmup):
    algo = build("ddiffpg", warmup, discover=False)
    live(algo, 60)
    assert algo.num_modes == 1
    held = algo.modes.weights().sum((0, 1)) > 0
    assert held.nonzero().flatten().tolist() == sorted(algo.modes.slots + algo.modes.failures)


@pytest.mark.parametrize("name", [
    n for n in LEARNERS if bench.algos.registry[n].info["data"] == "off-policy" and n != "ddiffpg"
])  # fmt: skip
def test_half_of_a_batch_may_come_from_successes(name):
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    config = entry.config()
    config.exploration.warmup, config.batch, config.success_share = 80, 32, 0.5
    algo = entry.factory(SPEC, config, "cpu")
    live(algo, 60)
    reached = torch.stack([algo.sample()["n_step_reward"] for _ in range(20)])
    assert (reached[:, 16:] > 0.5).float().mean() > 0.9, "ten-step returns of ten-step successes"
    assert (reached[:, :16] > 0.5).float().mean() < 0.5, "one episode in four succeeds"
    config.success_share = 1.5
    with pytest.raises(ValueError, match=r"success_share=1\.5: valid are numbers in"):
        config.__post_init__()


def test_the_batch_is_shared_as_modes_succeed_where_shares_are_not_equal(monkeypatch):
    algo = build("ddiffpg", equal=False)
    live(algo, 60)
    assert algo.num_modes == 1
    batch = algo.for_actor(algo.sample())
    rows = batch["action"].shape[1]
    losses, real = torch.tensor([1.0, 10.0]).repeat_interleave(rows), algo.actor.loss
    monkeypatch.setattr(algo.modes, "shares", lambda: torch.tensor([3.0]))
    monkeypatch.setattr(algo.actor, "loss", lambda *given: 0 * real(*given) + losses)
    assert float(algo.learn_actor(batch, batch["action"])) == pytest.approx((1 + 3 * 10) / 2)


def test_a_mode_that_has_lost_its_successes_still_learns():
    algo = build("ddiffpg", equal=False)
    live(algo, 60)
    algo.modes.labels = torch.zeros(len(algo.modes.slots), dtype=torch.int64).numpy()
    algo.modes.count = algo.num_modes = 2  # none is left of the second
    algo.mode_rows.changed()
    assert algo.modes.shares().tolist() == [2, 0]
    assert torch.equal(*algo.modes.tubes())
    assert all(torch.as_tensor(value).isfinite() for value in algo.learn().values())


def test_successes_of_other_modes_train_the_q_function_and_not_the_actor():
    algo = build("ddiffpg")
    live(algo, 60)
    algo.modes.labels = torch.arange(len(algo.modes.slots)).numpy() % 2  # two modes by decree
    algo.modes.count = algo.num_modes = 2
    algo.mode_rows.changed()
    batch = algo.sample()
    labels = torch.full((algo.episodes.slots,), -1)
    labels[algo.modes.slots] = torch.from_numpy(algo.modes.labels)
    mine = torch.arange(2)[:, None]
    drawn = labels[batch["slot"]]
    assert ((drawn >= 0) & (drawn != mine)).any(1).all()
    kept = algo.for_actor(batch)
    drawn = labels[kept["slot"]]
    assert ((drawn < 0) | (drawn == mine)).all() and (drawn == mine).any(1).all()
    assert {k: v.shape[v.dim() > 1] for k, v in kept.items()} == dict.fromkeys(kept, 8)


def test_failures_teach_the_actor_until_a_mode_has_many_successes(monkeypatch):
    algo = build("ddiffpg")
    live(algo, 60)
    algo.modes.labels = (torch.arange(len(algo.modes.slots)).numpy() > 0).astype(int)
    algo.modes.count = algo.num_modes = 2  # the first has one success, the second all others
    algo.mode_rows.changed()
    batch = algo.for_actor(algo.sample())
    success = batch["success"]
    assert success[1:].any(1).all() and not success[1:].all(1).any() and not success[0].any()
    algo.config.established = 2
    weights = algo.lessons(success)
    assert (weights[:2] == 1).all(), "what explores, and a mode of few successes"
    assert (weights[2][~success[2]] == 0).all() and (weights[2][success[2]] > 1).all()
    torch.testing.assert_close(weights.mean(1), torch.ones(3))
    rows = success.shape[1]
    losses, real = torch.ones(3, rows), algo.actor.loss
    losses[2][~success[2]] = 100.0
    monkeypatch.setattr(algo.actor, "loss", lambda *given: 0 * real(*given) + losses.flatten())
    assert float(algo.learn_actor(batch, batch["action"])) == pytest.approx(1)


def test_a_mixture_of_episodes_begins_modes_of_long_ones_as_often(monkeypatch):
    algo = build("ddiffpg")
    live(algo, 60)
    algo.modes.labels = torch.arange(len(algo.modes.slots)).numpy() % 2  # two modes by decree
    algo.modes.count = algo.num_modes = 2
    for slot, mode in zip(algo.modes.slots, algo.modes.labels, strict=True):
        algo.episodes.length[slot] = algo.episodes.moving[slot] = (4, 12)[mode]
    algo.mode_rows.changed()
    batch = algo.for_actor(algo.sample())
    success = batch["success"]
    assert algo.lengths().tolist() == [1, 0.5, 1.5]
    losses, real = torch.ones(success.numel()), algo.actor.loss
    monkeypatch.setattr(algo.actor, "loss", lambda *given: 0 * real(*given) + losses)
    algo.config.mask, algo.config.mixture = 1.0, "episodes"  # a mode's successes, and no failures
    losses.view_as(success)[1] = 10.0
    mean = (10 * torch.where(success[1], 0.5, 1)).sum() + torch.where(success[2], 1.5, 1).sum()
    expected = (mean + success.shape[1]) / success.numel()  # what explores counts as before
    assert float(algo.learn_actor(batch, batch["action"])) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_side_by_side_learn_as_alone(name):
    """Everything random in training is the learner's own: two live in one process."""
    entry = bench.algos.registry[name]

    def learner(seed):
        torch.manual_seed(seed)
        config = entry.config(batch=16)
        return entry.factory(replace(testing.SPEC, seed=seed), config, "cpu")

    def policy(algo):
        torch.manual_seed(9)
        return algo.act(torch.ones(5, testing.SPEC.obs_dim))

    alone = []
    for seed in (0, 1):
        algo = learner(seed)
        for part in range(4):
            testing.feed(algo, 10, seed=part)
        alone.append(policy(algo))
    assert not torch.equal(*alone), "the seed changes nothing"
    together = [learner(seed) for seed in (0, 1)]
    for part in range(4):
        for algo in together:
            torch.rand(7)  # somebody else draws from torch's generator
            testing.feed(algo, 10, seed=part)
    assert all(map(torch.equal, alone, map(policy, together)))


def test_the_papers_path_learns_too():
    """Stored targets, failures of the nearest mode, random eviction, inheritance."""
    (settings,) = (
        resolve(request.overrides(*c))
        for request in [understand(["algo=ddiffpg", "task=pointmaze-v1", "preset=paper"])]
        for c in request.combinations()
    )
    config = settings.algo
    assert (config.target_start, config.modes.failures, config.modes.evict) == (
        "stored", "nearest", "random",
    )  # fmt: skip
    config.exploration.warmup, config.batch, config.actor.hidden = 80, 60, [32]
    config.critic.hidden, config.modes.capacity, config.modes.every = [32], 12, 10
    config.updates, config.novelty.batch, config.novelty.hidden = 1, 32, [32]
    torch.manual_seed(0)
    algo = bench.algos.registry["ddiffpg"].factory(testing.SPEC, config, "cpu")
    testing.feed(algo, 40, seed=1)
    before = algo.episodes.target.clone()
    scalars, modes = {}, set()
    for part in range(6):
        testing.feed(algo, 20, seed=2 + part)
        scalars = algo.update()
        modes.add(algo.num_modes)
    assert max(modes) >= 2 and all(torch.isfinite(torch.as_tensor(v)) for v in scalars.values())
    assert not torch.equal(before, algo.episodes.target), "targets are improved and written back"
    assert len(algo.modes.slots) <= 6 and len(algo.modes.failures) <= 6
    assert set(algo.modes.failure_labels) <= set(range(algo.num_modes))
    twin = bench.algos.registry["ddiffpg"].factory(testing.SPEC, config, "cpu")
    twin.load_state_dict(copy.deepcopy(algo.state_dict()))
    for one in (algo, twin):
        testing.feed(one, 12, seed=30)
    assert torch.equal(algo.episodes.target, twin.episodes.target)


def test_what_explores_takes_the_bonus_of_n_steps_and_looks_beyond_a_success():
    entry = bench.algos.registry["ddiffpg"]
    config = entry.config(gamma=0.5, explorer=ExplorerConfig(n_step=3), normalize=False)
    algo = entry.factory(testing.SPEC, config, "cpu")
    testing.feed(algo, 3 * testing.SPEC.horizon, seed=1)  # successes at every tenth step
    fields, envs = algo.replay.fields, testing.SPEC.num_envs
    row = torch.arange(7 * envs, 8 * envs)  # from the eighth step on all three are there
    for rows, sums, last in ((row, 0.1 + 0.05 + 0.025, 2), (row + envs, 0.15, 1)):
        reward, after, discount = algo.explorer.returns(
            algo.replay, rows, 0.5, lambda _, counted: 0.1 * counted
        )
        torch.testing.assert_close(reward, torch.full((envs,), sums))
        final = rows + last * envs
        won = fields["terminated"][final]
        assert won.any() and not won.all()
        assert torch.equal(after, fields["next_obs"][final])
        assert torch.equal(discount, torch.full((envs,), 0.5 ** (last + 1)))


def test_a_mode_with_many_successes_is_refined_by_small_steps():
    algo = build("ddiffpg")
    live(algo, 60)
    algo.modes.labels = (torch.arange(len(algo.modes.slots)).numpy() > 0).astype(int)
    algo.modes.count = algo.num_modes = 2  # the first has one success, the second all others
    algo.mode_rows.changed()
    algo.config.target_start = "anchored"
    batch = algo.for_actor(algo.sample())
    batch["success"] = torch.ones_like(batch["success"])  # ascent begins at the stored actions
    batch["action"] = 0.1 * batch["action"]  # far from the box's sides

    def moved():
        target, _ = algo.improve(batch)
        return (target - batch["action"]).abs().amax((1, 2))

    algo.config.established = 2
    as_others = moved()
    assert (as_others > 0.2).all(), "five steps of 0.1"
    algo.config.refine_lr = 0.01
    refined = moved()
    torch.testing.assert_close(refined[:2], as_others[:2])
    assert 0 < refined[2] < 0.06
    algo.config.established = 0
    torch.testing.assert_close(moved(), as_others)
    with pytest.raises(ValueError, match=r"refine_lr=0\.01: needs established above 0"):
        algo.config.__post_init__()


@pytest.mark.parametrize("start", ["anchored", "stored"])
def test_once_nothing_explores_the_modes_have_the_whole_batch(start):
    entry = bench.algos.registry["ddiffpg"]
    config = entry.config(
        batch=60, explorer=ExplorerConfig(until=480), target_start=start,
        exploration=ExplorationConfig(warmup=80),
    )  # fmt: skip
    config.modes.every, config.modes.settled = 10, 500
    torch.manual_seed(0)
    algo = entry.factory(testing.SPEC, config, "cpu")
    testing.feed(algo, 50, seed=1)  # of 8 environments
    assert algo.num_modes == 2 and algo.sample()["action"].shape[:2] == (3, 20)
    assert algo.value_names == ("exploration", "mode 0", "mode 1")
    obs, action = torch.randn(5, 4), torch.randn(5, 2).clamp(-1, 1)

    def state(lead):
        """What belongs to the modes' Q-functions: values, targets' values and Adam's averages."""
        rows, acts = (one.expand(lead + 2, -1, -1) for one in (obs, action))
        values = [
            q.values(q.features(rows), acts)[lead:] for q in (algo.critic, algo.target_critic)
        ]
        adam = [one["exp_avg"][2 * lead : 2 * lead + 4] for one in algo.critic_opt.state.values()]
        return [value.detach().clone() for value in values + adam]

    before, explored = state(1), state(0)[0][0]
    algo.end_exploring()
    assert algo.lead == 1, "400 env steps: too early"
    algo.exploration.steps = 480
    algo.end_exploring()
    after = state(0)
    torch.testing.assert_close(before, after)
    batch = algo.sample()
    assert batch["action"].shape[:2] == (2, 30) and "index" not in batch
    torch.testing.assert_close(batch["embedding"][:, 0], algo.embeddings[1:3])
    assert algo.value_names == ("mode 0", "mode 1") and len(algo.values(obs)) == 2
    algo.config.established = 1
    assert torch.isfinite(torch.as_tensor(list(algo.learn().values()))).all()
    assert not any(map(torch.equal, after[:2], state(0)[:2])), "they go on learning"
    twin = entry.factory(testing.SPEC, config, "cpu")
    twin.load_state_dict(copy.deepcopy(algo.state_dict()))
    for one in (algo, twin):  # modes are found anew on the way
        torch.manual_seed(2)
        testing.feed(one, 20, seed=3)
    assert not algo.role.eq(0).any() and algo.lead == 0
    assert algo.modes.capacity == twin.modes.capacity == 500
    assert all(torch.equal(one, other) for one, other in zip(
        algo.critic.parameters(), twin.critic.parameters(), strict=True))  # fmt: skip
    algo.adopt(Inheritance([0, -1], fresh=[False, True], embeddings=[0, -1]))
    torch.testing.assert_close(state(0)[0][1], explored, msg="a mode like no earlier one")


@pytest.mark.parametrize("kept", [True, False])
def test_what_explored_in_vain_is_no_failure_of_a_mode_by_choice(kept):
    entry = bench.algos.registry["ddiffpg"]
    explorer = ExplorerConfig(failures=kept)
    config = entry.config(explorer=explorer, exploration=ExplorationConfig(warmup=10_000))
    algo = entry.factory(testing.SPEC, config, "cpu")  # it learns nothing, and keeps its modes
    testing.feed(algo, testing.SPEC.horizon, seed=1)
    before = len(algo.modes.failures) + len(algo.modes.slots)
    assert before == testing.SPEC.num_envs, "all are kept while no mode is known"
    successes = len(algo.modes.slots)
    algo.num_modes = 1
    algo.role[:] = torch.tensor([0, 1, 0, -1, 0, 1, 0, -1])
    exploring = algo.role == 0
    vain = []
    original = algo.set_aside
    algo.set_aside = lambda ended: vain.append(~algo.episodes.success[ended]) or original(ended)
    testing.feed(algo, testing.SPEC.horizon, seed=2)
    (lost,) = (found for found in vain if len(found))
    assert (lost & exploring).any() and (lost & ~exploring).any()
    stored = len(algo.modes.failures) + len(algo.modes.slots) - before
    assert stored == testing.SPEC.num_envs - (0 if kept else int((lost & exploring).sum()))
    assert len(algo.modes.slots) - successes == int((~lost).sum()), "successes always count"
    assert not algo.episodes.length[: testing.SPEC.num_envs].any(), "every episode begins anew"


@pytest.mark.parametrize(
    ("name", "more"),
    [*((name, {}) for name in LEARNERS), ("ddiffpg", {"explorer": ExplorerConfig(n_step=10)})],
)
def test_a_step_of_bonus_is_worth_the_same_to_every_learner(name, more, monkeypatch):
    """With a constant bonus b and no reward the value is b / (1 - gamma), whatever n is."""
    bonus, gamma = 0.02, 0.9

    def constant(self, novelty, counted=None):
        steps = torch.full_like(novelty[1:], bonus)
        return steps if counted is None else steps * counted

    monkeypatch.setattr(NovelD, "between", constant)
    torch.manual_seed(0)
    entry = bench.algos.registry[name]
    config = entry.config(batch=64, gamma=gamma, normalize=False, **more)
    algo = entry.factory(replace(testing.SPEC, horizon=50), config, "cpu")
    with torch.no_grad():  # a critic that knows the value is its own target
        value = bonus / (1 - gamma)
        known = believe(algo, value)
    obs = torch.randn(8, testing.SPEC.obs_dim)
    no = torch.zeros(8, dtype=torch.bool)
    targets = []
    known(targets)
    for _ in range(getattr(config, "rollout", 30)):
        action = algo.act(obs, explore=True)
        algo.observe(Transition(obs, action, torch.zeros(8), obs, no, no, no, obs[:, :2],
                                obs[:, :2]))  # fmt: skip
    algo.update()
    assert targets, "nothing was learned"
    for target in targets:
        assert torch.allclose(target, torch.tensor(value), atol=2e-3), target


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_with_a_replay_draws_the_rows_of_its_bonus_by_rarity(name, monkeypatch):
    entry, asked = bench.algos.registry[name], []
    draw = EpisodicCounts.draw

    def spy(self, replay, count, rng):
        asked.append(count)
        return draw(self, replay, count, rng)

    monkeypatch.setattr(EpisodicCounts, "draw", spy)
    novelty = NoveltyConfig(kind="counts", rare=0.5)
    given = {"exploration": ExplorationConfig(warmup=80), "novelty": novelty, "batch": 64}
    algo = entry.factory(testing.SPEC, entry.config(**given), "cpu")
    testing.feed(algo, 20, seed=2)
    assert bool(asked) == hasattr(algo, "replay")


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_takes_counts_of_visits_for_its_bonus(name):
    entry = bench.algos.registry[name]
    exploration, novelty = ExplorationConfig(warmup=80), NoveltyConfig(kind="counts")
    given = {"exploration": exploration, "novelty": novelty, "batch": 64}
    testing.check_algorithm(name, given)
    algo = entry.factory(testing.SPEC, entry.config(**given), "cpu")
    testing.feed(algo, 60, seed=2)
    assert algo.novelty.mean > 0, "no bonus was asked for"
    with pytest.raises(ValueError, match=r"novelty\.kind=counts"):
        entry.factory(replace(testing.SPEC, position_dim=0), entry.config(**given), "cpu")


def believe(algo, value):
    """Give an algorithm's critics a value; return what collects the values that they learn."""
    if hasattr(algo, "target_critic"):
        critic = algo.target_critic
        if isinstance(critic, ReturnCritic):
            return drawing(critic, value)
        width = critic.support[1] - critic.support[0]
        place = (value - critic.support[0]) / width
        low = int(place)
        last = critic.layers[-1]
        last.weight.zero_()
        last.bias.fill_(-40.0)
        last.bias[..., low] = torch.log(1 - (place - low) + 1e-12)
        last.bias[..., low + 1] = torch.log(place - low + 1e-12)
        original = critic.target

        def collect(targets):
            def target(*inputs):
                found = original(*inputs)
                targets.append(found @ critic.support)
                return found

            critic.target = target

        return collect
    torch.nn.init.zeros_(algo.value[-1].weight)
    torch.nn.init.constant_(algo.value[-1].bias, value)

    def collect(targets):
        algo.step = lambda rows: targets.append(rows["return"]) or {}

    return collect


def drawing(critic, value):
    """Let a critic that draws returns draw one; return what collects its targets."""
    place, original = (value - critic.middle) / critic.reach, critic.target
    for head in critic.heads:
        head.sample = lambda condition, rng: condition.new_full((len(condition), 1), place)

    def collect(targets):
        critic.target = lambda *inputs: targets.append(original(*inputs)) or targets[-1]

    return collect


@pytest.mark.parametrize("name", sorted(bench.algos.discover()))
def test_a_policy_refuses_one_observation_for_a_batch(name):
    entry = bench.algos.registry[name]
    policy = Policy(entry.factory(testing.SPEC, entry.config(), "cpu"), "cpu", testing.SPEC.obs_dim)
    for shape in ((4,), (1, 3), (2, 1, 4)):
        with pytest.raises(ValueError, match=r"observations have shape \(.*\); valid is \(N, 4\)"):
            policy.act(torch.zeros(shape))
    assert policy.act(torch.zeros(3, 4)).shape == (3, 2)
