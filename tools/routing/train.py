"""Trains the router and writes `assets/routing/weights.bin`.

    DATA=folder python tools/routing/train.py

Everything is trained on every source but those named `…_heldout`, which are only looked at by `evaluate.py`. The calibrations
(the difficulty's odds, the certainties' quantiles) are fitted on predictions for rows, or sources, that were left out.
"""

import hashlib
import json

import numpy as np
from sklearn.model_selection import KFold

from model import IS_HARD, ROOT, Difficulty, Heads, exams, features, need, write
from sets import labelled, own, routed

# How sure it must be that a text in an unknown language is easy: then one in twenty of the hard passes for it.
UNKNOWN_IS_CHEAP_FROM = 0.84


def leave_out_sources(rows, given):
    """P(hard intent) of each labelled prompt, from heads that saw no prompt of its source."""
    sources = np.array([row["source"].split("_")[0] if row["source"].startswith("llmrouter") else row["source"] for row in rows])
    mass = np.zeros(len(rows))
    for source in np.unique(sources):
        test = sources == source
        kept = np.flatnonzero(~test)
        heads = Heads([rows[i] for i in kept], given[kept])
        mass[test] = heads.probabilities(given[test])[:, IS_HARD].sum(1)
    return mass


def cross_validated(rows, given, labels, given_labels, folds=5):
    """The difficulty before calibration of each routed and each labelled prompt, from models that did not see it."""
    raw, raw_labels = np.zeros(len(rows)), np.zeros(len(labels))
    fold = KFold(folds, shuffle=True, random_state=0)
    for (train, test), (train_labels, test_labels) in zip(fold.split(rows), fold.split(labels)):
        kept = [labels[i] for i in train_labels]
        difficulty = Difficulty([rows[i] for i in train], given[train], kept, given_labels[train_labels])
        raw[test], raw_labels[test_labels] = difficulty.raw(given[test]), difficulty.raw(given_labels[test_labels])
    return raw, raw_labels


def trained(labels, given_labels, rows, given):
    """The heads and the difficulty."""
    heads = Heads(labels, given_labels)
    difficulty = Difficulty(rows, given, labels, given_labels)
    raws = cross_validated(rows, given, labels, given_labels)
    difficulty.calibrate(*raws, np.array([1 - row["weak"] for row in rows]), np.array([row["hard"] for row in labels]))
    return heads, difficulty


def write_readings(heads, difficulty):
    """What some of our own prompts read as, for the gateway's tests."""
    texts = [row["text"] for name in ("prompts_heldout", "languages_heldout") for row in own(name)[::6] if len(row["text"]) < 600]
    given = features(texts)
    with open(ROOT / "shared/src/routing/readings.jsonl", "w", encoding="utf-8") as out:
        for text, p, d in zip(texts, heads.probabilities(given), difficulty.hardness(given)):
            row = {"text": text, "intents": [round(float(x), 4) for x in p], "hardness": round(float(d), 4)}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    labels = [row for row in labelled() if not row["source"].endswith("_heldout")]
    rows = routed()
    if not rows:
        raise SystemExit("DATA names no folder with the public sets; see docs/routing.md")
    given_labels, given = features([row["text"] for row in labels]), features([row["text"] for row in rows])
    heads, difficulty = trained(labels, given_labels, rows, given)
    mass = leave_out_sources(labels, given_labels)
    needed = need(mass, difficulty.hardness(given_labels), exams(given_labels))
    quantiles = np.quantile(np.maximum(needed, 1 - needed), np.linspace(0, 1, 101))
    path = ROOT / "assets/routing/weights.bin"
    write(path, heads, difficulty, UNKNOWN_IS_CHEAP_FROM, quantiles, given.head)
    write_readings(heads, difficulty)
    print(f"{len(labels)} labelled prompts, {len(rows)} routed; slope {difficulty.slope:.3f}, offset {difficulty.offset:.3f}")
    print(path.relative_to(ROOT), path.stat().st_size, "bytes, SHA-256", hashlib.sha256(path.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
