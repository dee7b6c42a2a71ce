"""What explores is told which ways are known: those it has followed lead to nothing new."""

import pytest
import torch

import bench.algos
from bench import testing
from bench.algos.common.exploration import ExplorationConfig
from bench.algos.common.novelty import NoveltyConfig
from bench.algos.ddiffpg.explorer import ExplorerConfig
from bench.algos.ddiffpg.modes import ModesConfig
from bench.algos.ddiffpg.ways import KnownWays
from bench.api import Spec, Transition

bench.algos.discover()
SPEC = Spec(obs_dim=4, act_dim=2, num_envs=3, horizon=20, position_dim=2, max_return=1.0, seed=0)
RING = torch.tensor([[2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [-2.0, 2.0], [-2.0, 0.0]])


class RingModes:
    """One mode, which goes from (2, -2) counterclockwise to (-2, 0), in as many points as RING."""

    class config:  # noqa: N801
        points = 5

    def tubes(self):
        """Return its shortest path and a longer one, (1, 2 x L, P)."""
        return torch.cat([RING, 1.5 * RING])[None]


class RunningEpisodes:
    """Memory of episodes that have just begun."""

    def __init__(self, paths, length):
        self.position, self.length = paths, length


def walk(ways, paths):
    """Let three episodes walk paths (3, T + 1, 2) to their ends; return what is said, (T, 3)."""
    said = []
    for t in range(paths.shape[1] - 1):
        last = torch.full((3,), t == paths.shape[1] - 2)
        nothing, none = torch.zeros(3, 4), torch.zeros(3, dtype=torch.bool)
        said.append(ways.note(Transition(
            nothing, nothing[:, :2], torch.zeros(3), nothing, last, none, none, paths[:, t],
            paths[:, t + 1],
        )))  # fmt: skip
    return torch.stack(said)


def known():
    ways = KnownWays(SPEC, most=4, radius=0.5, points=10)
    ways.adopt(
        RingModes(), RunningEpisodes(torch.zeros(3, 21, 2), torch.zeros(3, dtype=torch.int64))
    )
    return ways


def paths():
    """Return three paths to (-2, 0) and one step on: along the ring, and twice from elsewhere."""
    beyond = torch.tensor([[-2.0, -1.0]])
    along = torch.cat([RING, beyond])
    straight = torch.stack([torch.linspace(2, -2, 5), torch.zeros(5)], 1)
    below = RING * torch.tensor([1.0, -1.0])
    return torch.stack([along, torch.cat([straight, beyond]), torch.cat([below, beyond])])


def test_only_who_came_by_a_known_way_has_followed_it():
    ways = known()
    said = walk(ways, paths())
    assert said[:, 0].tolist() == [False, False, False, True, True], "from its end on"
    assert not said[:, 1:].any(), "others reach the same end"
    assert not walk(ways, paths().roll(1, 0))[:, 0].any(), "a new episode has been nowhere yet"


def test_what_running_episodes_have_passed_is_found_out_when_modes_change():
    ways = known()
    at = torch.zeros(3, 21, 2)
    at[:, :6] = paths()
    ways.adopt(RingModes(), RunningEpisodes(at, torch.tensor([3, 3, 3])))
    assert ways.passed[0, 0].tolist() == [True, True, True, False], "its last step is to come"
    assert not ways.passed[:, 1:].any(), "nobody is near to modes that there are not"
    one = walk(ways, torch.stack([at[:, 3], at[:, 4]], 1))
    assert one.tolist() == [[True, False, False]]


def test_only_new_ways_are_worth_something_to_what_explores():
    entry = bench.algos.registry["ddiffpg"]
    config = entry.config(
        gamma=0.5, explorer=ExplorerConfig(n_step=3, beyond="new", reward=0.5, scale=2.0),
        exploration=ExplorationConfig(warmup=10_000), novelty=NoveltyConfig(coef=1.0),
    )  # fmt: skip
    algo = entry.factory(testing.SPEC, config, "cpu")
    testing.feed(algo, testing.SPEC.horizon, seed=1)
    envs, fields = testing.SPEC.num_envs, algo.replay.fields
    end = slice(9 * envs, 10 * envs)
    won = fields["terminated"][end].clone()
    assert won.any() and not won.all() and not fields["followed"].any()

    def returns():
        rows = torch.arange(7 * envs, 8 * envs)
        return algo.explorer.returns(algo.replay, rows, 0.5, lambda _, counted: 0.1 * counted)

    reward, _, discount = returns()
    bonus = 0.2 * (1 + 0.5 + 0.25)
    torch.testing.assert_close(reward, bonus + 0.5 * 0.25 * won)
    torch.testing.assert_close(discount, 0.125 * ~won)
    fields["followed"][8 * envs : 10 * envs] = True  # from the second of the three steps on
    reward, _, discount = returns()
    torch.testing.assert_close(reward, torch.full((envs,), 0.2))
    assert not discount.any()


def test_the_ground_of_a_known_way_is_all_but_its_end():
    at = torch.tensor([[2.0, 1.0], [2.0, 2.4], [0.0, 2.0], [-2.0, 1.6], [-2.0, 0.4], [0.0, 0.0]])
    assert known().elsewhere(at).tolist() == [True, False, False, False, True, True], "nearer 0.5"
    assert not known().elsewhere(1.5 * RING[2]), "on the longer path"
    assert known().elsewhere(RING[-1]), "another way may lead to its end"
    unknown = KnownWays(SPEC, most=4, radius=0.5, points=10)
    assert unknown.elsewhere(at[None]).all() and unknown.elsewhere(at[None]).shape == (1, 6)
    unknown.load_state_dict(known().state_dict())
    assert unknown.elsewhere(at).tolist() == known().elsewhere(at).tolist()


@pytest.mark.parametrize("away", [False, True])
def test_away_from_known_ways_alone_a_bonus_is_paid(away):
    entry = bench.algos.registry["ddiffpg"]
    config = entry.config(
        explorer=ExplorerConfig(n_step=2, beyond="new", away=away), novelty=NoveltyConfig(coef=1.0),
        exploration=ExplorationConfig(warmup=10_000),
    )  # fmt: skip
    algo = entry.factory(testing.SPEC, config, "cpu")
    testing.feed(algo, testing.SPEC.horizon, seed=1)
    rows = torch.arange(testing.SPEC.num_envs)
    place = algo.replay.fields["next_position"]
    place[rows], place[rows + testing.SPEC.num_envs] = 0.0, 9.0
    ways = algo.explorer.ways
    ways.paths[0], ways.known = torch.zeros_like(place[0]), 1
    reward = algo.explorer.returns(algo.replay, rows, 0.5, lambda _, paid: 1.0 * paid)[0]
    assert reward.unique().tolist() == [0.5 if away else 1.5], "of the second step; of both"


def test_an_end_that_modes_lead_to_is_noted_in_the_replay_and_survives_a_checkpoint():
    entry = bench.algos.registry["ddiffpg"]

    def build():
        explorer = ExplorerConfig(beyond="new")
        config = entry.config(explorer=explorer, exploration=ExplorationConfig(warmup=80))
        return entry.factory(testing.SPEC, config, "cpu")

    algo = build()
    testing.feed(algo, 40, seed=1)
    assert algo.num_modes == 2
    followed = algo.replay.fields["followed"][: len(algo.replay)].view(-1, 10, 8)
    assert not followed[:1].any(), "no mode was known"
    assert followed[-1, -1].all() and not followed[:, :7].any()
    testing.feed(algo, 5, seed=2)
    twin = build()
    twin.load_state_dict(algo.state_dict())
    for one in (algo, twin):
        testing.feed(one, 5, seed=3)
    known = algo.explorer.ways
    assert torch.equal(known.passed, twin.explorer.ways.passed) and known.passed.any()


@pytest.mark.parametrize(
    ("explorer", "modes", "said"),
    [
        ({"reward": 1.0}, {}, "^reward=1.0: needs explorer.beyond=new"),
        ({"beyond": "new"}, {"tube": 0.0}, "explorer.beyond=new: needs"),
        ({"beyond": "new"}, {"discover": False}, "explorer.beyond=new: needs"),
        ({"beyond": "old"}, {}, "beyond='old': valid are after, new"),
        ({"away": True}, {}, "^away=True: needs explorer.beyond=new"),
        ({"n_step": 0}, {}, "n_step=0: valid are integers from 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(explorer, modes, said):
    config = bench.algos.registry["ddiffpg"].config
    with pytest.raises(ValueError, match=said):
        config(modes=ModesConfig(**modes), explorer=ExplorerConfig(**explorer))
