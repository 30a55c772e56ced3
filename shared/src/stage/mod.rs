//! The stages of a request, in the order of `answer` and `produce` in [`crate::pipeline`].

pub(crate) mod read;
pub(crate) mod recall;
pub(crate) mod claim;
pub(crate) mod admit;
pub(crate) mod embed;
pub(crate) mod classify;
pub(crate) mod stay;
pub mod rank;
pub(crate) mod attempt;
pub mod judge;
pub(crate) mod upgrade;
pub(crate) mod deliver;
pub(crate) mod recover;
pub(crate) mod settle;
