"""The labels tab: how far the classes, the batches and the annotators are."""

from __future__ import annotations

from toughcall.review import progress
from toughcall.review.live import Live


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts

    batches = progress.batches(live)
    found = progress.totals(live)
    if not found.labels and not len(progress.annotators(live)):
        if len(batches):
            st.info("No answers yet. When experts have answered in Label Studio: `toughcall pull`")
        else:
            st.info("No answers yet. Choose the first items and send them to the experts: `toughcall round`")
    else:
        figures = [
            ("Labels", found.labels),
            ("Disagreements", found.disagreements),
            ("Skipped", found.skipped),
            ("Can't tell", found.cant_tell),
            ("Set aside", found.set_aside),
        ]
        for place, (name, value) in zip(st.columns(len(figures)), figures, strict=True):
            place.metric(name, f"{value:,}")
        st.subheader("Labels per class", anchor=False)
        st.altair_chart(charts.progress(progress.classes(live)), width="stretch")
    left, right = st.columns(2, gap="large")
    if len(batches):
        left.subheader("Batches", anchor=False)
        config = st.column_config
        left.dataframe(
            batches,
            hide_index=True,
            column_config={
                "progress": config.ProgressColumn("progress", format="percent", min_value=0, max_value=1)
            },
        )
    people = progress.annotators(live)
    if len(people):
        right.subheader("Annotators", anchor=False)
        right.dataframe(
            people,
            hide_index=True,
            column_config={"median seconds": st.column_config.NumberColumn(format="%.0f")},
        )
