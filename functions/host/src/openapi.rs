//! The description of both planes, which each of them serves, and which tests hold to what they do.

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

/// `openapi.yaml`.
pub const TEXT: &str = include_str!("../../../assets/openapi.yaml");

/// `GET /openapi.yaml`
pub async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/yaml")], TEXT)
}

/// Method and path of each operation that it describes. It is laid out so that lines and their indentation tell them.
pub fn operations() -> impl Iterator<Item = (String, &'static str)> {
    let mut path = "";
    TEXT.lines().filter_map(move |line| {
        if let Some(named) = line.strip_prefix("  /") {
            path = &line[2..line.len() - named.len() + named.find(':')?];
            return None;
        }
        let method = line.strip_prefix("    ")?.split_once(':')?.0;
        ["get", "post", "patch", "put", "delete"].contains(&method).then(|| (method.to_uppercase(), path))
    })
}
