//! Which models may serve a request. Pure: nothing here waits for anything.

pub mod decide;
pub mod dial;
pub mod fitted;
pub mod doubt;
pub mod head;
pub mod intents;
pub mod orders;
pub mod own;
pub mod refit;
pub mod replay;
pub mod text;
mod weights;
