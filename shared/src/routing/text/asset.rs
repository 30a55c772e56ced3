//! The table of word pieces, as it lies in the binary.
//!
//! It is sliced when the gateway is compiled: a start costs nothing, and the pages of a piece that no prompt has are never
//! read. `tools/routing/pack.py` writes it and describes its sections; what a gateway does with them is in
//! [`super::wordpiece`] and [`super::table`].

/// The numbers of a piece's row, a byte each.
pub(super) const ROW_BYTES: usize = 256;
/// Characters of a block.
pub(super) const BLOCK: usize = 256;

const MAGIC: &[u8; 8] = b"wordpcs1";
const HEADER_BYTES: usize = 40;
/// Pages of [`BLOCK`] characters that Unicode has.
const PAGES: usize = 0x11_0000 / BLOCK;

/// The sections.
#[derive(Debug)]
pub(super) struct Asset {
    /// A piece's numbers, in multiples of its scale; signed.
    pub(super) rows: &'static [[u8; ROW_BYTES]],
    pub(super) scales: &'static [[u8; 4]],
    /// Pieces that begin a word.
    pub(super) beginnings: Slots,
    /// Pieces that continue one.
    pub(super) continuings: Slots,
    /// Where each piece's text ends; it begins where the one before ends.
    pub(super) ends: &'static [[u8; 4]],
    /// What a character is read as: UTF-8, and in the last byte its length.
    pub(super) spellings: &'static [[u8; 8]],
    /// The block of each page of characters.
    pub(super) pages: &'static [u8],
    /// The spelling of each character of a block.
    pub(super) blocks: &'static [[[u8; 2]; BLOCK]],
    /// The pieces' texts.
    pub(super) text: &'static [u8],
}

/// A hash table: in each slot a piece and sixteen bits of its hash, or zero.
#[derive(Debug)]
pub(super) struct Slots {
    pub(super) slots: &'static [[u8; 4]],
    /// The bytes of its longest piece.
    pub(super) longest: usize,
}

/// What is committed as `assets/embedding/minilm-static-256.bin.gz`.
pub(super) static ASSET: Asset = Asset::over(include_bytes!(concat!(env!("OUT_DIR"), "/minilm-static-256.bin")));

/// The table's checksum, with which its packed file ends: another table has another one.
pub(super) const CHECKSUM: u32 =
    match include_bytes!("../../../../assets/embedding/minilm-static-256.bin.gz").last_chunk::<8>() {
        Some([a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
        None => panic!("it is empty"),
    };

impl Asset {
    /// The sections of a file. Whatever is wrong with it is an error of compilation.
    const fn over(file: &'static [u8]) -> Self {
        assert!(matches!(file.first_chunk(), Some(MAGIC)), "this is another file, or another version of it");
        let pieces = number(file, 8);
        assert!(number(file, 12) == ROW_BYTES, "its rows have another length");
        let (begin, go_on) = (number(file, 16), number(file, 20));
        let (spellings, blocks) = (number(file, 24), number(file, 28));
        assert!(begin.is_power_of_two() && go_on.is_power_of_two() && pieces <= 1 << 16, "no piece has such a number");
        let rest = file.split_at(HEADER_BYTES).1;
        let (rows, rest) = array(rest, pieces);
        let (scales, rest) = array(rest, pieces);
        let (beginnings, rest) = array(rest, begin);
        let (continuings, rest) = array(rest, go_on);
        let (ends, rest) = array(rest, pieces);
        let (spellings, rest) = array(rest, spellings);
        let (pages, rest) = rest.split_at(PAGES);
        let (entries, text) = array(rest, blocks * BLOCK);
        Self {
            rows,
            scales,
            beginnings: Slots { slots: beginnings, longest: number(file, 32) },
            continuings: Slots { slots: continuings, longest: number(file, 36) },
            ends,
            spellings,
            pages,
            blocks: entries.as_chunks().0,
            text,
        }
    }
}

/// A count of the header.
const fn number(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize
}

/// So many elements of so many bytes each, and what follows them.
const fn array<const BYTES: usize>(rest: &'static [u8], length: usize) -> (&'static [[u8; BYTES]], &'static [u8]) {
    let (section, rest) = rest.split_at(length * BYTES);
    (section.as_chunks().0, rest)
}
