//! Whether two texts ask the same: for the semantic cache, where a wrong yes is a wrong answer.
//!
//! Nearness of meaning alone cannot tell. In any embedding "capital of France" lies as near to "capital of Germany" as to
//! a paraphrase, and of single words Monday lies nearer to Tuesday than "car" to "automobile". So the words decide:
//! courtesies and fillers are taken away, inflections are undone, and what is left must be the same, word by word and in
//! its order. Numbers, names, negations and directions are words like others there. One word may differ, if the table says
//! that the two mean nearly the same ([`NEAR`]), and neither is one whose neighbours are other things: an opposite, a
//! member of a series, a name. See ADR 31; `docs/routing.md` has what this finds and what it takes for the same wrongly.
//!
//! What is kept of a text ([`Gist::to_bytes`]) are salted hashes of its words and the sum of their vectors, never a word
//! (T3). The word that differs is compared without being known: its vector is what the others leave of the sum.

mod canon;
mod lists;
mod reading;

use crate::routing::text::table::{self, DIMENSIONS, row_of};
use crate::routing::text::window;
use sha2::{Digest, Sha256};

/// Of two words that stand for each other, the cosine is at least this; chosen by the pairs of `pairs.tsv`.
pub const NEAR: f32 = 0.8;

/// To be raised with any change to how texts are read, or to the lists of words.
const READING: u32 = 1;
/// Of what reads texts, and of the table; what another one wrote is not compared.
pub const VERSION: u32 = table::IDENTITY.wrapping_add(READING);

/// A text in which more words count is compared with none.
const MOST_WORDS: usize = 48;
/// A text is at most so many times as long as another that asks the same.
const LONGEST_RATIO: usize = 3;
/// But for so many bytes, which a courtesy has.
const COURTESY_BYTES: usize = 40;
/// Version, count, length, mask, scale.
const HEAD_BYTES: usize = 4 + 1 + 2 + 8 + 4;

/// What a text asks.
#[derive(Debug, Clone)]
pub struct Gist {
    /// Of each word that counts a salted hash.
    hashes: Vec<[u8; 4]>,
    /// Which of them are plain words, that another may stand for.
    plain: u64,
    /// The pieces of those.
    pieces: Vec<Option<u16>>,
    /// The sum of their rows.
    sum: [f32; DIMENSIONS],
    bytes: usize,
}

impl Gist {
    /// Reads a text; `None` for one that is only ever the same as itself: too long to be read whole, with code in it, about
    /// its own words, or with none that count.
    #[must_use]
    pub fn of(text: &str, salt: &[u8; 32]) -> Option<Self> {
        if !window(text).1.is_empty() || text.contains("```") {
            return None;
        }
        let words = canon::words(text)?;
        if words.len() < 2 || words.len() > MOST_WORDS {
            return None;
        }
        let mut gist =
            Self { hashes: Vec::new(), plain: 0, pieces: Vec::new(), sum: [0.0; DIMENSIONS], bytes: text.len() };
        for (at, word) in words.iter().enumerate() {
            let hash = Sha256::new_with_prefix(salt).chain_update(&word.text).finalize();
            gist.hashes.push([hash[0], hash[1], hash[2], hash[3]]);
            gist.pieces.push(word.piece);
            if let Some(piece) = word.piece {
                gist.plain |= 1 << at;
                gist.sum.iter_mut().zip(row_of(piece)).for_each(|(sum, x)| *sum += x);
            }
        }
        Some(gist)
    }

    /// What is kept of it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let largest = self.sum.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + DIMENSIONS + 4 * self.hashes.len());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(u8::try_from(self.hashes.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&u16::try_from(self.bytes).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.plain.to_le_bytes());
        bytes.extend_from_slice(&scale.to_le_bytes());
        #[allow(clippy::cast_possible_truncation)]
        bytes.extend(self.sum.iter().map(|x| ((x / scale).round() as i8).cast_unsigned()));
        bytes.extend(self.hashes.iter().flatten());
        bytes
    }

    /// How alike, up to 1, another text is of which this is kept; `None` if it asks for something else.
    #[must_use]
    pub fn similarity(&self, kept: &[u8]) -> Option<f32> {
        self.similarity_by(NEAR, kept)
    }

    fn similarity_by(&self, near: f32, kept: &[u8]) -> Option<f32> {
        let kept = Kept::read(kept)?;
        let (short, long) = (self.bytes.min(kept.bytes), self.bytes.max(kept.bytes));
        if kept.hashes.len() != self.hashes.len() || long > LONGEST_RATIO * short + COURTESY_BYTES {
            return None;
        }
        let mut differ = (0..self.hashes.len()).filter(|&at| self.hashes[at] != kept.hashes[at]);
        let Some(at) = differ.next() else { return Some(1.0) };
        if differ.next().is_some() || kept.plain != self.plain {
            return None;
        }
        let own = row_of((*self.pieces.get(at)?)?);
        let sum = kept.sum();
        let mut other = [0.0; DIMENSIONS];
        for (i, other) in other.iter_mut().enumerate() {
            *other = sum[i] - (self.sum[i] - own[i]);
        }
        (cosine(&own, &other) >= near).then(|| cosine(&self.sum, &sum).min(1.0))
    }
}

/// What is kept of a text, read again.
struct Kept<'a> {
    bytes: usize,
    plain: u64,
    scale: f32,
    vector: &'a [u8],
    hashes: &'a [[u8; 4]],
}

impl<'a> Kept<'a> {
    fn read(kept: &'a [u8]) -> Option<Self> {
        let (head, rest) = kept.split_first_chunk::<HEAD_BYTES>()?;
        let (vector, hashes) = rest.split_at_checked(DIMENSIONS)?;
        let (hashes, over) = hashes.as_chunks::<4>();
        let [v0, v1, v2, v3, words, b0, b1, plain @ .., s0, s1, s2, s3] = *head;
        let is_own = u32::from_le_bytes([v0, v1, v2, v3]) == VERSION;
        let is_whole = is_own && over.is_empty() && hashes.len() == usize::from(words);
        is_whole.then(|| Self {
            bytes: usize::from(u16::from_le_bytes([b0, b1])),
            plain: u64::from_le_bytes(plain),
            scale: f32::from_le_bytes([s0, s1, s2, s3]),
            vector,
            hashes,
        })
    }

    fn sum(&self) -> [f32; DIMENSIONS] {
        let mut sum = [0.0; DIMENSIONS];
        sum.iter_mut().zip(self.vector).for_each(|(sum, x)| *sum = f32::from(x.cast_signed()) * self.scale);
        sum
    }
}

fn cosine(a: &[f32; DIMENSIONS], b: &[f32; DIMENSIONS]) -> f32 {
    let dot = |a: &[f32; DIMENSIONS], b: &[f32; DIMENSIONS]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests;
