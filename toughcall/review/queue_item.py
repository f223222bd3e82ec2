"""One item of the queue, drawn in full: its records, why it is here, what was said of it and of items like it."""

from __future__ import annotations

from typing import Literal

from toughcall.records import Pick, Relation
from toughcall.review import differing, views
from toughcall.review.asked_views import ANSWERED, FREE, HELD, state_of
from toughcall.review.item_views import held_out, item_of
from toughcall.review.live import Live
from toughcall.review.plain import literal


def state(live: Live, item: str, picks: views.Picks, answers: views.Answers, reviewed: views.Decided) -> str:
    """Return the state of one item, whatever list it is in."""
    batch = next((name for name, pick in picks if pick.item == item), "")
    now, one = state_of(live, batch, answers.get(item, ()), reviewed, item), item_of(live, item)
    return HELD if now == FREE and one and held_out(live, [text.id for text in one.texts]) else now


def show(live: Live, one: views.Detail, now: str, reviewed: views.Decided) -> None:
    """Draw what is known of one item: why it is here, what was answered, what the model says, what is near it."""
    import streamlit as st

    from toughcall.review import charts

    left, right = st.columns(2)
    with left, st.container(gap="xsmall"):
        _why(one, now, reviewed)
    with right, st.container(gap="xsmall"):
        st.caption("What was answered")
        st.text("\n".join(f"{answer.annotator}: {views.said([answer])}" for answer in one.answers) or "nothing yet")
        if one.place[1]:
            st.caption("What the score is made of")
            rank, total = one.place
            lines = [f"{rank:,} of {total:,} by uncertainty", *(f"{name}: {value:.3f}" for name, value in one.parts)]
            st.text("\n".join(lines))
    if len(one.chances):
        st.caption("Calibrated probability")
        st.altair_chart(charts.chances(one.chances.head(8)), width="stretch")
    if len(one.numbers):
        st.caption("Predicted numbers")
        st.dataframe(one.numbers, hide_index=True)
    _neighbours(live, one)


def records(one: views.Detail) -> None:
    """Draw the records of an item letter by letter, side by side for a pair (C78).

    They are plain text, or where something in them is marked HTML that holds no markup but ours.
    """
    import streamlit as st

    texts = [text for _, text in one.texts]
    # what is cut is not marked: a mark would be missing where the text ends
    marked = None if one.cut else _marked(one, texts)
    long = any(len(text) > 500 or text.count("\n") > 8 for text in texts)
    tall: int | Literal["content"] = 300 if long else "content"
    for number, (place, title) in enumerate(zip(st.columns(len(texts)), views.titles(one), strict=True)):
        with place:
            st.caption(literal(title))
            with st.container(border=True, height=tall, key=f"record-{number}"):
                if marked is None:
                    st.text(texts[number])
                else:
                    st.html(differing.record(marked[number]))
    if isinstance(one.record, Relation):
        subject, object_ = one.record.subject.type or "no type", one.record.object.type or "no type"
        st.caption(f"Subject: {literal(subject)} · object: {literal(object_)}")
        with st.expander("As plain text"):
            st.text(texts[0])
    elif marked is not None:
        st.caption("Marked: the words in which they differ.")
    if one.cut:
        st.caption(f"Only the first {views.LONGEST:,} characters of a long text are shown.")


def _marked(one: views.Detail, texts: list[str]) -> tuple[str, ...] | None:
    if isinstance(one.record, Relation):
        return (differing.spanned(one.record),)
    return differing.differing(*texts) if len(texts) == 2 else None


def _why(one: views.Detail, now: str, reviewed: views.Decided) -> None:
    """Say why an item is here: the reasons it was asked for, what was decided, what its score was made of."""
    import streamlit as st

    for batch, pick in one.picks:
        st.caption(f"Why it was asked · {literal(batch)}")
        st.text(_reason(pick))
    if not one.picks:
        st.caption("Why it was asked")
        st.text("not asked yet" if now != ANSWERED else "not asked: its answer was imported")
    if who := reviewed.by(one.item):
        st.caption("What reviewers say")
        why = reviewed.why(one.item)
        st.text(f"{reviewed.state(one.item)} by {who}" + (f": {why}" if why else ""))
    if now == HELD:
        st.caption("Held out: it measures models, so it is asked when it is drawn at random, never by hand.")


def _reason(pick: Pick) -> str:
    said = f"{views.worded(pick.reason)}: {pick.note}" if pick.note else views.worded(pick.reason)
    drawn = f", drawn with the chance {pick.probability:.3g}" if pick.probability < 1 else ""
    return f"{said}\nplace {pick.rank + 1}{drawn}"


def _neighbours(live: Live, one: views.Detail) -> None:
    """Draw the nearest labelled items, or say why there are none."""
    import pandas as pd
    import streamlit as st

    from toughcall.review.near import near

    if one.record is None:
        return
    found = near(live, one.record)
    if not found.rows:
        st.caption(literal(found.why))
        return
    st.caption("Nearest labelled items")
    config = st.column_config
    st.dataframe(
        pd.DataFrame(found.rows, columns=["text", "answer", "cosine"]),
        hide_index=True,
        column_config={
            "text": config.TextColumn("Text", width=230),
            "answer": config.TextColumn("Answer", width=90),
            "cosine": config.NumberColumn("Cosine", width=60, format="%.2f"),
        },
    )
