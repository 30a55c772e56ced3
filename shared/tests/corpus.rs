//! What the fuzzer found once stays found: every file of `fuzz/corpus` is fed to its property again.

#[path = "../../fuzz/src/lib.rs"]
mod properties;

use std::fs;
use std::path::Path;

#[test]
fn every_file_of_the_corpus_keeps_its_parsers_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, property) in properties::PROPERTIES {
        let files = fs::read_dir(corpus.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let mut replayed = 0;
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // The file's name belongs to the failure; the panic itself has been printed already.
            assert!(std::panic::catch_unwind(|| property(&bytes)).is_ok(), "{}", file.display());
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has no corpus");
    }
}
