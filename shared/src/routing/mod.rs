//! Which models may serve a request. Pure: nothing here waits for anything but the embedder.

pub mod decide;
pub mod dial;
pub mod intent;
pub mod intents;
pub mod orders;
pub mod text;
