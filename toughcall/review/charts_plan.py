"""The plan tab's charts; colours and rules are those of `charts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toughcall.review.charts import ACCENT, QUIET, ROW
from toughcall.review.verdict import METRICS

if TYPE_CHECKING:
    import pandas as pd


def needs(table: pd.DataFrame) -> Any:
    """Dots and intervals of how many answers each class takes, mined beside random, on a logarithmic scale."""
    import altair as alt

    colour = alt.Color(
        "way:N",
        scale=alt.Scale(domain=["mined", "random"], range=[ACCENT, QUIET]),
        legend=alt.Legend(orient="top", title=None),
    )
    table = table.assign(what=table["class"] + " · " + table["goal"])
    y = alt.Y("what:N", sort=list(dict.fromkeys(table["what"])), title=None, axis=alt.Axis(labelLimit=260))
    scale = alt.Scale(type="log", nice=True)
    offset = alt.YOffset("way:N", sort=["mined", "random"])
    tips = [
        alt.Tooltip("class:N"),
        alt.Tooltip("goal:N"),
        alt.Tooltip("way:N"),
        alt.Tooltip("answers:Q", format=",.0f"),
        alt.Tooltip("low:Q", format=",.0f"),
        alt.Tooltip("high:Q", format=",.0f"),
        alt.Tooltip("hours:Q", format=",.1f"),
    ]
    base = alt.Chart(table).encode(y=y, yOffset=offset, color=colour, tooltip=tips)
    spans = base.transform_filter("isValid(datum.low) && isValid(datum.high) && datum.low > 0").mark_rule(
        strokeWidth=3, opacity=0.5
    )
    # a line for each power of ten; the default draws one for each of its multiples too
    axis = alt.Axis(values=[10**n for n in range(8)], format=",d")
    dots = base.mark_circle(size=90, opacity=1).encode(
        x=alt.X("answers:Q", scale=scale, title="answers to ask for", axis=axis)
    )
    return (spans.encode(x=alt.X("low:Q", scale=scale), x2="high:Q") + dots).properties(
        height=2 * ROW * table["what"].nunique() + 110
    )


def curve(table: pd.DataFrame) -> Any:
    """Draw what each retrain reached with how many labels, with its interval."""
    import altair as alt

    figure = str(table["figure"].iloc[0])
    x = alt.X("labels:Q", title="labels that train", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(grid=False))
    y = alt.Y("value:Q", title=METRICS.get(figure, figure.replace("_", " ")), scale=alt.Scale(zero=False))
    tips = [alt.Tooltip("labels:Q"), *(alt.Tooltip(f"{one}:Q", format=".3f") for one in ("value", "low", "high"))]
    base = alt.Chart(table).encode(x=x, tooltip=tips)
    spans = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(
        strokeWidth=3, color=ACCENT, opacity=0.4
    )
    line = base.mark_line(color=ACCENT, strokeWidth=2, point=alt.OverlayMarkDef(size=80, color=ACCENT)).encode(y=y)
    return (spans.encode(y=alt.Y("low:Q"), y2="high:Q") + line).properties(height=260)
