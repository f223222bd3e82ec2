"""The labels tab's charts and what one of them is drawn from; colours and rules are those of `charts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toughcall.review.charts import ACCENT, OTHERS, QUIET, ROW, SOFT

if TYPE_CHECKING:
    import pandas as pd

    from toughcall.review.verdict import Event

PARTS = {"train": "train", "held_out": "held out"}


def aims(counted: pd.DataFrame, silver: Mapping[str, int], event: Event, positives: int) -> pd.DataFrame:
    """Return class, part, labels, wanted, share and said: the labels there are beside those the plan asks for.

    Args:
        counted: class, train, held_out and unsplit, as `progress.classes` returns it.
        silver: held-out labels of each class that no person checked; they measure nothing.
        event: the newest retrain, {} before the first.
        positives: training labels wanted of each class.

    `wanted` is what `toughcall plan` says, by its own functions; `share` is `labels` / `wanted`, at most 1.

    """
    import pandas as pd

    from toughcall.evidence import judged_of
    from toughcall.planning import needed, wanted

    rows = []
    for one in counted.to_dict("records"):
        name, train = str(one["class"]), int(one["train"])
        held = max(0, int(one["held_out"]) - silver.get(name, 0))
        due = {"train": train + wanted(train, judged_of(name, event), positives), "held_out": max(held, needed())}
        for part, have in (("train", train), ("held_out", held)):
            said = f"{have:,} of {due[part]:,}" if have < due[part] else f"{have:,}, enough"
            if part == "train" and one["unsplit"]:
                said += f" + {int(one['unsplit']):,} unsplit"
            rows.append((name, PARTS[part], have, due[part], min(1.0, have / max(1, due[part])), said))
    return pd.DataFrame(rows, columns=["class", "part", "labels", "wanted", "share", "said"])


def against_plan(table: pd.DataFrame) -> Any:
    """Two bars for each class of `aims`: how far what trains and what is held out has come, with the counts."""
    import altair as alt

    parts = list(PARTS.values())
    y = alt.Y("class:N", sort=list(dict.fromkeys(table["class"])), title=None, axis=alt.Axis(labelLimit=170))
    offset = alt.YOffset("part:N", sort=parts, scale=alt.Scale(paddingInner=0.15))
    # the counts stand to the right of a full bar
    scale = alt.Scale(domain=[0, 1.4], nice=False)
    axis = alt.Axis(format="%", values=[0, 0.5, 1], grid=False)
    tips = [
        alt.Tooltip("class:N"),
        alt.Tooltip("part:N"),
        alt.Tooltip("labels:Q", format=","),
        alt.Tooltip("wanted:Q", title="the plan asks for", format=","),
    ]
    base = alt.Chart(table).encode(y=y, yOffset=offset, tooltip=tips)
    track = base.mark_bar(color=QUIET, opacity=0.18).encode(x=alt.datum(1, type="quantitative", scale=scale))
    bars = base.mark_bar().encode(
        x=alt.X("share:Q", scale=scale, title="of what the plan asks for", axis=axis),
        color=alt.Color(
            "part:N",
            scale=alt.Scale(domain=parts, range=[ACCENT, SOFT]),
            legend=alt.Legend(orient="top", title=None),
        ),
    )
    words = base.mark_text(align="left", dx=6, color=QUIET).encode(
        x=alt.datum(1, type="quantitative", scale=scale), text="said:N"
    )
    return (track + bars + words).properties(height=1.7 * ROW * table["class"].nunique() + 125)


TICKS = 10
"""At most so many times are named."""


def pace(table: pd.DataFrame) -> Any:
    """Bars of answers by day or hour, stacked by annotator."""
    import altair as alt

    people = list(dict.fromkeys(table["annotator"]))
    scale = alt.Scale(domain=people, range=([ACCENT, SOFT, *OTHERS] * len(people))[: len(people)])
    hours = (table["when"].dt.hour != 0).any()
    unit, shown = ("yearmonthdatehours", "%d %b %H:%M") if hours else ("yearmonthdate", "%d %b")
    whens = sorted(table["when"].dt.floor("h" if hours else "D").unique())
    # ticks where bars begin: one between two bars would repeat the name of the first
    some = whens[:: math.ceil(len(whens) / TICKS)]
    ticks = [alt.DateTime(year=at.year, month=at.month, date=at.day, hours=at.hour) for at in some]
    axis = alt.Axis(grid=False, values=ticks, format=shown, labelOverlap=True)
    return (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X(f"{unit}(when):T", title="UTC", axis=axis),
            y=alt.Y("sum(answers):Q", title="answers", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            color=alt.Color("annotator:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=[alt.Tooltip("when:T"), alt.Tooltip("annotator:N"), alt.Tooltip("sum(answers):Q", title="answers")],
        )
        .properties(height=260)
    )


def agreement(table: pd.DataFrame) -> Any:
    """Dot and interval of alpha for each label; the first row is over all labels."""
    import altair as alt

    ends = table["alpha 95 %"].str.split("–", expand=True).reindex(columns=[0, 1])
    shown = table.assign(label=table["label"].replace("", "all labels"), low=ends[0], high=ends[1])
    shown = shown[shown["alpha"].notna()].astype({"alpha": "float64"})
    for end in ("low", "high"):
        shown[end] = shown[end].where(shown[end] != "", None).astype("float64")
    y = alt.Y("label:N", sort=list(shown["label"]), title=None, axis=alt.Axis(labelLimit=200))
    least = min(0.0, float(shown[["alpha", "low"]].min().min())) if len(shown) else 0.0
    scale = alt.Scale(domain=[max(-1.0, least), 1.0], nice=False)
    axis = alt.Axis(tickCount=6, grid=False)
    tips = [
        alt.Tooltip("label:N"),
        alt.Tooltip("alpha:Q", format=".2f"),
        alt.Tooltip("kappa:Q", format=".2f"),
        alt.Tooltip("items:Q", title="answered twice"),
    ]
    base = alt.Chart(shown).encode(y=y, tooltip=tips)
    spans = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(
        strokeWidth=3, color=ACCENT, opacity=0.4
    )
    dots = base.mark_circle(size=90, opacity=1, color=ACCENT)
    words = base.mark_text(dy=-10, color=QUIET).encode(
        x=alt.X("alpha:Q", scale=scale), text=alt.Text("alpha:Q", format=".2f")
    )
    return (
        spans.encode(x=alt.X("low:Q", scale=scale, title="alpha", axis=axis), x2="high:Q")
        + dots.encode(x=alt.X("alpha:Q", scale=scale, title="alpha"))
        + words
    ).properties(height=ROW * 1.6 * max(1, len(shown)) + 60)
