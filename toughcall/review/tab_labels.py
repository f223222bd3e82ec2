"""The labels tab: how far the classes, the batches and the annotators are."""

from __future__ import annotations

from toughcall.review import progress
from toughcall.review.live import Live


def show(live: Live) -> None:
    """Draw the tab."""
    import streamlit as st

    from toughcall.review import charts

    batches, people = progress.batches(live), progress.annotators(live)
    if people.empty and batches.empty:
        st.info("No answers yet. Choose the first items and send them to the experts: `toughcall round`")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("##### Labels per class" if live.kind.labelled else "##### Answers per dimension")
        if people.empty:
            st.info("No answers yet. When experts have answered in Label Studio: `toughcall pull`")
        else:
            st.caption(progress.totals(live).sentence())
            st.altair_chart(charts.progress(progress.classes(live)), width="stretch")
    with right:
        if len(batches):
            st.markdown("##### Batches")
            bar = st.column_config.ProgressColumn("progress", format="percent", min_value=0, max_value=1)
            st.dataframe(batches, hide_index=True, column_config={"progress": bar})
        if len(people):
            st.markdown("##### Annotators")
            seconds = st.column_config.NumberColumn("median seconds", format="%.0f")
            st.dataframe(people, hide_index=True, column_config={"median seconds": seconds})
