"""The page's charts. Text colours come from the theme; fields have fixed names, so that no class name is syntax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ACCENT = "#14998c"
SOFT = "#7cc7bf"
QUIET = "#9aa5b1"
WARN = "#d9622b"
ROW = 26
"""Height of one row of a bar chart in pixels."""


def scores(bars: pd.DataFrame, band: tuple[float, float] | None, title: str, start: float = 0.0) -> Any:
    """Histogram of scores from `start` to 1 with the uncertain band shaded, where there is one."""
    import altair as alt
    import pandas as pd

    across = alt.Scale(domain=[start, 1], zero=False, nice=False)
    low, high = band or (0.0, 1.0)
    inside = (alt.datum.low >= low - 1e-9) & (alt.datum.high <= high + 1e-9)
    shade = (
        alt.Chart(pd.DataFrame({"low": [low], "high": [high]}))
        .mark_rect(color=ACCENT, opacity=0.13)
        .encode(x=alt.X("low:Q", scale=across, title=title, axis=_ticks(alt)), x2="high:Q")
    )
    drawn = (
        alt.Chart(bars[bars["high"] > start + 1e-9])
        .mark_bar(binSpacing=1, clip=True)
        .encode(
            x=alt.X("low:Q", bin="binned", title=title, scale=across, axis=_ticks(alt)),
            x2="high:Q",
            y=alt.Y("count:Q", title="items", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            color=alt.condition(inside, alt.value(ACCENT), alt.value(QUIET)),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("count:Q", title="items", format=","),
            ],
        )
    )
    return (shade + drawn if band else drawn).properties(height=165)


def _ticks(alt: Any) -> Any:
    return alt.Axis(values=[tick / 10 for tick in range(11)], format=".1f", grid=False)


def chances(table: pd.DataFrame) -> Any:
    """Bars of one item's class probabilities."""
    import altair as alt

    base = alt.Chart(table).encode(
        y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=160, labelOverlap=False)),
        x=alt.X("p:Q", scale=alt.Scale(domain=[0, 1]), title=None, axis=_ticks(alt)),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("p:Q", format=".3f", title="probability")],
    )
    return base.mark_bar(color=ACCENT, size=12).properties(height=max(60, ROW * len(table) + 26))


def progress(table: pd.DataFrame) -> Any:
    """Stacked bars of labels per class: what trains, what is held out, what is neither."""
    import altair as alt

    names = {"train": "train", "held_out": "held out", "unsplit": "not split yet"}
    used = {key: name for key, name in names.items() if key != "unsplit" or table["unsplit"].any()}
    long = table.melt(id_vars=["class"], value_vars=list(used), var_name="part", value_name="labels")
    long["part"] = long["part"].map(used)
    scale = alt.Scale(domain=list(used.values()), range=[ACCENT, SOFT, QUIET][: len(used)])
    y = alt.Y("class:N", sort=list(table["class"]), title=None, axis=alt.Axis(labelLimit=220))
    axis = alt.Axis(tickMinStep=1, tickCount=6, format="d")
    bars = (
        alt.Chart(long)
        .mark_bar(size=14)
        .encode(
            y=y,
            x=alt.X("labels:Q", title="labels", stack="zero", axis=axis),
            color=alt.Color("part:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            order=alt.Order("place:Q"),
            tooltip=[alt.Tooltip("class:N"), alt.Tooltip("part:N"), alt.Tooltip("labels:Q")],
        )
        .transform_calculate(place="datum.part == 'train' ? 0 : datum.part == 'held out' ? 1 : 2")
    )
    sums = table[["class"]].assign(
        labels=table[list(used)].sum(axis=1), said=table[list(used)].astype(str).agg(" + ".join, axis=1)
    )
    words = alt.Chart(sums).mark_text(align="left", dx=5, color=QUIET).encode(y=y, x="labels:Q", text="said:N")
    return (bars + words).properties(height=ROW * len(table) + 125)


def figures(table: pd.DataFrame, winner: str) -> Any:
    """Dot and interval of each report: candidate against champion and baselines; dashed: what has to be beaten."""
    import altair as alt

    own = alt.condition(alt.datum.role == winner, alt.value(ACCENT), alt.value(QUIET))
    metric = str(table["metric"].iloc[-1])
    ends = table[["value", "low", "high"]].to_numpy(dtype=float)
    least, most = float(np.nanmin(ends)), float(np.nanmax(ends))
    # an error in a dimension's own units may be above 1
    edge = [max(0.0, least - 0.03 * max(1.0, most)), min(1.0, most + 0.03) if most <= 1 else 1.03 * most]
    y = alt.Y("role:N", sort=list(table["role"]), title=None, axis=alt.Axis(labelLimit=180))
    x = alt.X("value:Q", title=metric, scale=alt.Scale(domain=edge, nice=False), axis=alt.Axis(tickCount=6))
    tips = [
        alt.Tooltip("role:N", title="what"),
        alt.Tooltip("model:N"),
        alt.Tooltip("value:Q", format=".3f"),
        alt.Tooltip("low:Q", format=".3f"),
        alt.Tooltip("high:Q", format=".3f"),
        alt.Tooltip("n:Q", title="items"),
    ]
    base = alt.Chart(table).encode(y=y, color=own, tooltip=tips)
    bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=3, opacity=0.55)
    spans = bars.encode(x=alt.X("low:Q", title=metric), x2="high:Q")
    dots = base.mark_circle(size=110, opacity=1).encode(x=x)
    words = base.mark_text(dy=-11, fontSize=12).encode(x=x, text=alt.Text("value:Q", format=".3f"))
    floor = alt.Chart(table[table["floor"]]).mark_rule(strokeDash=[5, 4], color=QUIET)
    return (floor.encode(x=alt.X("value:Q", title=metric)) + spans + dots + words).properties(
        height=44 * len(table) + 60
    )


