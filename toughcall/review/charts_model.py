"""The model tab's charts: learning curve, classes by retrain, errors, reliability, cuts.

`ink` is the theme's colour of text: on a coloured cell no other one is readable both in the light and in the dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toughcall.review.charts import ACCENT, OTHERS, QUIET, ROW, SOFT, WARN

if TYPE_CHECKING:
    import pandas as pd

BLUE = OTHERS[6]
LINES = {"precision": WARN, "recall": BLUE, "F1": ACCENT}
PICK = "cell"
"""The name of a selection: what was clicked is read under it."""
FIGURE = ".3f"


def ink() -> str:
    """Return the colour of text of the theme that the browser shows."""
    import streamlit as st

    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor") or QUIET)


def learning(points: pd.DataFrame, control: pd.DataFrame, metric: str, floor: float | None) -> Any:
    """Draw the figure of each retrain against its labels, with its interval; grey: random order; dashed: the floor."""
    import altair as alt
    import pandas as pd

    drawn = pd.concat([points[["labels", "value", "low", "high"]], control[["labels", "value", "low", "high"]]])
    ends = drawn[["value", "low", "high"]].to_numpy(dtype=float)
    least, most = (float(end) for end in (np.nanmin(ends), np.nanmax(ends)))
    if floor is not None:
        least, most = min(least, floor), max(most, floor)
    edge = 0.06 * max(most - least, 0.02)
    x = alt.X("labels:Q", title="labels", scale=alt.Scale(zero=False, padding=36), axis=_whole(alt, points["labels"]))
    scale = alt.Scale(domain=[least - edge, most + 2 * edge], nice=False, zero=False)
    y = alt.Y("value:Q", title=metric, scale=scale, axis=alt.Axis(tickCount=6))
    tips = [alt.Tooltip("labels:Q", format=","), *(alt.Tooltip(f"{n}:Q", format=FIGURE) for n in ("value", "low"))]
    tips = [*tips, alt.Tooltip("high:Q", format=FIGURE)]
    own = alt.Chart(points).encode(x=x, tooltip=[alt.Tooltip("version:N"), alt.Tooltip("outcome:N"), *tips])
    other = alt.Chart(control).encode(x=x, tooltip=tips)
    layers = [
        other.mark_area(color=QUIET, opacity=0.18).encode(y=alt.Y("low:Q", title=metric, scale=scale), y2="high:Q"),
        other.mark_line(color=QUIET, strokeWidth=2).encode(y=y),
        other.mark_circle(color=QUIET, size=45, opacity=1).encode(y=y),
        own.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(strokeWidth=3, color=ACCENT, opacity=0.4)
        .encode(y=alt.Y("low:Q", title=metric, scale=scale), y2="high:Q"),
        own.mark_line(color=ACCENT, strokeWidth=2).encode(y=y),
        own.mark_circle(color=ACCENT, size=90, opacity=1).encode(y=y),
        own.transform_calculate(top="isValid(datum.high) ? datum.high : datum.value")
        .mark_text(dy=-9, fontSize=12, color=ACCENT)
        .encode(y=alt.Y("top:Q", title=metric, scale=scale), text=alt.Text("value:Q", format=FIGURE)),
    ]
    if floor is not None:
        rule = alt.Chart(pd.DataFrame({"value": [floor]})).mark_rule(strokeDash=[5, 4], color=QUIET)
        layers.append(rule.encode(y=y, tooltip=[alt.Tooltip("value:Q", format=FIGURE, title="dashed")]))
    return alt.layer(*layers).properties(height=270)


def _whole(alt: Any, labels: pd.Series[Any]) -> Any:
    # a tick at each measured number says more than round numbers in between, as long as they do not collide
    values = sorted({int(one) for one in labels})
    return alt.Axis(grid=False, format=",d", **({"values": values} if len(values) <= 6 else {"tickCount": 6}))


def by_round(table: pd.DataFrame, figure: str, ink: str = QUIET) -> Any:
    """Heat map of each class over the retrains: the darker the better; what is dead is marked."""
    import altair as alt

    order = list(dict.fromkeys(table["class"]))
    rounds = sorted(set(table["round"]))
    names = {place: str(group["labels"].iloc[0]) for place, group in table.groupby("round")}
    shown = table.assign(name=[f"{place} · {names[place]}" for place in table["round"]])
    y = alt.Y("class:N", sort=order, title=None, axis=alt.Axis(labelLimit=150))
    axis = alt.Axis(labelAngle=0, orient="top", labelOverlap=True)
    x = alt.X("name:O", sort=[f"{p} · {names[p]}" for p in rounds], title="retrain · labels", axis=axis)
    tips = [
        alt.Tooltip("version:N"),
        alt.Tooltip("class:N"),
        alt.Tooltip("value:Q", title=figure, format=FIGURE),
        alt.Tooltip("n:Q", title="held out"),
    ]
    base = alt.Chart(shown).encode(x=x, y=y, tooltip=tips)
    # as opacity the colour stays readable under the theme's own text, dark or light
    shade = alt.Opacity("shade:Q", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.62]), legend=None)
    cells = base.mark_rect(color=ACCENT).encode(opacity=shade)
    marks = base.transform_filter("datum.dead").mark_rect(filled=False, stroke=WARN, strokeWidth=2, strokeOpacity=1)
    words = base.transform_filter("isValid(datum.value)").mark_text(fontSize=12, color=ink)
    said = words.encode(text=alt.Text("value:Q", format=".2f"))
    return (cells + marks + said).properties(height=max(110, ROW * len(order) + 76))


def confusion(cells: pd.DataFrame, picked: tuple[str, str] | None, ink: str = QUIET) -> Any:
    """Draw the confusion table: down what was true, across what was said; a click picks a cell."""
    import altair as alt

    order = list(dict.fromkeys(cells["truth"]))
    truth, said = picked or ("", "")
    shown = cells.assign(picked=(cells["truth"] == truth) & (cells["said"] == said))
    pick = alt.selection_point(name=PICK, fields=["truth", "said"], on="click", empty=False)
    y = alt.Y("truth:N", sort=order, title="true", axis=alt.Axis(labelLimit=140))
    x = alt.X("said:N", sort=order, title="said", axis=alt.Axis(labelLimit=110, labelAngle=-40, orient="top"))
    tips = [
        alt.Tooltip("truth:N", title="true"),
        alt.Tooltip("said:N"),
        alt.Tooltip("count:Q", format=",", title="items"),
        alt.Tooltip("share:Q", format=".0%", title="of the true ones"),
    ]
    base = alt.Chart(shown).encode(x=x, y=y, tooltip=tips)
    colour = alt.condition("datum.right", alt.value(ACCENT), alt.value(WARN))
    shade = alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, 0.62]), legend=None)
    drawn = base.mark_rect(cursor="pointer").encode(color=colour, opacity=shade).add_params(pick)
    edge = base.transform_filter("datum.picked").mark_rect(filled=False, stroke=ACCENT, strokeWidth=3)
    words = base.transform_filter("datum.count > 0").mark_text(fontSize=12, color=ink, cursor="pointer")
    return (drawn + edge + words.encode(text=alt.Text("count:Q", format=","))).properties(
        height=max(190, 30 * len(order) + 120)
    )


def scatter(table: pd.DataFrame, dimension: str) -> Any:
    """Draw predicted against true numbers of one dimension; dashed: both are the same."""
    import altair as alt
    import pandas as pd

    ends = table[["truth", "said"]].to_numpy(dtype=float)
    low, high = float(ends.min()), float(ends.max())
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    tips = [
        alt.Tooltip("truth:Q", title="true", format=".2f"),
        alt.Tooltip("said:Q", title="predicted", format=".2f"),
        alt.Tooltip("off:Q", format="+.2f"),
    ]
    dots = (
        alt.Chart(table)
        .mark_circle(color=ACCENT, size=34, opacity=0.35)
        .encode(
            x=alt.X("truth:Q", title=f"{dimension}: true", scale=scale),
            y=alt.Y("said:Q", title="predicted", scale=scale),
            tooltip=tips,
        )
    )
    same = alt.Chart(pd.DataFrame({"truth": [low, high], "said": [low, high]}))
    line = same.mark_line(strokeDash=[5, 4], color=QUIET).encode(x="truth:Q", y="said:Q")
    return (line + dots).properties(height=320)


def reliability(table: pd.DataFrame) -> Any:
    """Draw how often it was so against the probability that was said, with intervals; dashed: they agree."""
    import altair as alt
    import pandas as pd

    axis = alt.Axis(values=[tick / 5 for tick in range(6)], format=".1f", grid=False)
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("said:Q", title="probability said", scale=unit, axis=axis)
    tips = [
        alt.Tooltip("n:Q", title="rows", format=","),
        alt.Tooltip("said:Q", format=FIGURE, title="said, on average"),
        alt.Tooltip("so:Q", format=FIGURE, title="it was so"),
        alt.Tooltip("least:Q", format=FIGURE, title="from"),
        alt.Tooltip("greatest:Q", format=FIGURE, title="to"),
    ]
    base = alt.Chart(table).encode(x=x, tooltip=tips)
    line = alt.Chart(pd.DataFrame({"said": [0.0, 1.0], "so": [0.0, 1.0]})).mark_line(strokeDash=[5, 4], color=QUIET)
    y = alt.Y("so:Q", title="share that was so", scale=unit, axis=axis)
    spans = base.mark_rule(strokeWidth=3, color=ACCENT, opacity=0.4).encode(
        y=alt.Y("least:Q", title="share that was so", scale=unit), y2="greatest:Q"
    )
    dots = base.mark_circle(color=ACCENT, size=90, opacity=1).encode(y=y)
    return (line.encode(x="said:Q", y="so:Q") + spans + dots).properties(height=300)


def counts(table: pd.DataFrame, ink: str = QUIET) -> Any:
    """Bars of how many rows stand behind each point of `reliability`."""
    import altair as alt

    axis = alt.Axis(values=[tick / 5 for tick in range(6)], format=".1f", grid=False)
    x = alt.X("low:Q", bin="binned", title="probability said", scale=alt.Scale(domain=[0, 1]), axis=axis)
    y = alt.Y("n:Q", title="rows", axis=alt.Axis(tickCount=3))
    base = alt.Chart(table).encode(x=x, x2="high:Q", y=y, tooltip=[alt.Tooltip("n:Q", title="rows", format=",")])
    words = (
        alt.Chart(table)
        .transform_calculate(middle="(datum.low + datum.high) / 2")
        .mark_text(dy=-7, fontSize=11, color=ink)
    )
    said = words.encode(x="middle:Q", y=y, text=alt.Text("n:Q", format=","))
    return (base.mark_bar(color=SOFT, binSpacing=2) + said).properties(height=150)


def cuts(table: pd.DataFrame, own: float, chosen: float) -> Any:
    """Draw precision, recall and F1 against the cut; dashed: the model's own, solid: the chosen one."""
    import altair as alt

    long = table.melt(id_vars=["cut"], value_vars=list(LINES), var_name="what", value_name="share").dropna()
    scale = alt.Scale(domain=list(LINES), range=list(LINES.values()))
    x = alt.X("cut:Q", title="cut", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=6, grid=False))
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
            color=alt.Color("what:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
            tooltip=["what:N", alt.Tooltip("cut:Q", format=FIGURE), alt.Tooltip("share:Q", format=FIGURE)],
        )
    )
    return (lines + _rules(own, chosen)).properties(height=250)


