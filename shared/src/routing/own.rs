//! A team's own intents, from their utterances alone: no training step, no tool, a few milliseconds when the gateway starts.
//!
//! A regression over how like a request is to each utterance gives each intent a score (kernel ridge regression, with a
//! Gaussian kernel over embedding and hashed words): with ten utterances for each of 150 intents it names 86 of 100 unseen
//! requests rightly, where the nearest utterance names 73.
//!
//! Whether a request is of these intents at all is another question, and the scores alone answer it badly. The best score and
//! the nearness of the nearest utterance do, against a margin that is fitted to these very utterances: each is scored as if
//! it had been left out, and the utterances of the shipped intents stand for everything else.

use crate::routing::head::sigmoid;
use crate::routing::text::hashed::{Grams, ROWS};

/// What the hashed words count in the likeness, against the embedding.
const HASHED: f32 = 0.2;
/// How fast the kernel falls with the likeness.
const STEEPNESS: f32 = 2.0;
/// The ridge: how far single utterances are mistrusted.
const RIDGE: f32 = 0.1;
/// What the nearest utterance's nearness counts beside the best score.
const NEAREST: f32 = 0.5;
/// How sharp the softmax over the scores may be; the best for these utterances is taken.
const SHARPNESS: [f32; 5] = [4.0, 8.0, 12.0, 16.0, 24.0];
/// Steps of Newton's method for the margin, which is then exact to the last digit.
const STEPS: usize = 25;
/// Keeps the margin finite where the two sides do not overlap at all.
const MARGIN_RIDGE: f32 = 0.02;

/// A text as own intents see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Of unit length, or zero; of the embedder that all texts of one [`OwnIntents`] share.
    pub vector: Vec<f32>,
    /// Its words.
    pub grams: Grams,
}

/// What own intents say of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnReading {
    /// The probability of each of them, provided that it is one; they sum to 1.
    pub scores: Vec<f32>,
    /// The probability that it is one of them.
    pub belongs: f32,
}

/// A team's own intents.
#[derive(Debug)]
pub struct OwnIntents {
    intents: usize,
    utterances: Vec<Seen>,
    /// What each utterance says for each intent: `[utterances, intents]`.
    shares: Vec<f32>,
    sharpness: f32,
    /// Slope and place of the margin.
    margin: (f32, f32),
}

impl OwnIntents {
    /// Learns intents from utterances, each with the number of its intent below `intents`, against what is no such intent.
    #[must_use]
    pub fn learn(intents: usize, utterances: &[(usize, Seen)], others: &[Seen]) -> Self {
        let n = utterances.len();
        let seen: Vec<Seen> = utterances.iter().map(|(_, seen)| seen.clone()).collect();
        let mut kernel = vec![0.0; n * n];
        for (i, row) in kernel.chunks_exact_mut(n.max(1)).enumerate() {
            let is_met = met(&seen[i]);
            row.iter_mut().zip(&seen[..=i]).for_each(|(value, other)| *value = alike(&seen[i], &is_met, other).0);
            row[i] += RIDGE;
        }
        let factor = Factor::of(kernel, n);
        let mut shares = vec![0.0; n * intents];
        utterances.iter().enumerate().for_each(|(i, (intent, _))| shares[i * intents + intent] = 1.0);
        factor.solve(&mut shares, intents);

        // As if each utterance had been left out: the closed form of the regression.
        let spread = factor.diagonal_of_inverse();
        let mut alone = Vec::with_capacity(n * intents);
        for (i, (intent, _)) in utterances.iter().enumerate() {
            alone.extend((0..intents).map(|c| f32::from(u8::from(c == *intent)) - shares[i * intents + c] / spread[i]));
        }
        let left_out = |i: usize| &alone[i * intents..(i + 1) * intents];
        let sharpness = sharpest(utterances.iter().enumerate().map(|(i, (intent, _))| (left_out(i), *intent)));
        let mut own = Self { intents, utterances: seen, shares, sharpness, margin: (1.0, 0.0) };
        let inside = own.utterances.iter().enumerate().map(|(i, seen)| {
            let others = own.utterances.iter().enumerate().filter(|(j, _)| *j != i);
            let nearest = others.map(|(_, other)| dot(&seen.vector, &other.vector)).fold(0.0, f32::max);
            greatest(left_out(i)) + NEAREST * nearest
        });
        let outside = others.iter().map(|seen| own.scores(seen).1);
        own.margin = margin(&inside.collect::<Vec<_>>(), &outside.collect::<Vec<_>>());
        own
    }

    /// What they say of a request.
    #[must_use]
    pub fn read(&self, seen: &Seen) -> OwnReading {
        let (mut scores, likeness) = self.scores(seen);
        let (slope, place) = self.margin;
        soften(&mut scores, self.sharpness);
        OwnReading { scores, belongs: sigmoid(slope * (likeness - place)) }
    }

