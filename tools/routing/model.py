"""The router's models: how they are fitted, what they predict, and how they are written for the gateway.

Features come from the gateway's own code (`routing-features`), so that there is one definition of them.
"""

import json
import os
import struct
import subprocess
import tempfile
from dataclasses import dataclass

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # the order of additions, and so the last digit, depends on it

import numpy as np
from scipy.sparse import csr_matrix, vstack
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from sets import HARD, INTENTS, ROOT, weight

IS_HARD = np.array([name in HARD for name in INTENTS])
LANES, LEAVES, TREES = 16, 8, 150
# The embedding is of unit length, and the surface's features are about one each.
EMBEDDING = 3.0
SHARPNESS = 1.15
LEAST_LOG_PROBABILITY = -12.0
# What the hard intents count in the logit at most, how far above one half their mass is clear, and how far all is moved towards the
# strong tier, whose wrong use costs some money where the weak one's costs an answer.
TOPIC, CLEAR, CAUTION = 3.0, 0.15, 1.0
# From where on a language is taken for known, and below which it is not.
CERTAIN, READABLE = 0.9, 0.3
# Difficulty: what a strong model gains, and beside it what a weak one gets wrong; what a prompt of a hard intent counts as.
WRONG, HARD_GAIN, LABELLED_WEIGHT, LLMROUTER_WEIGHT = 0.1, 0.5, 0.1, 0.3


@dataclass
class Features:
    """Of n texts."""

    embedding: np.ndarray  # [n, 256]
    surface: np.ndarray  # [n, S]
    hashed: csr_matrix  # [n, rows]
    known: np.ndarray  # [n]
    head: dict

    def __getitem__(self, which):
        return Features(self.embedding[which], self.surface[which], self.hashed[which], self.known[which], self.head)

    @property
    def dense(self):
        return np.hstack([self.embedding * EMBEDDING, self.surface])

    @property
    def free(self):
        """The surface that means the same in any language."""
        return self.surface * np.array(self.head["language_free"], np.float32)


def features(texts):
    """The features of texts, by the gateway's code."""
    program = os.environ.get("ROUTING_FEATURES", str(ROOT / "target/release/routing-features"))
    with tempfile.TemporaryFile() as given:
        for text in texts:
            given.write(json.dumps({"text": text}).encode() + b"\n")
        given.seek(0)
        data = subprocess.run([program], stdin=given, capture_output=True, check=True).stdout
    at = data.index(b"\n") + 1
    head = json.loads(data[:at])
    surface = head["embedding"] + head["surface"]
    width = surface + head["language"] + 1
    dense, columns, starts = [], [], [0]
    while at < len(data):
        dense.append(np.frombuffer(data, "<f4", width, at))
        at += 4 * width
        count = int.from_bytes(data[at : at + 4], "little")
        columns.append(np.frombuffer(data, "<u2", count, at + 4))
        at += 4 + 2 * count
        starts.append(starts[-1] + count)
    counts = np.diff(starts)
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
    hashed = csr_matrix((values, np.concatenate(columns).astype(np.int32), starts), (len(texts), head["rows"]))
    dense = np.array(dense)
    assert len(dense) == len(texts)
    return Features(dense[:, : head["embedding"]], dense[:, head["embedding"] : surface], hashed, dense[:, -1], head)


def mixed(given):
    """How much what a known language says counts against what is free of language."""
    return np.where(given.known >= CERTAIN, 1.0, given.known)


def logit(p):
    p = np.clip(p, 0.001, 0.999)
    return np.log(p / (1 - p))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Heads:
    """Two linear heads that name the intent, and a third for texts in unknown languages."""

    def __init__(self, rows, given):
        labels = [INTENTS.index(row["intent"]) for row in rows]
        weights = np.array([weight(row["source"]) for row in rows])
        fit = lambda c, x, steps: LogisticRegression(C=c, max_iter=steps).fit(x, labels, sample_weight=weights)
        self.dense = fit(1.0, given.dense, 400)
        self.hashed = fit(30.0, given.hashed, 200)
        self.free = fit(1.0, given.free, 400)
        for head in (self.dense, self.hashed, self.free):
            assert list(head.classes_) == list(range(len(INTENTS)))

    def probabilities(self, given):
        """[n, intents]"""
        known = mixed(given)[:, None]
        first = known * self.dense.decision_function(given.dense) + (1 - known) * self.free.decision_function(given.free)
        logs = [log_softmax(first, axis=1), self.hashed.predict_log_proba(given.hashed)]
        pair = [np.maximum(p, LEAST_LOG_PROBABILITY) for p in logs]
        mean = SHARPNESS * sum(pair) / 2
        p = np.exp(mean - mean.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)


