"""A training run that is watched: what is broken stops it, what is odd is told at once, the checkpoint has a reason."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toughcall.model.evaluate import METRICS
from toughcall.model.report import GAP_LIMIT
from toughcall.model.watch import Epoch, Watch, choose, front, missing, smaller, to_json
from toughcall.records import IntegrityError

FIELDS = [one.name for one in dataclasses.fields(Epoch)]
quick = settings(max_examples=80, deadline=None)
# post-mortem 000: labels, eval_f1 and eval_loss by epoch; 003: MAE by epoch; 004: dev F1 by epoch
CLAUSES = (
    "data_collection_extensive",
    "data_collection_minimal",
    "consent_explicit",
    "consent_implied",
    "purpose_specific",
    "purpose_broad",
)
DEAD = (CLAUSES[5], CLAUSES[0], CLAUSES[1])
EVAL_F1 = (0.0, 0.0, 0.08, 0.45, 0.45)
EVAL_LOSS = (0.468, 0.404, 0.357, 0.326, 0.316)
TRAIN_MAE = (2.24, 1.41, 1.05, 0.88, 0.78)
HELD_MAE = (1.66, 1.18, 1.05, 1.01, 1.00)
MICRO = {1: 0.622, 2: 0.711, 3: 0.635, 4: 0.738, 7: 0.781, 8: 0.770}
MACRO = {1: 0.267, 2: 0.372, 3: 0.372, 4: 0.422, 7: 0.446, 8: 0.540}


def fossils(**more: Any) -> list[Epoch]:
    """Return the epochs that post-mortem 004 has figures of."""
    return [Epoch(n, None, figure=MACRO[n], others={"micro_f1": MICRO[n]}, **more) for n in MACRO]


def keep(watch: Watch, one: Epoch) -> list[str]:
    """Return what is told after an epoch."""
    return watch.epoch(**{name: getattr(one, name) for name in FIELDS})


def run(watch: Watch, *epochs: Epoch) -> list[list[str]]:
    """Return what was told after each epoch."""
    return [keep(watch, one) for one in epochs]


def learnt(watch: Watch, figures: Any, losses: Any = ()) -> list[bool]:
    """Return after which epochs the run would stop."""
    found = []
    for n, figure in enumerate(figures):
        keep(watch, Epoch(n + 1, 1.0 / (n + 1), losses[n] if n < len(losses) else None, figure))
        found.append(watch.stop)
    return found


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_or_gradient_that_is_no_number_stops_the_run(value: float) -> None:
    """C65: NaN or Inf in loss or gradient: exit 6, the step is named, and what is never stored is said."""
    for loss, norm, name in ((value, 1.0, "loss"), (0.7, value, "gradient")):
        watch = Watch(("a",), "macro_f1")
        watch.step(1, 0.7, 1.0)
        with pytest.raises(
            IntegrityError, match=rf"the {name} is -?(nan|inf) at step 17: .*no model was stored"
        ) as told:
            watch.step(17, loss, norm)
        assert told.value.code == 6
        assert watch.history == []


@pytest.mark.parametrize("name", ["train_loss", "held_loss", "figure", "train_figure", "others", "per_class"])
def test_a_figure_that_is_no_number_stops_the_run_too(name: str) -> None:
    """C65: NaN in what was measured after an epoch is not kept as a figure: None says unknown."""
    watch = Watch(("a",), "macro_f1")
    inside: Any = {"others": {"micro_f1": math.nan}, "per_class": {"a": math.nan}}.get(name, math.nan)
    with pytest.raises(IntegrityError, match="is nan in epoch 1: training stopped"):
        keep(watch, dataclasses.replace(Epoch(1, 0.5), **{name: inside}))
    assert watch.history == []


def test_a_gradient_that_reaches_no_weight_stops_the_run() -> None:
    """001: an adapter at the wrong level, or everything frozen: no gradient in three first steps is said, exit 6."""
    watch = Watch(("a",), "macro_f1")
    watch.step(1, 0.7, 0.0)
    watch.step(2, 0.7, 0.0)
    with pytest.raises(IntegrityError, match=r"no gradient reaches the weights in the first 3 steps .*adapter is not"):
        watch.step(3, 0.7, 0.0)
    # one step with a gradient is enough: later ones may be flat
    watch = Watch(("a",), "macro_f1")
    for number, norm in enumerate((0.0, 0.0, 1e-12, 0.0, 0.0, 0.0, 0.0), 1):
        watch.step(number, 0.7, norm)


def test_postmortem_000_labels_that_are_never_predicted_are_named_during_training() -> None:
    """000: three labels never predicted: said after epoch 1 by name, and again only when the set changes."""
    watch = Watch(CLAUSES, "macro_f1")
    said = run(watch, *(Epoch(n, 1.0 / n, dead=DEAD) for n in (1, 2, 3)))
    named = "data_collection_extensive, data_collection_minimal, purpose_broad"
    assert said == [[f"epoch 1: never predicted: {named} (3 of 6 labels)"], [], []]
    assert keep(watch, Epoch(4, 0.2, dead=DEAD[::-1])) == []
    assert keep(watch, Epoch(5, 0.1, dead=DEAD[:1])) == ["epoch 5: never predicted: purpose_broad (1 of 6 labels)"]
    assert keep(watch, Epoch(6, 0.09)) == ["epoch 6: every label is predicted now, purpose_broad too"]
    assert keep(watch, Epoch(7, 0.08)) == []
    assert len(watch.alarms) == 3
    assert keep(Watch(CLAUSES, "macro_f1"), Epoch(1, 1.0)) == []


def test_postmortem_000_early_stopping_waits_until_something_is_learnt() -> None:
    """000: F1 0, 0, 0.08, 0.45, 0.45: at no patience does the run stop before it learnt, and its loss still fell."""
    for patience in (1, 2, 3):
        assert not any(learnt(Watch(CLAUSES, "micro_f1", patience=patience), EVAL_F1, EVAL_LOSS))
        # without a loss, two equal figures stop the most impatient run, not the first two
        stops = learnt(Watch(CLAUSES, "micro_f1", patience=patience), EVAL_F1)
        assert stops == [False] * 4 + [patience == 1]
    assert not any(learnt(Watch(CLAUSES, "micro_f1", patience=1), [0.0] * 9))
    watch = Watch(CLAUSES, "micro_f1")
    learnt(watch, EVAL_F1, EVAL_LOSS)
    kept, why = watch.best()
    assert (kept.number, why) == (5, "epoch 5 of 5 is kept: best micro_f1, 0.450")


def test_a_run_stops_when_nothing_is_better_any_more() -> None:
    """T1: patience counts epochs since the last better figure or lower held-out loss, also in parts of an epoch."""
    figures = (0.3, 0.5, 0.4, 0.5, 0.49, 0.6)
    assert learnt(Watch("a", "macro_f1", patience=3), figures) == [False, False, False, False, True, False]
    losses = (0.9, 0.8, 0.7, 0.8, 0.8, 0.8)
    assert learnt(Watch("a", "macro_f1", patience=3), figures[:5], losses) == [False] * 5
    assert learnt(Watch("a", "macro_f1", patience=2), figures[:5], losses) == [False] * 4 + [True]
    assert learnt(Watch("a", "weighted_mae", patience=2), (1.0, 0.9, 0.95, 0.91)) == [False] * 3 + [True]
    assert learnt(Watch("a", "macro_f1", patience=1), (None, None), (0.5, 0.6)) == [False, True]
    assert not any(learnt(Watch("a", "macro_f1", patience=1), (None, None)))
    watch, stops = Watch("a", "macro_f1", patience=1), []
    for n, figure in enumerate((0.2, 0.4, 0.3, 0.3)):
        keep(watch, Epoch((n + 1) / 2, None, figure=figure))
        stops.append(watch.stop)
    assert stops == [False, False, False, True]
    assert not Watch("a", "macro_f1").stop


def test_postmortem_003_the_gap_is_told_when_it_opens() -> None:
    """003: train MAE 0.78 against 1.00 is 28 %, above 15 %: told in epoch 5 alone, whichever sign errors have."""
    for sign in (1.0, -1.0):
        watch = Watch(("progress",), "weighted_mae")
        rows = [
            Epoch(n + 1, None, figure=sign * held, train_figure=sign * own)
            for n, (own, held) in enumerate(zip(TRAIN_MAE, HELD_MAE, strict=True))
        ]
        said = run(watch, *rows)
        assert said[:4] == [[], [], [], []]
        assert said[4] == [
            "epoch 5: train/validation gap 28% (0.78 against 1.00), above the limit of 15%: it fits its own rows"
        ]
        # it goes on: not told again; it closes and opens again: told
        assert run(watch, dataclasses.replace(rows[4], number=6)) == [[]]
        assert run(watch, dataclasses.replace(rows[3], number=7), dataclasses.replace(rows[4], number=8))[1] != []
        assert [one.figure for one in watch.history[:5]] == list(HELD_MAE)
        kept, why = watch.best()
        assert (kept.number, why) == (5, "epoch 5 of 8 is kept: best weighted_mae, 1.000")
    wide = Watch(("progress",), "weighted_mae", limit=0.3)
    assert run(wide, Epoch(1, None, figure=1.0, train_figure=0.78)) == [[]]


def test_a_figure_that_is_lost_on_new_rows_is_told() -> None:
    """G8: F1 0.95 on training rows and 0.70 held out loses 26 %, above the limit of 15 %."""
    said = keep(Watch(("a",), "macro_f1"), Epoch(1, None, figure=0.70, train_figure=0.95))
    assert said == [
        "epoch 1: train/validation gap 26% (macro_f1 0.950 against 0.700), above the limit of 15%: it fits its own rows"
    ]
    for held, own in ((0.81, 0.95), (0.95, 0.7), (0.0, 0.0), (None, 0.9), (0.2, None)):
        assert keep(Watch(("a",), "macro_f1"), Epoch(1, None, figure=held, train_figure=own)) == []
    assert GAP_LIMIT == 0.15


def test_held_out_loss_that_rises_while_training_loss_falls_is_told() -> None:
    """003: two epochs in a row in which training fits better and held-out rows worse; once until it is over."""
    own, held = (0.9, 0.7, 0.5, 0.4, 0.3, 0.2), (0.8, 0.7, 0.75, 0.8, 0.9, 0.6)
    said = run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, own[n], held[n]) for n in range(6)))
    assert said == [
        [],
        [],
        [],
        [
            "epoch 4: held-out loss rose twice in a row (0.700, 0.750, 0.800) while training loss fell "
            "(0.700, 0.500, 0.400): it fits its own rows"
        ],
        [],
        [],
    ]
    both = (0.7, 0.8, 0.9)
    assert run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, both[n], both[n]) for n in range(3)))[2][0].startswith(
        "epoch 3: training loss has not fallen"
    )
    assert not any(run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, own[n], None) for n in range(4))))
    for train, other in (((0.7, 0.5, 0.6), (0.6, 0.7, 0.8)), ((0.7, 0.6, 0.5), (0.6, 0.8, 0.7))):
        assert not any(run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, train[n], other[n]) for n in range(3))))


def test_a_loss_that_never_falls_is_told() -> None:
    """T10: training loss within 1 % of its start after three epochs is said once; a fall ends it."""
    said = run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, v) for n, v in enumerate((0.693, 0.69, 0.694, 0.693, 0.6))))
    assert said == [
        [],
        [],
        [
            "epoch 3: training loss has not fallen in 3 epochs (0.693 at first, 0.694 now): raise the learning rate, "
            "or train more of the layers"
        ],
        [],
        [],
    ]
    assert not any(run(Watch(("a",), "macro_f1"), *(Epoch(n + 1, v) for n, v in enumerate((0.693, 0.68, 0.68)))))


def test_every_epoch_is_kept() -> None:
    """T11: an epoch that leaves one out, repeats one or goes back is refused; parts of an epoch may be measured."""
    watch = Watch(("a",), "macro_f1")
    for wrong in (2, -0.5, 1.5):
        with pytest.raises(ValueError, match=f"epoch {wrong} cannot be the first: every epoch is kept"):
            watch.epoch(wrong)
    run(watch, Epoch(0.5, 0.9), Epoch(1, 0.8), Epoch(2, 0.7))
    for wrong in (2, 1, 3.5, 0, 4):
        with pytest.raises(ValueError, match=f"epoch {wrong} cannot follow epoch 2: every epoch is kept"):
            keep(watch, Epoch(wrong, 0.5))
    assert [one.number for one in watch.history] == [0.5, 1, 2]
    for strange in (Epoch(3, 0.5, dead=("b",)), Epoch(3, 0.5, per_class={"b": 0.5})):
        with pytest.raises(ValueError, match="figures of b, which is no label here"):
            keep(watch, strange)
    assert missing(watch.history) == ()
    assert missing([Epoch(0.4, 0.9), Epoch(0.8, 0.8), Epoch(1.2, 0.7), Epoch(1.6, 0.7)]) == ()
    assert missing([]) == ()


def test_postmortem_004_the_checkpoint_is_chosen_by_the_gates_metric() -> None:
    """004: macro F1 keeps epoch 8; micro F1 would have kept 7 (macro 0.446); epochs 5 and 6 are missing."""
    due = (
        "epoch 8 of 8 is kept: best macro_f1, 0.540; micro_f1 would have kept epoch 7 (macro_f1 0.446); "
        "epochs 5 and 6 are missing"
    )
    kept, why = choose(fossils(), "macro_f1")
    assert (kept.number, why) == (8, due)
    # epochs that were run and not measured are as missing as those that were not logged
    blank = [*fossils()[:4], Epoch(5, 0.3), Epoch(6, 0.3), *fossils()[4:]]
    kept, why = choose(blank, "macro_f1")
    assert (kept.number, why) == (8, due)
    assert missing(blank) == (5, 6)
    assert missing(blank[:4] + blank[5:]) == (5, 6)
    assert choose(blank[:5] + fossils()[4:], "macro_f1")[1].endswith("; epochs 5 and 6 are missing")
    assert choose(fossils()[:4], "macro_f1")[1] == "epoch 4 of 4 is kept: best macro_f1, 0.422"
    dead = fossils(dead=("assigned_to", "part_of"))[:4]
    assert choose([*dead, Epoch(6, None)], "macro_f1")[1] == (
        "epoch 4 of 6 is kept: best macro_f1, 0.422; epochs 5 and 6 are missing; "
        "never predicted there: assigned_to, part_of"
    )


def test_postmortem_004_what_no_other_epoch_beats_is_kept_aside() -> None:
    """T4: epochs 7 and 8 are each the best by one figure; every other one is beaten in both."""
    assert [one.number for one in front(fossils(), "macro_f1")] == [7, 8]
    rows = [Epoch(1, None, figure=0.5, others={"mean_mae": 0.2}), Epoch(2, None, figure=0.5, others={"mean_mae": 0.3})]
    assert [one.number for one in front(rows, "macro_f1")] == [1]
    assert front([rows[0], rows[0]], "macro_f1") == [rows[0], rows[0]]
    assert [one.number for one in front([*rows, Epoch(3, None, figure=0.6)], "macro_f1")] == [1, 3]


def test_ties_and_missing_figures_have_a_reason_too() -> None:
    """T4: ties go to the smaller held-out loss, then to the earlier epoch; without figures the loss decides."""
    tied = [Epoch(n, None, loss, 0.45) for n, loss in ((1, 0.4), (2, 0.3), (3, 0.3))]
    assert choose(tied, "macro_f1")[0].number == 2
    unmeasured = [Epoch(n, None, loss) for n, loss in ((1, 0.4), (2, 0.3), (3, 0.35))]
    kept, why = choose(unmeasured, "macro_f1")
    assert kept.number == 2
    assert why == "epoch 2 of 3 is kept: no macro_f1 was measured, its held-out loss is the smallest, 0.300"
    kept, why = choose([Epoch(1, 0.5), Epoch(2, 0.4)], "macro_f1")
    assert (kept.number, why) == (
        2,
        "epoch 2 is kept because it is the last: neither macro_f1 nor loss was measured",
    )
    with pytest.raises(ValueError, match="no epoch was measured"):
        choose([], "macro_f1")
    # a constant beside the figure, such as that of the training mean, would have kept nothing
    flat = [Epoch(n, None, figure=1.0 / n, others={"constant_weighted_mae": 1.2}) for n in (1, 2, 3)]
    assert choose(flat, "weighted_mae")[1] == "epoch 3 of 3 is kept: best weighted_mae, 0.333"
    # an error is better when smaller, also beside the figure
    errors = [Epoch(n, None, figure=f, others={"mean_mae": e}) for n, f, e in ((1, 0.5, 0.1), (2, 0.6, 0.2))]
    assert choose(errors, "macro_f1")[1] == (
        "epoch 2 of 2 is kept: best macro_f1, 0.600; mean_mae would have kept epoch 1 (macro_f1 0.500)"
    )


def test_which_way_is_better_is_what_the_gate_says() -> None:
    """A watch and the gate agree on which metrics are errors."""
    assert {name: smaller(name) for name in METRICS} == {name: sign < 0 for name, (_, sign) in METRICS.items()}
    assert smaller("calibration_error")
    assert smaller("mean_rmse")
    assert not smaller("mean_spearman")
    assert not smaller("tier_kappa")


def test_weights_are_stored_whenever_the_last_epoch_is_the_best_so_far() -> None:
    """T4: what was stored at the last `improved` epoch is what `best` names, the untrained model (epoch 0) included."""
    for figures, losses, due in (
        ((0.5, 0.4, 0.6, 0.6, 0.6), (0.9, 0.8, 0.7, 0.7, 0.6), [0, 2, 4]),
        ((0.7, 0.4, 0.6), (0.9, 0.8, 0.7), [0]),
        ((None, None, None), (0.9, 0.7, 0.8), [0, 1]),
        ((None, None, None), (None, None, None), [0, 1, 2]),
    ):
        watch, stored = Watch(("a",), "macro_f1"), []
        assert not watch.improved
        for number, (figure, loss) in enumerate(zip(figures, losses, strict=True)):
            watch.epoch(number, figure=figure, held_loss=loss)
            if watch.improved:
                stored.append(number)
        assert stored == due
        assert watch.best()[0].number == due[-1]
        assert watch.rows() == to_json(watch.history, "macro_f1")
    assert watch.best()[1] == "epoch 2 is kept because it is the last: neither macro_f1 nor loss was measured"


@quick
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=8), st.sampled_from(sorted(METRICS)))
def test_the_kept_epoch_is_never_worse_than_another(figures: list[float | None], metric: str) -> None:
    """T4: whatever the figures, no epoch has a better one than that which is kept."""
    watch = Watch(("a",), metric)
    run(watch, *(Epoch(n + 1, 0.5, figure=figure) for n, figure in enumerate(figures)))
    known = [figure for figure in figures if figure is not None]
    kept, _ = watch.best()
    assert kept.figure == ((min(known) if smaller(metric) else max(known)) if known else None)
    assert kept.number == (figures.index(kept.figure) + 1 if known else len(figures))


def test_a_history_is_plain_json() -> None:
    """P1: every epoch is a row of training_history.json: null for what is not known, never NaN."""
    rows = [
        Epoch(1, 0.7, None, 0.5, None, {"a": 0.25, "b": None}, ("b",), {"micro_f1": 0.75, "accuracy": None}),
        Epoch(1.5, None, math.nan),
    ]
    found = json.loads(json.dumps(to_json(rows, "macro_f1"), allow_nan=False))
    assert found[0] == {
        "epoch": 1,
        "metric": "macro_f1",
        "train_loss": 0.7,
        "held_loss": None,
        "figure": 0.5,
        "train_figure": None,
        "per_class": {"a": 0.25, "b": None},
        "never_predicted": ["b"],
        "others": {"micro_f1": 0.75, "accuracy": None},
    }
    assert (found[1]["epoch"], found[1]["held_loss"], found[1]["figure"]) == (1.5, None, None)
    assert to_json([]) == []
    assert to_json([Epoch(1, None, figure=-0.9)], "weighted_mae")[0]["figure"] == 0.9
    assert to_json([Epoch(1, None, figure=-0.9)])[0]["metric"] is None
