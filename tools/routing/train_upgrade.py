"""Trains the weights by which the gateway doubts an answer, and says how good they are.

    xzcat routing_gsm8k.jsonl.xz > answers.jsonl
    python3 tools/routing/train_upgrade.py answers.jsonl                    # figures by cross-validation
    python3 tools/routing/train_upgrade.py answers.jsonl --write            # the same, and shared/src/routing/doubt/weights.rs
    python3 tools/routing/train_upgrade.py answers.jsonl --shipped          # the compiled-in weights on other answers

A line has `prompt`, `weak_answer`, `weak_correct`, and `strong_correct`; lines with `contaminated` are left out. Needs numpy.

The model is a logistic. Weights are drawn towards their prior: PRIORS, which come from the literature or from texts that we
wrote, and 0 for the signals of calculations. So data moves what it shows, and what it does not show keeps its prior.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "shared/src/routing/doubt/weights.rs"

# The log-odds of an answer that nothing speaks for or against: 8 % of a cheap tier's everyday answers are wrong.
BASE = -2.44
# Log-odds per unit of a signal. One sign of not knowing or of a broken text makes an answer more likely wrong than right
# (HedgeFirst to Repetition); Unfinished alone does not, as a client may have set a stop sequence. Token probabilities: mean
# log-probability finds wrong answers with AUROC .65 to .83 (arXiv 2605.02241), which at .72 is 0.82 log-odds per
# standard deviation, and that is about 0.35; quantiles are at least as good (arXiv 2404.10136), so both share it.
# Difficulty is a probability of the same thing, but of the question alone: it counts half.
PRIORS = {
    "HedgeFirst": 3.4,
    "RefusalFirst": 4.0,
    "Hedges": 0.3,
    "Corrections": 0.4,
    "Repetition": 3.4,
    "Unfinished": 2.2,
    "NoFullStop": 0.5,
    "Thin": 1.5,
    "WrongEquation": 2.0,
    "MoreWrongEquations": 0.5,
    "WrongResult": 3.0,
    "MeanLogprob": 1.8,
    "LowLogprob": 0.4,
    "Difficulty": 0.5,
}
# Set, and not learned: the right answer to each question of GSM8K is a whole number, so that it would call every fraction
# wrong. For the same reason a last number that is a fraction is no signal at all.
FIXED = {"FractionOfThings": 1.0}
# How strongly weights are drawn to their priors: those with a prior, and those of calculations (in standard deviations).
TO_PRIOR, TO_ZERO = 4.0, 10.0
# A signal that hardly varies is not blown up.
LEAST_DEVIATION = 0.02


class Table:
    """What the gateway sees of each answer."""

    def __init__(self, rows):
        asked = "".join(json.dumps({k: row[k] for k in ("prompt", "weak_answer")}) + "\n" for row in rows)
        tool = ["cargo", "run", "-q", "-p", "routing-tools", "--bin", "answer-signals"]
        lines = subprocess.run(tool, input=asked.encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout.decode().splitlines()
        head = lines[0].split("\t")[1:]
        values = np.array([[float(x) for x in line.split("\t")] for line in lines[1:]])
        self.shipped, self.x = values[:, 0], values[:, 1:]
        self.names = [name.removeprefix("calculation:") for name in head]
        self.gate = self.names.index("Calculates")
        self.calculation = [i for i, name in enumerate(head) if name.startswith("calculation:") and i != self.gate]


class Model:
    def __init__(self, table, x, wrong):
        self.gate, self.calculation = table.gate, table.calculation
        gated = x[:, self.gate] > 0
        self.centre, self.deviation = np.zeros(x.shape[1]), np.ones(x.shape[1])
        self.centre[self.calculation] = x[gated][:, self.calculation].mean(0)
        self.deviation[self.calculation] = np.maximum(x[gated][:, self.calculation].std(0), LEAST_DEVIATION)
        prior, pull = np.zeros(x.shape[1]), np.full(x.shape[1], TO_ZERO)
        for name, weight in PRIORS.items():
            prior[table.names.index(name)], pull[table.names.index(name)] = weight, TO_PRIOR
        for name, weight in FIXED.items():
            at = table.names.index(name)
            prior[at], pull[at] = weight * self.deviation[at], 1e9
        pull[self.gate] = 0.01
        self.weights = prior.copy()
        z = self.standard(x)
        for _ in range(100):
            p = self.probability(x)
            slope = z.T @ (p - wrong) + pull * (self.weights - prior)
            step = np.linalg.solve((z.T * (p * (1 - p))) @ z + np.diag(pull), slope)
            self.weights -= step * min(1, 1 / abs(step).max())
            if abs(step).max() < 1e-9:
                break

    def standard(self, x):
        z = x.copy()
        c = self.calculation
        z[:, c] = (x[:, c] - self.centre[c]) * x[:, [self.gate]] / self.deviation[c]
        return z

    def probability(self, x):
        return 1 / (1 + np.exp(-(BASE + self.standard(x) @ self.weights)))


def auroc(wrong, score):
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    positives = wrong.sum()
    return (rank[wrong == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(wrong) - positives))


def apgr(score, weak, strong, draw):
    """Average performance gap recovered: quality over the share of strong calls, as arXiv 2406.18665 defines it."""
    order = np.lexsort((draw.random(len(score)), -score))
    quality = np.concatenate([[weak.sum()], weak.sum() + np.cumsum((strong - weak)[order])]) / len(score)
    share = np.arange(len(score) + 1) / len(score)
    return (np.trapezoid(quality, share) - weak.mean()) / (strong.mean() - weak.mean())


def calibration_error(wrong, p, bins=10):
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    return sum((bin_of == b).mean() * abs(p[bin_of == b].mean() - wrong[bin_of == b].mean()) for b in np.unique(bin_of))


def folds(wrong, k, seed):
    draw, fold = np.random.default_rng(seed), np.empty(len(wrong), int)
    for label in (0, 1):
        members = np.flatnonzero(wrong == label)
        draw.shuffle(members)
        fold[members] = np.arange(len(members)) % k
    return fold


def held_out(table, wrong, repeats, k=10):
    """Each answer's probability by models that never saw its question, over `repeats` divisions: one row each."""
    found = np.empty((repeats, len(wrong)))
    for seed in range(repeats):
        fold = folds(wrong, k, seed)
        for part in range(k):
            model = Model(table, table.x[fold != part], wrong[fold != part])
            found[seed, fold == part] = model.probability(table.x[fold == part])
    return found


