//! Unpacks the embedder's table, which the core includes as bytes: so nothing is unpacked or parsed where a gateway starts.

use std::io::{self, BufReader, BufWriter};
use std::{env, fs::File, path::PathBuf};

const PACKED: &str = "../assets/embedding/minilm-static-256.bin.gz";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed={PACKED}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?);
    // The decoder compares the checksum that the file ends with.
    let mut unpacked = flate2::read::GzDecoder::new(BufReader::new(File::open(PACKED)?));
    io::copy(&mut unpacked, &mut BufWriter::new(File::create(out.join("minilm-static-256.bin"))?))?;
    Ok(())
}
