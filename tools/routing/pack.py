"""Writes the table of word pieces as the gateway reads it: sections that are indexed where they lie, nothing to parse.

All numbers are little-endian.

    magic        8 bytes "wordpcs1"
    counts       6 u32: pieces, dimensions, slots for pieces that begin a word, slots for those that continue one, spellings, blocks
    longest      2 u32: bytes of the longest piece that begins a word, and of the longest that continues one
    rows         i8 [pieces, dimensions]
    scales       f32 [pieces]
    beginnings   u32 [slots]: hash table; the high half is a tag of the hash, the low half a piece, 0 where the slot is free
    continuings  u32 [slots]: the same, for pieces that continue a word (their `##` left out)
    ends         u32 [pieces]: where each piece's text ends; it begins where the one before ends
    spellings    [spellings, 8]: the UTF-8 of what a character is read as, and in the last byte its length
    pages        u8 [4352]: the block of each 256 characters
    blocks       u16 [blocks, 256]: each character's spelling; bit 15 is set where it is a word of its own
    text         the pieces' UTF-8, their `##` left out

What a character is read as (lower case, accents off, or nothing at all) is what the reference does with it: asked of the
`tokenizers` library, character by character, so that its version of Unicode is ours too. Spellings 0, 1 and 2 are nothing,
white space, and a character that stands in no piece. Hangul syllables are not listed: they are three letters by arithmetic.
"""

import gzip
import struct

import numpy as np
from tokenizers import BertWordPieceTokenizer

MAGIC = b"wordpcs1"
NOTHING, SPACE, UNKNOWN = 0, 1, 2
ALONE = 1 << 15
HANGUL = range(0xAC00, 0xD7A4)
SURROGATES = range(0xD800, 0xE000)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def spread(text):
    """FNV-1a, multiplied once more so that the high bits, which choose the slot, depend on all of it."""
    hash = 0x811C9DC5
    for byte in text:
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return hash * 0x9E3779B1 & 0xFFFFFFFF


def slots(pieces, bits):
    """Open addressing with linear probing. `pieces`: their texts by id."""
    table = np.zeros(1 << bits, np.uint32)
    for piece, text in pieces.items():
        hash = spread(text)
        at = hash >> (32 - bits)
        while table[at]:
            at = (at + 1) % len(table)
        table[at] = (hash & 0xFFFF) << 16 | piece
    return table


class Characters:
    """How the reference reads each character."""

    def __init__(self, vocabulary_file, letters):
        tokenizer = BertWordPieceTokenizer(str(vocabulary_file), lowercase=True)._tokenizer
        self.normalizer, self.splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.letters = letters
        self.spellings = {}
        for special in ("", " ", "\N{REPLACEMENT CHARACTER}"):
            self.spelling(special)

    def spelling(self, text):
        return self.spellings.setdefault(text, len(self.spellings))

    def entry(self, code):
        if code in SURROGATES or code in HANGUL:
            return UNKNOWN
        words = [word for word, _ in self.splitter.pre_tokenize_str(self.normalizer.normalize_str(f"a{chr(code)}b"))]
        if words == ["ab"]:
            return NOTHING
        if words == ["a", "b"]:
            return SPACE
        alone = len(words) == 3
        text = words[1] if alone else words[0][1:-1]
        known = all(letter in self.letters for letter in text)
        return (self.spelling(text) if known else UNKNOWN) | (ALONE if alone else 0)

    def blocks(self):
        pages, blocks = [], {}
        for page in range(0, 0x110000, 256):
            block = struct.pack("<256H", *(self.entry(code) for code in range(page, page + 256)))
            pages.append(blocks.setdefault(block, len(blocks)))
        return bytes(pages), list(blocks)


def packed(vocabulary, vocabulary_file, rows, scale):
    """The content of the asset."""
    used = {piece: text for piece, text in enumerate(vocabulary) if not (text.startswith("[") and text.endswith("]") and len(text) > 1)}
    begin = {piece: text.encode() for piece, text in used.items() if not text.startswith("##")}
    go_on = {piece: text[2:].encode() for piece, text in used.items() if text.startswith("##")}
    texts = [begin.get(piece, go_on.get(piece, b"")) for piece in range(len(vocabulary))]
    beginnings, continuings = slots(begin, 16), slots(go_on, 14)
    characters = Characters(vocabulary_file, set("".join(begin_or_on.decode() for begin_or_on in texts)))
    pages, blocks = characters.blocks()
    spellings = [text.encode().ljust(7, b"\0") + bytes([len(text.encode())]) for text in characters.spellings]
    counts = (len(vocabulary), rows.shape[1], len(beginnings), len(continuings), len(spellings), len(blocks))
    longest = (max(map(len, begin.values())), max(map(len, go_on.values())))
    assert all(len(spelling) == 8 for spelling in spellings) and len(spellings) < ALONE and len(vocabulary) < 1 << 16
    ends = np.cumsum([len(text) for text in texts])
    return b"".join(
        [
            MAGIC,
            struct.pack("<8I", *counts, *longest),
            rows.astype("<i1").tobytes(),
            scale.astype("<f4").tobytes(),
            beginnings.astype("<u4").tobytes(),
            continuings.astype("<u4").tobytes(),
            ends.astype("<u4").tobytes(),
            *spellings,
            pages,
            *blocks,
            *texts,
        ]
    )


def write(path, content):
    """Compressed, without a date or a name in it."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))