def per_class(table: pd.DataFrame) -> Any:
    """Bars of F1 per class; a class that was never predicted is named so."""
    import altair as alt

    y = alt.Y("class:N", sort=list(table["class"]), title=None, axis=alt.Axis(labelLimit=220))
    tips = [alt.Tooltip("class:N"), alt.Tooltip("f1:Q", format=".3f", title="F1"), alt.Tooltip("n:Q", title="held out")]
    base = alt.Chart(table).encode(y=y, tooltip=tips)
    x = alt.X("f1:Q", title="F1", scale=alt.Scale(domain=[0, 1]), axis=_ticks(alt))
    bars = base.mark_bar(size=14, color=ACCENT).encode(x=x)
    values = base.transform_filter("!datum.dead && isValid(datum.f1)").mark_text(align="left", dx=4, color=QUIET)
    dead = base.transform_filter("datum.dead").mark_text(align="left", dx=4, color=WARN, fontWeight="bold")
    said = values.encode(x=x, text=alt.Text("f1:Q", format=".2f"))
    never = dead.encode(x=x, text=alt.value("never predicted"))
    return (bars + said + never).properties(height=ROW * len(table) + 70)


OTHERS = (WARN, "#3f5f8a", "#b59a2b", "#8a4f7d", "#5b8c3a", "#a8455b", "#4f8fb8", "#7a6a58")
"""Colours of whatever else is compared, in turn."""


def learning_curves(points: pd.DataFrame, metric: str, target: float | None = None, control: str = "random") -> Any:
    """Lines of what each strategy reached with how many labels, the mean over the seeds.

    The first strategy and the control also show their range from the least to the greatest seed.
    """
    import altair as alt
    import pandas as pd

    names = list(dict.fromkeys(points["strategy"]))
    rest = iter(OTHERS * len(names))
    colours = [QUIET if name == control else ACCENT if name == names[0] else next(rest) for name in names]
    scale = alt.Scale(domain=names, range=colours)
    title = metric.replace("_", " ")
    across = alt.X(
        "labels:Q", title="labels", axis=alt.Axis(grid=False, tickCount=6), scale=alt.Scale(zero=False, nice=False)
    )
    band = (
        alt.Chart(points[points["strategy"].isin([names[0], control])])
        .mark_area(opacity=0.14)
        .encode(
            x=across,
            y=alt.Y("least:Q", title=title, scale=alt.Scale(zero=False)),
            y2="greatest:Q",
            color=alt.Color("strategy:N", scale=scale, legend=None),
        )
    )
    line = (
        alt.Chart(points)
        .mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
        .encode(
            x=across,
            y=alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "strategy:N",
                scale=scale,
                sort=names,
                title=None,
                legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, labelFontSize=12),
            ),
            tooltip=["strategy:N", "labels:Q", alt.Tooltip("mean:Q", format=".3f")],
        )
    )
    layers = [band, line]
    if target is not None:
        rule = alt.Chart(pd.DataFrame({"target": [target]})).mark_rule(strokeDash=[4, 3], color=QUIET)
        layers.append(rule.encode(y="target:Q"))
    return alt.layer(*layers).resolve_scale(color="independent").properties(width=560, height=320)
