//! A request as it comes over HTTP, whatever is in it.

use crate::error::Error;
use crate::limit::budget::{COPIES, Room};
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use std::time::Duration;

/// A request as it came over HTTP.
pub struct Incoming {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, of which nothing is read before its sender is known.
    pub body: Box<dyn RequestBody>,
    /// How long the transport will wait for the end of the answer; the configured deadline holds beside it.
    pub time_left: Option<Duration>,
}

/// A request's body on its way in.
#[async_trait]
pub trait RequestBody: Send {
    /// Reads it to its end, within `room`, of which each byte that is kept takes [`COPIES`].
    ///
    /// # Errors
    /// 503 where there is no room, and whatever is wrong with the body.
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error>;
}

#[async_trait]
impl RequestBody for Bytes {
    async fn read(self: Box<Self>, room: &Room) -> Result<Bytes, Error> {
        room.grow(self.len() * COPIES)?;
        Ok(*self)
    }
}
