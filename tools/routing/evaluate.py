"""What the router's models are worth on prompts of sources that they were not trained on: the tables of docs/routing.md.

    DATA=folder python tools/routing/evaluate.py

Each source of labelled prompts is left out in turn, whole. How models answered (MMLU, GSM8K) is cross-validated by prompt: the
public labels are half of each benchmark, and the other half is of the same kind. 95 % intervals are bootstrapped.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from model import IS_HARD, READABLE, Difficulty, Heads, exams, features, need
from sets import INTENTS, ROOT, labelled, public, routed
from train import UNKNOWN_IS_CHEAP_FROM, cross_validated

OWN_INTENTS = os.environ.get("OWN_INTENTS", str(ROOT / "target/release/own-intents"))
LEFT_OUT = ["shipped", "seed", "arena", "self_instruct", "own_prompts_heldout", "own_utterances_heldout", "own_documents_heldout", "own_languages_heldout"]


def bootstrap(score, n, times=400):
    chance = np.random.default_rng(0)
    values = [score(chance.integers(0, n, n)) for _ in range(times)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{score(np.arange(n)):.3f} [{low:.3f}, {high:.3f}]"


def apgr(score, weak, strong, chance=None):
    """Area under quality against the share of strong calls, 0 for always weak and 1 for always strong (arXiv 2406.18665)."""
    ties = (chance or np.random.default_rng(0)).random(len(score))
    order = np.lexsort((ties, -np.asarray(score, float)))
    quality = np.concatenate([[weak.sum()], weak.sum() + np.cumsum((strong - weak)[order])]) / len(score)
    area = np.trapezoid(quality, np.linspace(0, 1, len(quality)))
    return (area - weak.mean()) / (strong.mean() - weak.mean())


def ece(confidence, right, bins=10):
    """The mean distance of confidence and accuracy over ten bins of confidence."""
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    return sum(abs(confidence[where == b].mean() - right[where == b].mean()) * np.mean(where == b) for b in range(bins) if (where == b).any())


def at_coverage(need, hard, share=0.8):
    """Accuracy of the tier and share of the hard that is sent cheap, of the surest prompts."""
    surest = np.argsort(-np.abs(need - 0.5), kind="stable")[: int(share * len(need))]
    strong, is_hard = need[surest] > 0.5, hard[surest]
    return (strong == is_hard).mean(), (~strong[is_hard]).mean() if is_hard.any() else 0.0


def labelled_table(labels, given, rows, given_rows):
    print("\n## Intent and tier, each source left out whole\n")
    print("| source | prompts | intent | hard/easy AUROC | length alone | at 80 %: accuracy, hard sent cheap | easy sent strong | ECE |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    # What takes long is numpy's, which lets the other threads go on.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for line in threads.map(lambda source: left_out(source, labels, given, rows, given_rows), LEFT_OUT):
            print(line, end="", flush=True)


def left_out(source, labels, given, rows, given_rows):
    """The line of the table of one source; nothing where it is not at hand."""
    sources = np.array([row["source"] for row in labels])
    test = np.flatnonzero(sources == source)
    if not len(test):
        return ""
    kept = np.flatnonzero((sources != source) & ~np.char.endswith(sources, "_heldout"))
    heads = Heads([labels[i] for i in kept], given[kept])
    difficulty = Difficulty(rows, given_rows, [labels[i] for i in kept], given[kept])
    difficulty.calibrate(RAW, difficulty.raw(given[kept]), WRONG, np.array([labels[i]["hard"] for i in kept]))
    p = heads.probabilities(given[test])
    mass = p[:, IS_HARD].sum(1)
    needed = need(mass, difficulty.hardness(given[test]), exams(given[test]))
    readable = (given[test].known >= READABLE) | (1 - needed >= UNKNOWN_IS_CHEAP_FROM)
    needed = np.where(readable, needed, np.maximum(needed, 0.51))
    hard = np.array([labels[i]["hard"] for i in test])
    right = p.argmax(1) == np.array([INTENTS.index(labels[i]["intent"]) for i in test])
    length = np.array([len(labels[i]["text"]) for i in test])
    accuracy, sent_cheap = at_coverage(needed, hard)
    both = 0 < hard.sum() < len(hard)
    auroc = bootstrap(lambda i: roc_auc_score(hard[i], needed[i]) if 0 < hard[i].sum() < len(i) else np.nan, len(test)) if both else "–"
    of_mass = f" (intents {roc_auc_score(hard, mass):.3f}, hardness {roc_auc_score(hard, difficulty.raw(given[test])):.3f})" if both else ""
    of_length = f"{roc_auc_score(hard, length):.3f}" if both else "–"
    return (
        f"| {source} | {len(test)} | {bootstrap(lambda i: right[i].mean(), len(test))} | {auroc}{of_mass} | {of_length} "
        f"| {accuracy:.3f}, {sent_cheap:.1%} | {(needed[~hard] > 0.5).mean():.1%} | {ece(p.max(1), right):.3f} |\n"
    )


def routed_table(rows, given, heads):
    print("\n## How models answered: APGR\n")
    print("| set | prompts | difficulty | prompt length | random |\n|---|---|---|---|---|")
    source = np.array([row["source"] for row in rows])
    weak, strong = (np.array([row[name] for row in rows]) for name in ("weak", "strong"))
    length = np.array([len(row["text"]) for row in rows])
    needed = need(heads.probabilities(given)[:, IS_HARD].sum(1), HARDNESS, exams(given))
    for name in ("mmlu", "gsm8k"):
        test = np.flatnonzero(source == name)
        score = lambda values: bootstrap(lambda i: apgr(values[test][i], weak[test][i], strong[test][i]), len(test), 200)
        chance = np.random.default_rng(1).random(len(rows))
        print(f"| {name} | {len(test)} | {score(needed)} | {score(length)} | {score(chance)} |", flush=True)


def dial_table(rows, given, heads):
    """What the dial does to prompts that a weak and a strong model answered."""
    source = np.array([row["source"] for row in rows])
    needed = need(heads.probabilities(given)[:, IS_HARD].sum(1), HARDNESS, exams(given))
    length = np.array([len(row["text"]) for row in rows])
    for name in ("mmlu", "gsm8k"):
        test = np.flatnonzero(source == name)
        weak, strong = (np.array([rows[i][key] for i in test]) for key in ("weak", "strong"))
        print(f"\n## The dial on {name}: right answers\n")
        print("| quality | sent strong | by difficulty | by length, as many | at random, as many |\n|---|---|---|---|---|")
        for quality in np.linspace(0, 1, 11):
            # The tier is strong where the need is above 1 - quality; at 0 never.
            is_strong = (needed[test] > 1 - quality) & (quality > 0)
            longest = np.zeros(len(test), bool)
            longest[np.argsort(-length[test], kind="stable")[: is_strong.sum()]] = True
            right = lambda which: np.where(which, strong, weak).mean()
            at_random = weak.mean() + is_strong.mean() * (strong.mean() - weak.mean())
            print(f"| {quality:.1f} | {is_strong.mean():.1%} | {right(is_strong):.1%} | {right(longest):.1%} | {at_random:.1%} |")


def own_intents_table():
    """A team's own intents, ten utterances each: CLINC150, by the gateway's code."""
    train, test = public("clinc150_train"), public("clinc150_val")
    if not train:
        return
    print("\n## Own intents: CLINC150, ten utterances each, three draws\n")
    by_intent = {}
    for row in train:
        if row["label"] != "oos":
            by_intent.setdefault(row["label"], []).append(row["text"])
    for seed in range(3):
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            utterances = [{"text": text, "intent": name} for name, texts in by_intent.items() for text in chance.sample(texts, 10)]
            prompts = [{"text": row["text"], "intent": None if row["label"] == "oos" else row["label"]} for row in test]
            files = []
            for name, lines in (("utterances", utterances), ("prompts", prompts)):
                files.append(Path(folder) / name)
                files[-1].write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            print("-", subprocess.run([OWN_INTENTS, *files], capture_output=True, text=True, check=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    started = time.time()
    labels, rows = labelled(), routed()
    if not rows:
        print("DATA names no folder with the public sets (docs/routing.md names them): nothing is evaluated here.")
        sys.exit()
    given, given_rows = features([row["text"] for row in labels]), features([row["text"] for row in rows])
    training = [i for i, row in enumerate(labels) if not row["source"].endswith("_heldout")]
    kept = [labels[i] for i in training]
    RAW, raw_labels = cross_validated(rows, given_rows, kept, given[training])
    heads, difficulty = Heads(kept, given[training]), Difficulty(rows, given_rows, kept, given[training])
    WRONG = np.array([1 - row["weak"] for row in rows])
    difficulty.calibrate(RAW, raw_labels, WRONG, np.array([row["hard"] for row in kept]))
    HARDNESS = difficulty.slope * RAW + difficulty.offset
    routed_table(rows, given_rows, heads)
    dial_table(rows, given_rows, heads)
    own_intents_table()
    labelled_table(labels, given, rows, given_rows)
    print(f"\n{time.time() - started:.0f} s", file=sys.stderr)
