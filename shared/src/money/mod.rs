//! Money: whole nano-US-dollars (`_nusd`) in a plain `u64`, and never a float.
//!
//! A float cannot hold 0.59, so totals made of floats drift away from the bill; M6 asks for totals that equal the
//! providers' own to the nano-dollar. A `u64` of nano-dollars reaches 18 billion dollars, and every sum saturates there
//! instead of wrapping, so that an absurd amount reads as "over the limit" and never as "free".
//!
//! Costs are rounded up per kind of token (M3: a charge may be above the exact price, by less than a nano-dollar per
//! kind, never below). Cached tokens are part of the input and reasoning tokens part of the output; they are counted
//! apart for their price and counted once (M7).

mod amounts;
mod decimal;
mod price;
mod rates;
mod reported;
mod service_tier;
mod usage;
pub mod usd;

pub use amounts::{Amounts, Charged};
pub use decimal::{MoneyError, NUSD_PER_USD, format_usd, parse_usd};
pub use price::{CacheWrite, Hours, Period, Price, PromptTier, Reach, WHOLE};
pub use rates::RatesNusdPerMillion;
pub use reported::nusd_of_number;
pub use service_tier::ServiceTier;
pub use usage::Usage;

#[cfg(test)]
mod tests;
