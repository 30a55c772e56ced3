//! The doors: one file for each endpoint that clients speak to.

mod chat;
mod ready;
mod route;
