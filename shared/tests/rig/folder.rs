//! A folder of a test's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder that goes when the test is over.
pub struct Folder(pub(super) PathBuf);

impl Folder {
    pub fn new() -> Self {
        // In memory where there is such a place: the disk is not what is tested here, and each gateway waits for it thrice.
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("gateway-core-{}-{}", std::process::id(), number()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A folder within it that does not exist yet.
    pub fn next(&self) -> PathBuf {
        self.0.join(number().to_string())
    }
}

/// Another number each time.
fn number() -> u64 {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    GIVEN.fetch_add(1, Ordering::Relaxed)
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
