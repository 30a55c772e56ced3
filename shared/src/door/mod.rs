//! The doors: one file for each endpoint that clients speak to.

mod ready;
mod route;
