"""Fits what each piece of evidence of shared/src/routing/text/language.rs weighs: a logistic, both sides counting the same.

    fit_language.py known.bin unknown.bin [known_held_out.bin unknown_held_out.bin]

The files are what `routing-features` makes of texts in English (code and formulas among them) and of texts in other languages.
Short texts are the hard ones: give the first words of some as texts of their own. Prints the constants, and what is wrong.
"""

import json
import sys

import numpy as np

PENALTY = 0.1


def read(path):
    data = open(path, "rb").read()
    at = data.index(b"\n") + 1
    head, evidence = json.loads(data[:at]), []
    before, width = head["embedding"] + head["surface"], head["language"]
    while at < len(data):
        evidence.append(np.frombuffer(data, "<f4", width, at + 4 * before))
        at += 4 * (before + width)
        at += 4 + 2 * int.from_bytes(data[at : at + 4], "little")
    evidence = np.array(evidence, dtype=np.float64)
    return evidence[~np.isnan(evidence).any(axis=1)]


def probability(evidence, weights):
    return 1 / (1 + np.exp(-(evidence @ weights[:-1] + weights[-1])))


def fit(known, unknown):
    x = np.vstack([known, unknown])
    y = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    share = np.r_[np.full(len(known), 0.5 / len(known)), np.full(len(unknown), 0.5 / len(unknown))] * len(y)
    ones = np.c_[x, np.ones(len(x))]
    penalty = PENALTY * np.diag(np.r_[np.ones(x.shape[1]), 0])
    weights = np.zeros(ones.shape[1])
    for _ in range(50):
        p = probability(x, weights)
        slope = ones.T @ (share * (y - p)) - penalty @ weights
        weights += np.linalg.solve((ones * (share * p * (1 - p))[:, None]).T @ ones + penalty, slope)
    return weights


def main():
    sides = [read(path) for path in sys.argv[1:]]
    weights = fit(*sides[:2])
    print("WEIGHTS", [round(weight, 2) for weight in weights[:-1].tolist()], "BIAS", round(weights[-1], 2))
    for path, evidence, is_known in zip(sys.argv[1:], sides, [True, False] * 2):
        wrong = (probability(evidence, weights) >= 0.5) != is_known
        print(f"{path}: {len(evidence)} texts with words, {wrong.mean():.1%} wrong")


main()
