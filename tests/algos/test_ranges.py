"""Every number of every algorithm's settings has a range that is checked."""

import dataclasses

import pytest

import bench.algos
from bench.ranges import require

bench.algos.discover()
ANY = {"v_min", "v_max", "target_entropy"}  # what may be negative


def numbers(config, path=()):
    """Yield where the numbers of a dataclass are: the names that lead there."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from numbers(value, (*path, field.name))
        elif isinstance(value, int | float | tuple) and not isinstance(value, bool):
            yield (*path, field.name)


def changed(config, path, number):
    """Return a config with another number there, checked anew."""
    name, *rest = path
    value = getattr(config, name)
    if rest:
        new = changed(value, rest, number)
    else:
        new = (number,) * len(value) if isinstance(value, tuple) else number
    return dataclasses.replace(config, **{name: new})


@pytest.mark.parametrize("number", [-1, float("nan")])
@pytest.mark.parametrize("name", sorted(set(bench.algos.registry) - {"random"}))
def test_senseless_numbers_are_refused_by_name(name, number):
    config = bench.algos.registry[name].config()
    for path in numbers(config):
        if path[-1] in ANY and number == -1:
            continue
        with pytest.raises(ValueError, match=rf"{path[-1]}=.*(valid are|needs)") as caught:
            changed(config, path, number)
        assert "\n" not in str(caught.value)


def test_ends_belong_to_an_interval_or_not():
    @dataclasses.dataclass
    class Config:
        rate: float = 1.0
        sizes: tuple[int, ...] = ()
        target: float | None = None

    require(Config(), "[0, 1]", "rate", "sizes", "target")
    require(Config(sizes=(1, 5)), "[1, inf)", "sizes")
    for interval, said in (
        ("[0, 1)", r"in \[0, 1\)"), ("(1, inf)", "above 1"), ("[2, inf)", "integers from 2")
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"a.rate=1.0: valid are .*{said}"):
            require(Config(), interval, "rate", prefix="a.")
    with pytest.raises(ValueError, match=r"sizes=\(3, 0\): valid are integers from 1"):
        require(Config(sizes=(3, 0)), "[1, inf)", "sizes")
    with pytest.raises(ValueError, match="target=inf: valid are finite numbers"):
        require(Config(target=float("inf")), "(-inf, inf)", "target")
