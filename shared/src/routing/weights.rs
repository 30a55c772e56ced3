//! What was learnt about prompts, as it lies in the binary: the weights of the intents and of the hardness.
//!
//! `tools/routing/train.py` writes the file and says where each number comes from. It is sliced when the gateway is
//! compiled, so that a start costs nothing. Intents and hardness share their matrices, a lane each, because they read the
//! same features: one pass over a row serves all.

use crate::routing::text::hashed::ROWS;
use crate::routing::text::surface::SURFACE;
use crate::routing::text::table::DIMENSIONS;

/// Intents that the head knows.
pub(super) const INTENTS: usize = 14;
/// The lane of the hardness; the intents' come before it.
pub(super) const HARDNESS: usize = INTENTS;
/// Columns of every matrix; the last is empty.
pub(super) const LANES: usize = 16;
/// Leaves of a tree; it has one fork fewer.
pub(super) const LEAVES: usize = 8;
/// Entries of the table of confidences, from 0 to 100 percent.
pub(super) const QUANTILES: usize = 101;
/// Single numbers; see [`Scalars`].
const SCALARS: usize = 8;

const MAGIC: &[u8; 8] = b"routing1";
const HEADER_BYTES: usize = 32;

/// A 32-bit float, little-endian.
pub(super) type Float = [u8; 4];
/// Of a tree: a feature of the surface, the place to go on if it is at most the threshold, the place if it is above, nothing,
/// and the threshold. A place below [`LEAVES`] is a fork's, the leaves' begin there.
pub(super) type Fork = [u8; 8];

/// The sections.
#[derive(Debug)]
pub(super) struct Weights {
    /// `[DIMENSIONS + SURFACE]` rows: for a text that the table of word pieces knows.
    pub(super) known: &'static [[Float; LANES]],
    /// `[SURFACE]` rows: for a text that it does not know; zero but for what is free of language.
    pub(super) unknown: &'static [[Float; LANES]],
    /// `[ROWS]` rows, signed, in multiples of the lane's scale.
    pub(super) hashed: &'static [[u8; LANES]],
    /// What is added in each lane: to `known`, to `unknown`, to `hashed`; and the scales of `hashed`.
    pub(super) biases: &'static [[Float; LANES]],
    /// `LEAVES − 1` forks for each tree, from its root.
    pub(super) forks: &'static [Fork],
    /// `LEAVES` values for each tree.
    pub(super) leaves: &'static [Float],
    /// The confidence of which so many percent of prompts fall short.
    pub(super) quantiles: &'static [Float],
    scalars: &'static [Float],
    /// The names of the intents, then those of the surface's features, a line each.
    pub(super) names: &'static [u8],
}

/// The single numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalars {
    /// What the mean log-probability of the two heads is multiplied with.
    pub(super) sharpness: f32,
    /// The hardness is `slope · raw + offset`.
    pub(super) hardness: (f32, f32),
    /// What the hard intents count at most, how far above one half their mass is clear, and what is added for caution; in logits.
    pub(super) topic: (f32, f32, f32),
    /// The probability of the weak tier that a text needs whose language is not known.
    pub(super) unknown_is_cheap_from: f32,
}

/// What is committed as `assets/routing/weights.bin`.
pub(super) static WEIGHTS: Weights = Weights::over(include_bytes!("../../../assets/routing/weights.bin"));

impl Weights {
    /// The sections of a file. Whatever is wrong with it is an error of compilation.
    const fn over(file: &'static [u8]) -> Self {
        assert!(matches!(file.first_chunk(), Some(MAGIC)), "this is another file, or another version of it");
        assert!(number(file, 8) == INTENTS && number(file, 12) == DIMENSIONS, "it has other intents or another table");
        assert!(number(file, 16) == SURFACE && number(file, 20) == ROWS, "it was trained on other features");
        let trees = number(file, 24);
        let rest = file.split_at(HEADER_BYTES).1;
        let (known, rest) = matrix(rest, DIMENSIONS + SURFACE);
        let (unknown, rest) = matrix(rest, SURFACE);
        let (biases, rest) = matrix(rest, 4);
        let (hashed, rest) = rest.split_at(ROWS * LANES);
        let (forks, rest) = rest.split_at(trees * (LEAVES - 1) * size_of::<Fork>());
        let (leaves, rest) = floats(rest, trees * LEAVES);
        let (quantiles, rest) = floats(rest, QUANTILES);
        let (scalars, names) = floats(rest, SCALARS);
        Self {
            known,
            unknown,
            hashed: hashed.as_chunks().0,
            biases,
            forks: forks.as_chunks().0,
            leaves,
            quantiles,
            scalars,
            names,
        }
    }

    /// The single numbers.
    pub(super) fn scalars(&self) -> Scalars {
        let at = |index: usize| self.scalars.get(index).copied().map_or(0.0, f32::from_le_bytes);
        Scalars {
            sharpness: at(0),
            hardness: (at(1), at(2)),
            topic: (at(3), at(4), at(5)),
            unknown_is_cheap_from: at(6),
        }
    }
}

/// A number of the header.
const fn number(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize
}

/// So many numbers, and what follows them.
const fn floats(rest: &'static [u8], length: usize) -> (&'static [Float], &'static [u8]) {
    let (section, rest) = rest.split_at(length * size_of::<Float>());
    (section.as_chunks().0, rest)
}

/// So many rows of a number per lane, and what follows them.
const fn matrix(rest: &'static [u8], rows: usize) -> (&'static [[Float; LANES]], &'static [u8]) {
    let (section, rest) = floats(rest, rows * LANES);
    (section.as_chunks().0, rest)
}
