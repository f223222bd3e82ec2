"""The rounds of the loop on real labelled data, without a server: what the miner and the head are worth.

    python benchmarks/spine.py [opp115] [gitbugs_pairs] [questions] [tickets] --rounds 6 --batch 50 --seeds 3

The experts are the data's own labels, put straight into the ledger; import, embedding, mining, training,
gate and registry are the product's. Beside each round stand the untouched encoder, TF-IDF and the same
recipe on as many labels drawn at random. The research sets lie beside the project in ../shared/datasets
and are skipped, saying so, where they are absent.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import research

from toughcall import demo, demo_data, judging, loop, retraining
from toughcall.demo_data import Prepared, Say
from toughcall.model import evaluate
from toughcall.records import CANT_TELL, Answer, digest
from toughcall.settings import Columns
from toughcall.telling import Console, rows_out
from toughcall.workspace import Workspace, opened


def write(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def opp115(folder: Path, say: Say, share: float) -> Prepared:
    """Prepare privacy clauses: 10 labels, the rarest 0.9 %."""
    train, test = research.rows_of("opp115", "train"), research.rows_of("opp115", "test")
    held = {str(row["text"]) for row in test}
    train = [row for row in train if row["text"] not in held]
    known = {str(row["text"]): tuple(row["labels"]) for row in train}
    labels = sorted({label for row in train for label in row["labels"]})
    seen = {str(row["text"]): "|".join(row["labels"]) or Columns().none for row in test}
    return Prepared(
        "multilabel",
        write(folder / "opp115.csv", ["text"], [[text] for text in known]),
        write(folder / "opp115-held-out.csv", ["text", "label"], [[a, b] for a, b in seen.items()]),
        Columns(text="text", label="label"),
        lambda item, who: known[item.texts[0].text],
        options={"labels": dict.fromkeys(labels, "")},
    )


def gitbugs_pairs(folder: Path, say: Say, share: float) -> Prepared:
    """Prepare ready-made pairs of bug reports: 5.8 % duplicates, the hard ones among them."""
    train, test = research.rows_of("gitbugs_pairs", "train"), research.rows_of("gitbugs_pairs", "test")
    said = {frozenset((r["text_a"], r["text_b"])): "similar" if r["label"] else "not_similar" for r in train}
    held = [[str(r["text_a"]), str(r["text_b"]), "similar" if r["label"] else "not_similar"] for r in test]
    shared = {text for row in held for text in row[:2]}
    rest = [[str(r["text_a"]), str(r["text_b"])] for r in train if not {r["text_a"], r["text_b"]} & shared]
    return Prepared(
        "pair",
        write(folder / "gitbugs.csv", ["a", "b"], rest),
        write(folder / "gitbugs-held-out.csv", ["a", "b", "label"], held),
        Columns(text="a", text_b="b", label="label"),
        lambda item, who: (said[frozenset(text.text for text in item.texts)],),
        options={"text": "a", "text_b": "b"},
    )


SETS: Mapping[str, Callable[[Path, Say, float], Prepared]] = {
    "opp115": opp115,
    "gitbugs_pairs": gitbugs_pairs,
    "questions": demo_data.questions,
    "tickets": demo_data.tickets,
    "clauses": demo_data.clauses,
    "passages": demo_data.passages,
    "tweets": demo_data.tweets,
}


def answer(ws: Workspace, data: Prepared) -> None:
    """Answer every open pick with what the data says."""
    done = {one.item for one in ws.store.answers()}
    for row in ws.store.batches():
        batch = ws.store.batch(row["name"])
        items = ws.pool.items([pick.item for pick in batch.picks])
        answers = []
        for pick in batch.picks:
            if pick.item in done:
                continue
            value = data.answer(items[pick.item], "data")
            outcome = "cant_tell" if value == (CANT_TELL,) else "label"
            answers.append(
                Answer(
                    digest("simulated", pick.item),
                    pick.item,
                    "data",
                    outcome,  # type: ignore[arg-type]
                    value if outcome == "label" else (),
                    batch.name,
                    batch.schema,
                )
            )
        ws.store.add_answers(answers)
        ws.store.mark_batch(batch.name, "done")


def at_half(ws: Workspace, version: str) -> evaluate.Report:
    """Return the report of a stored model with every threshold at 0.5: what fitted thresholds are worth."""
    model = ws.registry.load(version)
    _, held, items, _ = ws.split()
    half = np.full_like(model.thresholds, 0.5)
    return judging.measured(ws, "threshold 0.5", model, judging.sealed(ws, held), items, half)


def one_run(name: str, seed: int, rounds: int, batch: int, folder: Path, console: Console) -> list[dict[str, object]]:
    """Run the rounds once and return a row per round."""
    data = SETS[name](folder, console.say, 1.0)
    root = folder / f"{name}-{seed}"
    demo.make(root, data, console, {"mine.batch": batch})
    toml = root / "project.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace("seed = 0", f"seed = {seed}"), encoding="utf-8")
    out: list[dict[str, object]] = []
    with opened(root, "benchmark", console) as ws:
        demo.import_held_out(ws, data)
        for turn in range(1, rounds + 1):
            loop.mine(ws)
            answer(ws, data)
            done = retraining.retrain(ws)
            if done.verdict and done.verdict.outcome == "PROMOTE":
                retraining.promote(ws, done.version)
            spent = sum(row["size"] for row in ws.store.batches())
            control = demo.random_control(ws, data, spent)
            by_role = {report.role: report for report in done.reports}
            mine = by_role["candidate"]
            half = at_half(ws, done.version)
            gain = evaluate.paired(mine, half, seed=seed)
            served = ws.registry.champion()
            serving = by_role.get("champion", by_role["untouched"])
            out.append(
                {
                    "set": name,
                    "seed": seed,
                    "round": turn,
                    "labels": spent,
                    "metric": mine.metric,
                    "n": mine.n,
                    "retrained": mine.value,
                    "low": mine.low,
                    "high": mine.high,
                    "AP": mine.others.get("average_precision"),
                    "at 0.5": half.value,
                    "gain over 0.5": "–" if gain is None else f"{gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]",
                    "untouched": by_role["untouched"].value,
                    "tfidf": by_role["tfidf"].value,
                    "random": control["value"],
                    "served": mine.value if served == done.version else serving.value,
                    "F1 0.00": ", ".join(row.label for row in mine.per_class if row.f1 == 0) or "none",
                    "verdict": done.verdict.outcome if done.verdict else "",
                }
            )
            rows_out([out[-1]], as_json=True)
    return out


def main() -> None:
    """Run the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["opp115", "gitbugs_pairs"], metavar="SET")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where embeddings and projects are kept (default: temporary)")
    given = parser.parse_args()
    console = Console(quiet=True)
    with tempfile.TemporaryDirectory() as temporary:
        base = given.folder or Path(temporary)
        for name in given.sets:
            if name in ("opp115", "gitbugs_pairs") and not research.there(name):
                sys.stdout.write(f"{name}: skipped, {research.DATASETS / name} is not here\n")
                continue
            base.mkdir(parents=True, exist_ok=True)
            rows: list[dict[str, object]] = []
            for seed in range(given.seeds):
                with tempfile.TemporaryDirectory(dir=base) as folder:
                    (Path(folder) / "vectors").symlink_to(base / "vectors")
                    (base / "vectors").mkdir(exist_ok=True)
                    rows += one_run(name, seed, given.rounds, given.batch, Path(folder), console)
            summary(rows)


def summary(rows: list[dict[str, object]]) -> None:
    """Print mean and spread over the seeds for each round."""
    table = []
    for turn in sorted({int(str(row["round"])) for row in rows}):
        here = [row for row in rows if row["round"] == turn]
        shown: dict[str, object] = {"set": here[0]["set"], "labels": here[0]["labels"], "seeds": len(here)}
        for column in ("retrained", "at 0.5", "AP", "untouched", "tfidf", "random", "served"):
            values = [float(str(row[column])) for row in here if row[column] is not None]
            shown[column] = f"{np.mean(values):.3f} ± {np.std(values):.3f}" if values else "–"
        table.append(shown)
    rows_out(table, as_json=False)


if __name__ == "__main__":
    main()
