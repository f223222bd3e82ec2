"""Learning curves: planted curves are found with intervals that hold the truth, and what cannot be told is not."""

from __future__ import annotations

import numpy as np
import pytest

from toughcall.model import learning_curve
from toughcall.model.learning_curve import Curve, Doubles, Point, Told, f1_interval, fit

SIZES = (50, 100, 200, 400)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def truth(n: float) -> float:
    """The planted curve: 0.79 at 400 labels, 0.85 in the end."""
    return 0.85 - 1.2 * n**-0.5


def points(noise: Doubles | None = None, deviation: float = 1e-4, sign: int = 1) -> list[Point]:
    """Points on the planted curve, or as far off as the noise says, with intervals of that deviation."""
    values = [sign * (truth(n) + off) for n, off in zip(SIZES, np.zeros(4) if noise is None else noise, strict=True)]
    return [Point(n, v, v - 1.96 * deviation, v + 1.96 * deviation) for n, v in zip(SIZES, values, strict=True)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, for tests that fit many curves."""
    monkeypatch.setattr(learning_curve, "RESAMPLES", 60)


def test_a_planted_curve_is_found() -> None:
    """Without noise the three parameters, the figure at any size, gains and labels needed are the planted ones."""
    curve = fit(points(), rng=rng())
    assert not curve.reason
    assert curve.found == pytest.approx([0.85, 1.2 * 400**-0.5, 0.5], rel=0.02)
    assert curve.at(800).value == pytest.approx(truth(800), abs=1e-3)
    assert curve.gain(400, 400).value == pytest.approx(truth(800) - truth(400), abs=1e-3)
    assert curve.gain(200, 600).value == pytest.approx(truth(800) - truth(200), abs=1e-3)
    need = curve.needed(truth(1000) - truth(400), 400)
    assert need.value == pytest.approx(600, rel=0.05)
    assert need.low is not None
    assert need.high is not None
    assert need.low <= 600 <= need.high
    assert (curve.last, curve.sizes) == (400, SIZES)


def test_the_order_of_the_points_does_not_matter() -> None:
    """P13: the same points in another order give the same curve, resamples that were drawn together included."""
    drawn = rng(1).normal(size=(40, 4)) * 0.01 + [p.value for p in points()]
    turned = [2, 0, 3, 1]
    one = fit(points(), rng=rng(), draws=drawn)
    other = fit([points()[i] for i in turned], rng=rng(), draws=drawn[:, turned])
    assert other.drawn == pytest.approx(one.drawn)
    assert [other.slope.low, other.slope.high] == pytest.approx([one.slope.low, one.slope.high])


def test_an_error_gets_smaller() -> None:
    """Where smaller is better the curve is mirrored: a gain is still above 0, the figure is in its own units."""
    up, down = fit(points(), rng=rng()), fit(points(sign=-1), rng=rng(), sign=-1, best=-1.0)
    assert down.at(800).value == pytest.approx(-(up.at(800).value or 0.0), abs=1e-6)
    assert down.gain(400, 400).value == pytest.approx(up.gain(400, 400).value or 0.0, abs=1e-6)
    errors = [Point(n, 0.5 + 8.0 / n, 0.49 + 8.0 / n, 0.51 + 8.0 / n) for n in SIZES]
    found = fit(errors, rng=rng(), sign=-1, best=0.0)
    assert found.at(10**6).low is not None
    assert 0.0 <= (found.at(10**6).low or 0.0) <= (found.at(10**6).value or 0.0) < found.at(400).value  # type: ignore[operator]
    assert (found.gain(400, 400).value or 0.0) > 0


@pytest.mark.usefixtures("few")
def test_the_intervals_hold_the_planted_gain() -> None:
    """Of 20 noisy worlds at most three intervals of the gain by doubling, and of what it takes, miss the truth."""
    gain, held, enough, width = truth(800) - truth(400), 0, 0, []
    for world in range(20):
        curve = fit(points(rng(world).normal(size=4) * 0.01, 0.01), rng=rng(world + 100))
        told, need = curve.gain(400, 400), curve.needed(gain, 400)
        assert told.value is not None
        held += bool((told.low or 0.0) <= gain <= (told.high or 0.0))
        width.append((told.high or 0.0) - (told.low or 0.0))
        enough += bool((need.low or 0.0) <= 400 and (need.high is None or need.high >= 400))
    assert held >= 17
    assert enough >= 17
    assert max(width) < 0.1


@pytest.mark.parametrize("sizes", [(), (3778,), (3778, 3778, 3778), (100, 200, 200)])
def test_003_nothing_is_told_from_fewer_than_three_sizes(sizes: tuple[int, ...]) -> None:
    """003: "7,000-10,000 articles" cannot be told from one size, nor from two, however often they were measured."""
    curve = fit([Point(n, 0.934 - n / 1e5, 0.9, 0.95) for n in sizes], rng=rng(), sign=-1, best=0.0)
    assert curve.reason.startswith("nothing can be told from fewer than 3 different numbers of labels")
    assert (curve.at(10_000), curve.gain(3778, 500), curve.needed(0.134, 3778)) == (Told(), Told(), Told())
    if 3778 in sizes:
        assert "only 1 of them measured (3,778 labels)" in curve.reason


def flat(slope: float = 0.0, deviation: float = 0.002) -> Curve:
    """A curve through points that rise by `slope` per doubling."""
    found = [Point(n, 0.7 + slope * np.log2(n), 0.0, 0.0) for n in SIZES]
    off = [0.001, -0.001, -0.001, 0.001]
    each = [
        Point(p.n, p.value + o, p.value + o - 1.96 * deviation, p.value + o + 1.96 * deviation)
        for p, o in zip(found, off, strict=True)
    ]
    return fit(each, rng=rng())


def test_a_slope_that_may_be_0_gives_no_curve_but_an_upper_end() -> None:
    """A flat curve is refused with its slope; that no doubling brings more than the ones measured is still known."""
    curve = flat()
    assert "which cannot be told from 0" in curve.reason
    assert curve.at(800) == Told()
    assert curve.slope.high is not None
    told = curve.gain(400, 400)
    assert (told.value, told.low, told.high) == (None, None, curve.slope.high)
    assert curve.gain(400, 50).high == pytest.approx(curve.slope.high * np.log2(450 / 400))
    need = curve.needed(curve.slope.high * 2, 400)
    assert (need.value, need.low, need.high) == (None, pytest.approx(1200), None)
    assert curve.needed(0.1, 400) == Told(), "not within 20 times the labels"
    assert not flat(0.01).reason


def test_more_than_the_curve_ever_reaches_is_never() -> None:
    """None = never within 20 times the labels: 0.85 is the end of the planted curve, and 1,000 times is too far."""
    curve = fit(points(), rng=rng())
    assert curve.needed(0.2, 400) == Told(None, None, None)
    near = truth(400 * 1000) - truth(400)
    assert curve.needed(near, 400).value is None
    within = curve.needed(truth(400 * 19) - truth(400), 400)
    assert within.value == pytest.approx(400 * 18, rel=0.1)
    loose = fit(points(deviation=0.02), rng=rng()).needed(truth(400 * 10) - truth(400), 400)
    assert loose.value is not None
    assert loose.high is None


def test_points_of_the_same_rows_are_surer_of_the_gain() -> None:
    """What all points share (hard or easy test rows) moves the curve up or down, not its slope."""
    middle = np.array([p.value for p in points()])
    shared = rng(2).normal(size=(200, 1)) * 0.03 + rng(3).normal(size=(200, 4)) * 0.004 + middle
    together = fit(points(deviation=0.03), rng=rng(), draws=shared)
    apart = fit(points(deviation=0.03), rng=rng())

    def width(curve: Curve) -> float:
        return (curve.slope.high or 0.0) - (curve.slope.low or 0.0)

    assert width(together) < 0.5 * width(apart)
    at = together.at(400)
    assert (at.high or 0.0) - (at.low or 0.0) > 0.08, "the figure itself is as unsure as before"


def test_scatter_beyond_the_intervals_widens_them() -> None:
    """Points that no curve goes through say that their intervals miss something: which labels were drawn."""
    jumps = np.array([0.03, -0.03, -0.03, 0.03])
    wild, tame = fit(points(jumps), rng=rng()), fit(points(), rng=rng())
    assert (wild.slope.high or 0.0) - (wild.slope.low or 0.0) > 10 * (
        (tame.slope.high or 0.0) - (tame.slope.low or 0.0)
    )


def test_the_same_figure_at_every_size_tells_nothing() -> None:
    """000: a class that was never predicted has F1 0 at every size, and may be learnt with the next label."""
    dead = fit([Point(n, 0.0, 0.0, 0.3) for n in SIZES], rng=rng())
    assert dead.reason == "it was 0.000 at every size measured, from 50 to 400 labels"
    assert dead.gain(400, 50) == Told()
    best = fit([Point(n, 1.0, 1.0, 1.0) for n in SIZES], rng=rng())
    assert best.gain(400, 50).high == 0.0, "what is perfect gains nothing"


def test_an_f1_of_no_hits_is_not_certain() -> None:
    """G4: 0 of 9 is an F1 of 0 to about 0.2, not of 0; many rows are sure; an absent class may be anything."""
    low, high = f1_interval(0, 9, 0, rng())
    assert low == 0.0
    assert 0.15 < high < 0.5
    low, high = f1_interval(800, 1000, 1000, rng())
    assert 0.77 < low < 0.80 < high < 0.83
    assert f1_interval(0, 0, 4, rng()) == (0.0, 1.0)
    # half of the rows are hits, drawn many times over: the bootstrap over rows agrees where there are enough
    drawn = rng(1).multinomial(200, [0.3, 0.1, 0.05, 0.55], size=4000)
    f1 = 2 * drawn[:, 0] / (2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2])
    assert f1_interval(60, 80, 70, rng()) == pytest.approx(tuple(np.quantile(f1, [0.025, 0.975])), abs=0.015)
