"""The labels tab's charts; colours and rules are those of `charts`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toughcall.review.charts import ACCENT, OTHERS, QUIET, ROW, SOFT

if TYPE_CHECKING:
    import pandas as pd


def pace(table: pd.DataFrame) -> Any:
    """Bars of answers by day or hour, stacked by annotator."""
    import altair as alt

    people = list(dict.fromkeys(table["annotator"]))
    scale = alt.Scale(domain=people, range=([ACCENT, SOFT, *OTHERS] * len(people))[: len(people)])
    hours = (table["when"].dt.hour != 0).any()
    unit = "yearmonthdatehours" if hours else "yearmonthdate"
    return (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X(f"{unit}(when):T", title="UTC", axis=alt.Axis(grid=False, tickCount=8)),
            y=alt.Y("sum(answers):Q", title="answers", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            color=alt.Color("annotator:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=[alt.Tooltip("when:T"), alt.Tooltip("annotator:N"), alt.Tooltip("sum(answers):Q", title="answers")],
        )
        .properties(height=170)
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
