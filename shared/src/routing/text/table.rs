//! Text to a unit vector: the mean of its word pieces' rows.
//!
//! Each of the 30,522 pieces has a fixed row, distilled from all-MiniLM-L6-v2 (`tools/routing/distil.py`), so a text costs one
//! look-up and 256 additions per piece: microseconds where the model itself takes a tenth of a second. What is lost is the
//! order of words. Rows are stored as whole numbers with one scale a row, a quarter of the bytes and the same neighbours.

use crate::provider::ProviderError;
use crate::routing::text::asset::{ASSET, CHECKSUM, ROW_BYTES};
use crate::routing::text::embedder::{EmbedCall, Embedded, Embedder};
use crate::routing::text::window;
use crate::routing::text::wordpiece::{Coverage, cut};

/// The length of the table's vectors.
pub const DIMENSIONS: usize = ROW_BYTES;

/// Which table it is: vectors of two of them are not to be compared.
pub(crate) const IDENTITY: u32 = CHECKSUM;

/// The embedder in process. It never fails and never waits; there is nothing to load.
#[derive(Debug, Clone, Copy, Default)]
pub struct StaticTable;

/// A text's vector, and how much of it the table knows.
#[derive(Debug, Clone)]
pub struct Pooled {
    /// Of unit length; all zero where no piece of the text is known.
    pub vector: [f32; DIMENSIONS],
    /// Of the words that were read.
    pub coverage: Coverage,
}

impl StaticTable {
    /// Embeds the head and the tail of a text.
    #[must_use]
    pub fn pool(&self, text: &str) -> Pooled {
        let mut sum = [0.0; DIMENSIONS];
        let mut add = |piece: u16| add_row(&mut sum, piece);
        let (head, tail) = window(text);
        let coverage = cut(head, &mut add) + cut(tail, &mut add);
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            let scale = length.recip();
            sum.iter_mut().for_each(|x| *x *= scale);
        }
        Pooled { vector: sum, coverage }
    }
}

/// The piece that a word is, if it is one, and one that the table knows.
pub(crate) fn piece_of(word: &str) -> Option<u16> {
    let mut piece = None;
    let coverage = cut(word, |found| piece = Some(found));
    piece.filter(|_| (coverage.pieces, coverage.unknown) == (1, 0))
}

/// A piece's row.
pub(crate) fn row_of(piece: u16) -> [f32; DIMENSIONS] {
    let mut row = [0.0; DIMENSIONS];
    add_row(&mut row, piece);
    row
}

/// The cosine of two pieces' rows; 0 where one has none.
pub(crate) fn nearness(a: u16, b: u16) -> f32 {
    let (mut dot, mut of_a, mut of_b) = (0, 0, 0);
    for (a, b) in ASSET.rows[usize::from(a)].iter().zip(&ASSET.rows[usize::from(b)]) {
        let (a, b) = (i32::from(a.cast_signed()), i32::from(b.cast_signed()));
        (dot, of_a, of_b) = (dot + a * b, of_a + a * a, of_b + b * b);
    }
    #[allow(clippy::cast_precision_loss)]
    let cosine = dot as f32 / (of_a as f32 * of_b as f32).sqrt();
    if of_a > 0 && of_b > 0 { cosine } else { 0.0 }
}

/// Adds a piece's row.
fn add_row(sum: &mut [f32; DIMENSIONS], piece: u16) {
    let scale = f32::from_le_bytes(ASSET.scales[usize::from(piece)]);
    for (sum, byte) in sum.iter_mut().zip(&ASSET.rows[usize::from(piece)]) {
        *sum += f32::from(byte.cast_signed()) * scale;
    }
}

#[async_trait::async_trait]
impl Embedder for StaticTable {
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    async fn embed(&self, call: EmbedCall<'_>) -> Result<Embedded, ProviderError> {
        Ok(Embedded { vectors: call.texts.iter().map(|text| self.pool(text).vector.to_vec()).collect(), usage: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RequestId;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};
    use std::io::Read;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut content).unwrap();
        content
    }

    fn nearness(a: &str, b: &str) -> f32 {
        StaticTable.pool(a).vector.iter().zip(&StaticTable.pool(b).vector).map(|(x, y)| x * y).sum()
    }

    /// The sum that the asset's model card states, of what `tools/routing/distil.py` prints.
    #[test]
    fn the_table_is_the_one_of_the_model_card() {
        let card = include_str!("../../../../assets/embedding/README.md");
        let content = unpacked(include_bytes!("../../../../assets/embedding/minilm-static-256.bin.gz"));
        let sum: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(card.contains(&sum), "{sum}");
        assert_eq!(IDENTITY, crc32fast::hash(&content), "vectors are compared by it");
    }

    /// Made by `tools/routing/vectors.py`.
    #[test]
    fn vectors_are_those_that_numpy_makes() {
        let lines = String::from_utf8(unpacked(include_bytes!("vectors.jsonl.gz"))).unwrap();
        assert!(lines.lines().count() >= 50);
        for line in lines.lines() {
            let (text, wanted): (String, Vec<f32>) = serde_json::from_str(line).unwrap();
            let found = StaticTable.pool(&text).vector;
            let farthest = found.iter().zip(&wanted).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(farthest < 1e-5, "{text:?} is {farthest} away");
        }
    }

    #[test]
    fn what_means_the_same_lies_near() {
        assert!(nearness("car", "automobile") > nearness("car", "banana") + 0.3);
        assert!(nearness("fix this bug", "debug the error") > nearness("fix this bug", "a poem about spring") + 0.2);
    }

    #[test]
    fn what_the_table_does_not_know_is_the_zero_vector() {
        for text in ["", " \n", "\0", "ꙮꙮ", "[MASK]"] {
            assert!(StaticTable.pool(text).vector.iter().all(|x| *x == 0.0), "{text:?}");
        }
    }

    #[test]
    fn only_head_and_tail_are_read() {
        let long = |middle: &str| format!("{}{middle}{}", "head ".repeat(180), " tail".repeat(100));
        let without = StaticTable.pool(&long(""));
        assert_eq!(StaticTable.pool(&long(&" other".repeat(100_000))).vector, without.vector);
    }

    proptest! {
        #[test]
        fn any_text_has_a_vector_of_unit_length_or_zero(text in any::<String>()) {
            let length = StaticTable.pool(&text).vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            prop_assert!(length == 0.0 || (length - 1.0).abs() < 1e-4, "length {}", length);
        }
    }

    #[tokio::test]
    async fn the_border_gives_what_it_promises() {
        let embedder: &dyn Embedder = &StaticTable;
        let call = EmbedCall { texts: &["hello", ""], now_ms: 0, id: RequestId::new(0) };
        let lengths: Vec<usize> = embedder.embed(call).await.unwrap().vectors.iter().map(Vec::len).collect();
        assert_eq!(lengths, [embedder.dimensions(); 2]);
    }
}