    /// The score of each intent, and how much a request is like the utterances: the best score and the nearest one's nearness.
    fn scores(&self, seen: &Seen) -> (Vec<f32>, f32) {
        let (mut scores, mut nearest) = (vec![0.0; self.intents], 0.0f32);
        let is_met = met(seen);
        for (utterance, shares) in self.utterances.iter().zip(self.shares.chunks_exact(self.intents.max(1))) {
            let (value, nearness) = alike(seen, &is_met, utterance);
            nearest = nearest.max(nearness);
            scores.iter_mut().zip(shares).for_each(|(score, share)| *score += value * share);
        }
        let likeness = greatest(&scores) + NEAREST * nearest;
        (scores, likeness)
    }
}

/// Which rows of hashed words a text has.
fn met(seen: &Seen) -> [bool; ROWS] {
    let mut is_met = [false; ROWS];
    seen.grams.rows().iter().for_each(|row| is_met[usize::from(*row)] = true);
    is_met
}

/// The kernel of two texts, of which the first has these rows, and how near their vectors are.
fn alike(a: &Seen, is_met: &[bool; ROWS], b: &Seen) -> (f32, f32) {
    let nearness = dot(&a.vector, &b.vector);
    let shared = b.grams.rows().iter().filter(|row| is_met[usize::from(**row)]).count();
    let of_words = shared as f32 * a.grams.weight() * b.grams.weight();
    let likeness = (1.0 - HASHED) * nearness + HASHED * of_words;
    ((STEEPNESS * (likeness - 1.0)).exp(), nearness)
}

/// The sharpness under which what was left out is likeliest.
fn sharpest<'a>(left_out: impl Iterator<Item = (&'a [f32], usize)> + Clone) -> f32 {
    let surprise = |sharpness: f32| -> f32 {
        let of = |(scores, intent): (&[f32], usize)| {
            let mut scores = scores.to_vec();
            soften(&mut scores, sharpness);
            -scores[intent].max(f32::MIN_POSITIVE).ln()
        };
        left_out.clone().map(of).sum()
    };
    SHARPNESS.into_iter().min_by(|a, b| surprise(*a).total_cmp(&surprise(*b))).unwrap_or(1.0)
}

/// The logistic over one number that tells the inside from the outside, each side counting as much: its slope and its place.
fn margin(inside: &[f32], outside: &[f32]) -> (f32, f32) {
    let weight = |side: &[f32]| 1.0 / side.len().max(1) as f32;
    let mean = |side: &[f32]| side.iter().sum::<f32>() * weight(side);
    let middle = f32::midpoint(mean(inside), mean(outside));
    let (mut slope, mut offset) = (1.0f32, 0.0f32);
    for _ in 0..STEPS {
        let (mut g0, mut g1) = (0.0, MARGIN_RIDGE * slope * 1e-2);
        let (mut h00, mut h01, mut h11) = (1e-6, 0.0, MARGIN_RIDGE * 1e-2);
        for (side, is) in [(inside, 1.0), (outside, 0.0)] {
            for x in side.iter().map(|x| x - middle) {
                let p = sigmoid(slope * x + offset);
                let (error, curve) = ((p - is) * weight(side), (p * (1.0 - p)).max(1e-4) * weight(side));
                (g0, g1) = (g0 + error, g1 + error * x);
                (h00, h01, h11) = (h00 + curve, h01 + curve * x, h11 + curve * x * x);
            }
        }
        let determinant = h00 * h11 - h01 * h01;
        slope -= (g1 * h00 - g0 * h01) / determinant;
        offset -= (g0 * h11 - g1 * h01) / determinant;
    }
    let slope = if slope.is_finite() { slope.max(1.0) } else { 1.0 };
    (slope, middle - if offset.is_finite() { offset / slope } else { 0.0 })
}

/// The lower triangle of a positive definite matrix's Cholesky factor.
struct Factor {
    lower: Vec<f32>,
    n: usize,
}

