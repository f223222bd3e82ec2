"""The charts of the queue tab: scores with a band that is drawn by hand, and the classes inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toughcall.review.charts import ACCENT, QUIET, ROW

if TYPE_CHECKING:
    import pandas as pd

BAND = "band"
"""The name of the selection: what is drawn comes back under it."""
_INSIDE = f"isDefined({BAND}.low) && datum.low >= {BAND}.low[0] - 1e-6 && datum.high <= {BAND}.low[1] + 1e-6"


def scores(bars: pd.DataFrame, band: tuple[float, float], title: str, start: float = 0.0) -> Any:
    """Histogram of scores from `start` to 1; the band is a selection that is drawn, moved, and read back.

    The chart depends on the bars and on the band it begins with, not on what is drawn: a chart that changed under
    the pointer would lose it.
    """
    import altair as alt

    across = alt.Scale(domain=[start, 1], zero=False, nice=False)
    ticks = alt.Axis(values=[tick / 10 for tick in range(11)], format=".1f", grid=False)
    brush = alt.selection_interval(
        name=BAND,
        encodings=["x"],
        value={"x": [max(start, band[0]), band[1]]},
        zoom=False,
        mark=alt.BrushConfig(fill=ACCENT, fillOpacity=0.13, stroke=ACCENT, strokeOpacity=0.5),
    )
    return (
        alt.Chart(bars[bars["high"] > start + 1e-9])
        .mark_bar(binSpacing=1, clip=True, cursor="crosshair")
        .encode(
            x=alt.X("low:Q", bin="binned", title=title, scale=across, axis=ticks),
            x2="high:Q",
            y=alt.Y("count:Q", title="items", axis=alt.Axis(tickMinStep=1, tickCount=4, format=",d")),
            color=alt.condition(_INSIDE, alt.value(ACCENT), alt.value(QUIET)),
            tooltip=[
                alt.Tooltip("low:Q", title="from", format=".3f"),
                alt.Tooltip("high:Q", title="to", format=".3f"),
                alt.Tooltip("count:Q", title="items", format=","),
            ],
        )
        .add_params(brush)
        .properties(height=185)
    )


def classes(table: pd.DataFrame) -> Any:
    """Bars of how many items of each class are in the band."""
    import altair as alt

    base = alt.Chart(table).encode(
        y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=110, labelOverlap=False)),
        x=alt.X("count:Q", title=None, axis=None),
        tooltip=[alt.Tooltip("class:N"), alt.Tooltip("count:Q", format=",", title="in the band")],
    )
    words = base.mark_text(align="left", dx=4, color=QUIET).encode(text=alt.Text("count:Q", format=","))
    return (base.mark_bar(color=ACCENT, size=12) + words).properties(height=(ROW - 4) * len(table) + 20)
