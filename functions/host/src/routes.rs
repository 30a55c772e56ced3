//! The answer to a request for something that is not there: method, path, and the nearest route.
//!
//! Most of them have a base URL with one `/v1` too few or too many, or a letter wrong. The first are simply served
//! ([`Routes::meant`]); the others get a suggestion. Nothing of a query is repeated: it may hold a key.

use gateway_core::error::Error;
use std::borrow::Cow;

/// What of a path is repeated, and the longest that is compared with anything.
const SHOWN_BYTES: usize = 200;
/// At most one of so many letters may be wrong in what is taken for a slip.
const LETTERS_PER_SLIP: usize = 3;

/// A plane's routes: the methods, separated by a comma, and the path as axum writes it.
#[derive(Debug, Clone, Copy)]
pub struct Routes(pub &'static [(&'static str, &'static str)]);

impl Routes {
    /// The path that is meant by one that is no route's: with one `/v1` in front, or none, and without empty parts.
    #[must_use]
    pub fn meant(&self, path: &str) -> Option<String> {
        if path.len() > SHOWN_BYTES * 2 {
            return None;
        }
        let of_a_route = |meant: &String| meant != path && self.0.iter().any(|(_, route)| fits(route, meant));
        readings(path).into_iter().find(of_a_route)
    }

    /// There is nothing at this path.
    #[must_use]
    pub fn no_route(&self, method: &str, path: &str) -> Error {
        let hint = self.nearest(method, path).map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        Error::NoRoute(format!("No route {} {}{hint}", shown(method), shown(path)))
    }

    /// There is something at this path, but not for this method.
    #[must_use]
    pub fn not_so(&self, method: &str, path: &str) -> Error {
        let methods =
            self.0.iter().find(|(_, route)| fits(route, path)).map_or("another method", |(methods, _)| *methods);
        Error::MethodNotAllowed(format!("No {} here: {} takes {methods}.", shown(method), shown(path)))
    }

    fn nearest(&self, method: &str, path: &str) -> Option<String> {
        if path.len() > SHOWN_BYTES {
            return None;
        }
        let routes = self.0.iter().flat_map(|(methods, route)| methods.split(", ").map(move |one| (one, *route)));
        let slips = |(one, route): (&'static str, &'static str)| {
            let slips = readings(path).iter().map(|read| strsim::osa_distance(&filled(route, read), read)).min();
            (slips.unwrap_or(usize::MAX), one != method, one, route)
        };
        let (slips, _, method, route) = routes.map(slips).min()?;
        (slips.checked_mul(LETTERS_PER_SLIP)? <= path.len()).then(|| format!("{method} {route}"))
    }
}

/// The ways to read a path: under `/v1` and outside of it.
fn readings(path: &str) -> [String; 2] {
    let parts = path.split('/').filter(|part| !part.is_empty()).skip_while(|part| *part == "v1");
    let bare: String = parts.flat_map(|part| ["/", part]).collect();
    [format!("/v1{bare}"), bare]
}

/// Whether a path is one of this route's.
fn fits(route: &str, path: &str) -> bool {
    filled(route, path) == path && !path.ends_with('/')
}

/// A route with the path's own parts where any may stand.
fn filled<'a>(route: &'a str, path: &'a str) -> String {
    let mut parts = path.split('/');
    let filled = route.split('/').map(|named| {
        let own = parts.next().unwrap_or_default();
        if own.is_empty() || !named.starts_with('{') {
            return Cow::Borrowed(named);
        }
        match named.starts_with("{*") {
            true => parts.by_ref().fold(Cow::Borrowed(own), |all, part| Cow::Owned(format!("{all}/{part}"))),
            false => Cow::Borrowed(own),
        }
    });
    filled.collect::<Vec<_>>().join("/")
}

/// What came, as it may be shown.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_BYTES).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    const ROUTES: Routes = Routes(&[
        ("POST", "/v1/chat/completions"),
        ("GET, HEAD", "/v1/models"),
        ("GET", "/v1/models/{*id}"),
        ("GET", "/v1/receipts/{id}"),
        ("GET", "/health"),
    ]);

    #[test]
    fn a_base_url_with_too_few_or_too_many_parts_leads_to_the_same_routes() {
        for (path, meant) in [
            ("/chat/completions", Some("/v1/chat/completions")),
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("//v1/chat/completions", Some("/v1/chat/completions")),
            ("/v1//chat/completions", Some("/v1/chat/completions")),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/models", Some("/v1/models")),
            ("/v1/models/", Some("/v1/models")),
            ("/models/sim/cheap", Some("/v1/models/sim/cheap")),
            ("/receipts/x", Some("/v1/receipts/x")),
            ("/v1/health", Some("/health")),
            ("//health/", Some("/health")),
            // A route's own path is not suggested, whatever became of it.
            ("/v1/chat/completions", None),
            ("/v1/receipts/x/y", None),
            ("/v1/receipts", None),
            ("/v2/chat/completions", None),
            ("/v1/x/../chat/completions", None),
            ("/V1/chat/completions", None),
            ("/v1", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(ROUTES.meant(path).as_deref(), meant, "{path}");
        }
    }

    #[test]
    fn the_nearest_route_is_told_where_it_may_be_meant() {
        for (method, path, nearest) in [
            ("POST", "/chat/completion", Some("POST /v1/chat/completions")),
            ("POST", "/v1/chat/complations", Some("POST /v1/chat/completions")),
            ("GET", "/v1/chatcompletions", Some("POST /v1/chat/completions")),
            ("POST", "/v1/completions", Some("POST /v1/chat/completions")),
            ("HEAD", "/v1/modles", Some("HEAD /v1/models")),
            ("DELETE", "/v1/modles", Some("GET /v1/models")),
            ("GET", "/v1/modles/sim/cheap", Some("GET /v1/models/{*id}")),
            ("GET", "/v1/receipt/01M81WX4SEGFDJSTMT013762SF", Some("GET /v1/receipts/{id}")),
            ("GET", "/healthz", Some("GET /health")),
            ("GET", "/", None),
            ("GET", "/.env", None),
            ("POST", "/v1/embeddings", None),
        ] {
            assert_eq!(ROUTES.nearest(method, path).as_deref(), nearest, "{method} {path}");
        }
    }

    #[test]
    fn what_is_repeated_is_bounded_and_plain() {
        let Error::NoRoute(message) = ROUTES.no_route("GET", &format!("/\u{7}\u{fc}{}", "a".repeat(100_000))) else {
            panic!("another error")
        };
        assert_eq!(message, format!("No route GET /??{}", "a".repeat(SHOWN_BYTES - 3)));
        assert_eq!(ROUTES.meant(&"/v1".repeat(100_000)), None);
    }
}