def report(label, runs, wrong, strong, keep=None):
    """Means over the runs; 95 % intervals by drawing questions anew."""
    keep = np.arange(len(wrong)) if keep is None else keep
    runs, wrong, strong = runs[:, keep], wrong[keep], strong[keep]
    weak = 1.0 - wrong
    draw = np.random.default_rng(7)
    figures = lambda sample, run: (auroc(wrong[sample], run[sample]), apgr(run[sample], weak[sample], strong[sample], draw))
    everything = np.arange(len(wrong))
    mean = np.mean([figures(everything, run) for run in runs], axis=0)
    drawn = np.array([figures(draw.integers(0, len(wrong), len(wrong)), runs[i % len(runs)]) for i in range(1000)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    print(f"{label:44} AUROC {mean[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}]  APGR {mean[1]:.3f} [{low[1]:.3f}, {high[1]:.3f}]")


def marked(answer):
    """Whether an answer ends as its benchmark wants it."""
    return answer.rstrip().split("\n")[-1].startswith("####")


def breaks_off(answer):
    return not marked(answer) and answer.rstrip()[-1:] not in '.!)"'


def unmarked(row):
    """The same answer without the benchmark's marks, as any other model would write it."""
    lines = [line for line in row["weak_answer"].split("\n") if not line.startswith("####")]
    parts = "\n".join(lines).split("<<")
    text = parts[0] + "".join(part.split(">>", 1)[1] if ">>" in part else "" for part in parts[1:])
    return {**row, "weak_answer": text}


def write(table, model, figures):
    weights = model.weights / model.deviation
    rows = "".join(
        f'    ("{name}", {weight:.4f}, {centre:.4f}),\n'
        for name, weight, centre in zip(table.names, weights, model.centre)
    )
    WEIGHTS.write_text(f'''//! The weights of the signals, made by `tools/routing/train_upgrade.py`: do not edit.
//!
//! Source: answers of Mixtral-8x7B to {figures["n"]} questions of GSM8K, from lm-sys/RouteLLM (Apache-2.0; GSM8K: MIT),
//! and the priors that the tool documents. On questions held out, mean of {figures["repeats"]} times ten folds:
//! AUROC {figures["auroc"]:.3f}, APGR {figures["apgr"]:.3f}, expected calibration error {figures["ece"]:.3f}.

use super::signals::Signal;

/// The log-odds of an answer that nothing speaks for or against.
pub(super) const BASE: f64 = {BASE};

/// Of each signal: its name, log-odds per unit, and the value in a calculation that says nothing.
pub(super) const WEIGHTS: [(&str, f64, f64); Signal::COUNT] = [
{rows}];
''')


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("answers", type=Path)
    arguments.add_argument("--repeats", type=int, default=20)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--shipped", action="store_true", help="judge by the compiled-in weights, and train nothing")
    given = arguments.parse_args()
    rows = [json.loads(line) for line in given.answers.read_text().splitlines() if line]
    rows = [row for row in rows if not row.get("contaminated")]
    wrong = np.array([not row["weak_correct"] for row in rows], float)
    strong = np.array([row["strong_correct"] for row in rows], float)
    print(f"{len(rows)} answers, {wrong.mean():.1%} wrong; the strong model has {1 - strong.mean():.1%} wrong")
    table = Table(rows)
    runs = table.shipped[None] if given.shipped else held_out(table, wrong, given.repeats)
    doubt = runs.mean(0)
    report("doubt", runs, wrong, strong)
    whole = np.flatnonzero([not breaks_off(row["weak_answer"]) for row in rows])
    report(f"without the {len(rows) - len(whole)} answers that break off", runs, wrong, strong, whole)
    with_marks = np.flatnonzero([marked(row["weak_answer"]) for row in rows])
    report(f"only the {len(with_marks)} that end with a line of ####", runs, wrong, strong, with_marks)
    bare = Table([unmarked(row) for row in rows])
    report("marks taken out before", bare.shipped[None] if given.shipped else held_out(bare, wrong, given.repeats), wrong, strong)
    report("length of the question", np.array([[len(row["prompt"]) for row in rows]], float), wrong, strong)
    report("length of the answer", np.array([[len(row["weak_answer"]) for row in rows]], float), wrong, strong)
    report("random", np.random.default_rng(0).random((20, len(rows))), wrong, strong)
    print(f"expected calibration error {calibration_error(wrong, doubt):.3f}")
    for threshold in (0.3, 0.5, 0.7):
        above = doubt > threshold
        if above.any():
            print(f"doubt > {threshold}: {above.mean():.1%} of the answers, {wrong[above].mean():.1%} of them wrong")
    if given.write and not given.shipped:
        weak = 1.0 - wrong
        draw = np.random.default_rng(7)
        write(table, Model(table, table.x, wrong), {
            "n": len(rows),
            "repeats": given.repeats,
            "auroc": np.mean([auroc(wrong, run) for run in runs]),
            "apgr": np.mean([apgr(run, weak, strong, draw) for run in runs]),
            "ece": calibration_error(wrong, doubt),
        })


if __name__ == "__main__":
    sys.exit(main())