class Difficulty:
    """P(a cheap model's answer would not do), from how models answered and from the labelled prompts."""

    def __init__(self, routed, given_routed, labelled, given_labelled):
        gain = np.array([row["strong"] - row["weak"] + WRONG * (1 - row["weak"]) for row in routed])
        target = np.concatenate([gain, [HARD_GAIN * row["hard"] for row in labelled]])
        weights = np.array([LLMROUTER_WEIGHT if row["source"].startswith("llmrouter") else 1.0 for row in routed])
        weights = np.concatenate([weights, np.full(len(labelled), LABELLED_WEIGHT)])
        stack = lambda name: np.vstack([getattr(given_routed, name), getattr(given_labelled, name)])
        self.dense = Ridge(alpha=60).fit(stack("dense"), target, sample_weight=weights)
        self.free = Ridge(alpha=60).fit(stack("free"), target, sample_weight=weights)
        hashed = vstack([given_routed.hashed, given_labelled.hashed]).tocsr()
        self.hashed = Ridge(alpha=10, solver="sparse_cg").fit(hashed, target, sample_weight=weights)
        trees = HistGradientBoostingRegressor(
            max_iter=TREES, max_leaf_nodes=LEAVES, learning_rate=0.05, min_samples_leaf=60, early_stopping=False, random_state=0
        )
        self.trees = trees.fit(stack("surface"), target, sample_weight=weights)
        self.slope, self.offset = 1.0, 0.0

    def raw(self, given):
        known = mixed(given)
        first = known * self.dense.predict(given.dense) + (1 - known) * self.free.predict(given.free)
        return first + self.hashed.predict(given.hashed) + self.trees.predict(given.surface)

    def calibrate(self, raw, raw_labels, wrong, hard):
        """Fits the logit to how often a cheap model's answer did not do, and to the labels, each side counting as much; on
        rows that it was not trained on."""
        twice = np.concatenate([raw, raw, raw_labels])[:, None]
        did_not = np.concatenate([np.ones(len(raw)), np.zeros(len(raw)), hard])
        weights = np.concatenate([wrong / len(raw), (1 - wrong) / len(raw), np.full(len(hard), 1 / len(hard))])
        fit = LogisticRegression(C=1e6).fit(twice, did_not, sample_weight=weights * len(raw) + 1e-9)
        self.slope, self.offset = float(fit.coef_[0, 0]), float(fit.intercept_[0])

    def hardness(self, given):
        """The logit of the probability that a cheap model's answer would not do, whatever the topic."""
        return self.slope * self.raw(given) + self.offset


def exams(given):
    """Which are questions with options to choose from."""
    names = given.head["names"]
    return (given.surface[:, [names.index("choices_in_line"), names.index("choices_in_lines")]] > 0).any(1)


def need(mass, hardness, is_exam):
    """P(a strong tier is needed), from the mass of the hard intents and the hardness.

    The hardness orders what is about the same: where the hard intents have it clearly, it alone decides how hard. Of an exam's
    question the topic says nothing: a model that knows the subject is right whatever it is.
    """
    topic = np.where(mass > 0.5, TOPIC * np.clip((mass - 0.5) / CLEAR, 0, 1), logit(mass)) + CAUTION
    return sigmoid(hardness + np.where(is_exam, 0.0, topic))


def write(path, heads, difficulty, unknown_is_cheap_from, quantiles, head):
    """Writes what `shared/src/routing/weights.rs` slices."""
    surface, rows, wide = head["surface"], head["rows"], head["embedding"]

    def lanes(logistic, ridge, scale):
        out = np.zeros((len(scale), LANES), np.float32)
        out[:, : len(INTENTS)] = logistic.coef_.T * scale[:, None]
        out[:, len(INTENTS)] = ridge.coef_ * scale
        return out

    def bias(logistic, ridge):
        out = np.zeros(LANES, np.float32)
        out[: len(INTENTS)] = logistic.intercept_
        out[len(INTENTS)] = ridge.intercept_
        return out

    free = np.array(head["language_free"], np.float32)
    known = lanes(heads.dense, difficulty.dense, np.concatenate([np.full(wide, EMBEDDING), np.ones(surface)]))
    unknown = lanes(heads.free, difficulty.free, free)
    hashed = lanes(heads.hashed, difficulty.hashed, np.ones(rows))
    scale = np.maximum(np.abs(hashed).max(0), 1e-30) / 127
    steps = np.round(hashed / scale).astype(np.int8)
    forks, leaves = b"", []
    for (tree,) in difficulty.trees._predictors:
        nodes = tree.nodes
        inner = [i for i, node in enumerate(nodes) if not node["is_leaf"]]
        ends = [i for i, node in enumerate(nodes) if node["is_leaf"]]
        place = {node: i for i, node in enumerate(inner)} | {node: LEAVES + i for i, node in enumerate(ends)}
        for i in inner:
            node = nodes[i]
            fork = (node["feature_idx"], place[node["left"]], place[node["right"]], 0, np.float32(node["num_threshold"]))
            forks += struct.pack("<BBBBf", *fork)
        forks += bytes(8) * (LEAVES - 1 - len(inner))
        leaves.append([nodes[i]["value"] for i in ends] + [0.0] * (LEAVES - len(ends)))
    baseline = float(np.ravel(difficulty.trees._baseline_prediction)[0])
    biases = np.stack([bias(heads.dense, difficulty.dense), bias(heads.free, difficulty.free), bias(heads.hashed, difficulty.hashed), scale])
    scalars = [SHARPNESS, difficulty.slope, difficulty.offset + difficulty.slope * baseline, TOPIC, CLEAR, CAUTION, unknown_is_cheap_from, 0]
    with open(path, "wb") as out:
        out.write(b"routing1" + struct.pack("<6I", len(INTENTS), wide, surface, rows, len(leaves), 0))
        for part in (known, unknown, biases):
            out.write(part.astype("<f4").tobytes())
        out.write(steps.tobytes() + forks)
        for part in (leaves, quantiles, scalars):
            out.write(np.array(part, "<f4").tobytes())
        out.write("\n".join(INTENTS + head["names"]).encode() + b"\n")