def cost(table: pd.DataFrame, own: float, chosen: float, cheapest: float) -> Any:
    """Draw the expected cost against the cut; dashed: the model's own, solid: the chosen one, dot: the cheapest."""
    import altair as alt

    x = alt.X("cut:Q", title="cut", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=6, grid=False))
    y = alt.Y("cost:Q", title="cost of 1,000 items", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    tips = [alt.Tooltip("cut:Q", format=FIGURE), alt.Tooltip("cost:Q", format=",.1f")]
    base = alt.Chart(table).encode(x=x, y=y, tooltip=tips)
    least = alt.Chart(table[np.isclose(table["cut"], cheapest)]).mark_circle(color=WARN, size=110, opacity=1)
    drawn = base.mark_line(color=QUIET, strokeWidth=2) + _rules(own, chosen) + least.encode(x=x, y=y, tooltip=tips)
    return drawn.properties(height=250)


def _rules(own: float, chosen: float) -> Any:
    import altair as alt
    import pandas as pd

    def rule(value: float) -> Any:
        return alt.Chart(pd.DataFrame({"cut": [value]})).encode(
            x="cut:Q", tooltip=[alt.Tooltip("cut:Q", format=FIGURE)]
        )

    dashed = rule(own).mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=2)
    return dashed + rule(chosen).mark_rule(color=ACCENT, strokeWidth=2)