impl Factor {
    fn of(mut matrix: Vec<f32>, n: usize) -> Self {
        for i in 0..n {
            let (above, row) = matrix.split_at_mut(i * n);
            for j in 0..i {
                let other = &above[j * n..j * n + j + 1];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            row[i] = (row[i] - dot(&row[..i], &row[..i])).max(f32::MIN_POSITIVE).sqrt();
        }
        Self { lower: matrix, n }
    }

    /// Solves for several right sides at once, in place: `[n, columns]`.
    fn solve(&self, sides: &mut [f32], columns: usize) {
        let scaled = |sides: &mut [f32], i: usize, j: usize, factor: f32| {
            let (low, high) = (i.min(j), i.max(j));
            let (first, second) = sides.split_at_mut(high * columns);
            let (low, high) = (&mut first[low * columns..(low + 1) * columns], &mut second[..columns]);
            let (to, from) = if i < j { (low, high) } else { (high, low) };
            to.iter_mut().zip(from).for_each(|(to, from)| *to -= factor * *from);
        };
        for i in 0..self.n {
            for j in 0..i {
                scaled(sides, i, j, self.lower[i * self.n + j]);
            }
            let by = self.lower[i * self.n + i].recip();
            sides[i * columns..(i + 1) * columns].iter_mut().for_each(|side| *side *= by);
        }
        for i in (0..self.n).rev() {
            for j in i + 1..self.n {
                scaled(sides, i, j, self.lower[j * self.n + i]);
            }
            let by = self.lower[i * self.n + i].recip();
            sides[i * columns..(i + 1) * columns].iter_mut().for_each(|side| *side *= by);
        }
    }

    /// The diagonal of the matrix's inverse.
    fn diagonal_of_inverse(&self) -> Vec<f32> {
        let n = self.n;
        let mut diagonal = vec![0.0; n];
        let mut column = vec![0.0; n];
        for (start, value) in diagonal.iter_mut().enumerate() {
            column[..].fill(0.0);
            for i in start..n {
                let row = &self.lower[i * n..i * n + i + 1];
                let unit = f32::from(u8::from(i == start));
                column[i] = (unit - dot(&row[start..i], &column[start..i])) / row[i];
            }
            *value = column[start..].iter().map(|x| x * x).sum();
        }
        diagonal
    }
}

/// The inner product, in sums that a processor adds at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let (a, b) = (a.chunks_exact(WIDTH), b.chunks_exact(WIDTH));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; WIDTH];
    for (a, b) in a.zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    rest + sums.iter().sum::<f32>()
}

fn greatest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(0.0, f32::max)
}

/// Softmax, in place. The greatest is taken off first, so that no exponential overflows.
fn soften(scores: &mut [f32], sharpness: f32) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = (sharpness * (*score - greatest)).exp());
    let total: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= total);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::head::Features;

    const UTTERANCES: [&[&str]; 2] = [
        &["cancel my subscription", "I want to end my plan", "please stop billing me every month", "close my account"],
        &["where is my parcel", "track my order", "has my package been shipped yet", "when will the delivery arrive"],
    ];
    const OTHERS: [&str; 10] = [
        "what does this regex match",
        "how old are you",
        "summarize the article below in three sentences",
        "which planet is the largest",
        "write a function that sorts a list",
        "what is the capital of France",
        "good morning",
        "translate this letter to Spanish",
        "prove that the square root of two is irrational",
        "write a poem about autumn",
    ];

    fn seen(text: &str) -> Seen {
        let features = Features::of(text);
        Seen { vector: features.embedding.to_vec(), grams: features.grams }
    }

    fn learnt() -> OwnIntents {
        let of =
            |(intent, texts): (usize, &&[&str])| texts.iter().map(move |text| (intent, seen(text))).collect::<Vec<_>>();
        let utterances: Vec<_> = UTTERANCES.iter().enumerate().flat_map(of).collect();
        OwnIntents::learn(2, &utterances, &OTHERS.map(seen))
    }

    #[test]
    fn requests_that_were_not_foreseen_find_their_intent() {
        let own = learnt();
        for (text, intent) in [
            ("I'd like to cancel my plan", 0),
            ("stop my subscription please", 0),
            ("where's my package?", 1),
            ("has the order been shipped", 1),
        ] {
            let reading = own.read(&seen(text));
            assert!(reading.scores[intent] > 0.5 && reading.belongs > 0.5, "{text}: {reading:?}");
        }
    }

    #[test]
    fn what_is_something_else_does_not_belong() {
        let own = learnt();
        for text in ["write a regex for dates", "who painted the Mona Lisa", "hello there", "integrate x squared", ""] {
            let reading = own.read(&seen(text));
            assert!(reading.belongs < 0.5, "{text}: {reading:?}");
            assert!((reading.scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn one_utterance_twice_and_an_intent_alone_are_no_harm() {
        let own = OwnIntents::learn(1, &[(0, seen("track my order")), (0, seen("track my order"))], &[]);
        let reading = own.read(&seen("track my order"));
        assert_eq!(reading.scores, [1.0]);
        assert!((0.0..=1.0).contains(&reading.belongs), "{reading:?}");
    }

    #[test]
    fn the_factor_solves_and_inverts() {
        let matrix = [4.0, 2.0, 0.4, 2.0, 3.0, 0.5, 0.4, 0.5, 1.0];
        let factor = Factor::of(matrix.to_vec(), 3);
        let mut inverse = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        factor.solve(&mut inverse, 3);
        for i in 0..3 {
            for j in 0..3 {
                let product: f32 = (0..3).map(|k| matrix[i * 3 + k] * inverse[k * 3 + j]).sum();
                assert!((product - f32::from(u8::from(i == j))).abs() < 1e-5, "{inverse:?}");
            }
            assert!((factor.diagonal_of_inverse()[i] - inverse[i * 4]).abs() < 1e-5);
        }
    }
}
