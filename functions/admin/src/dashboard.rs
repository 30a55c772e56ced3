//! `/admin/`: the dashboard, a page over this very API. It has no more rights than the token that is entered in it, and
//! everything that it loads is compiled in.
//!
//! Whoever asks gets these files: they hold nothing of this installation. The page may load and call its own origin only,
//! and run no script or style that stands in its text.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PAGE: File = File { content_type: "text/html; charset=utf-8", text: include_str!("../dashboard/index.html") };

/// One of its files.
#[derive(Clone, Copy)]
struct File {
    content_type: &'static str,
    text: &'static str,
}

/// The files beside the page, by their names.
const FILES: [(&str, File); 15] = [
    ("app.css", style(include_str!("../dashboard/app.css"))),
    ("admins.js", script(include_str!("../dashboard/admins.js"))),
    ("api.js", script(include_str!("../dashboard/api.js"))),
    ("app.js", script(include_str!("../dashboard/app.js"))),
    ("audit.js", script(include_str!("../dashboard/audit.js"))),
    ("chart.js", script(include_str!("../dashboard/chart.js"))),
    ("dom.js", script(include_str!("../dashboard/dom.js"))),
    ("models.js", script(include_str!("../dashboard/models.js"))),
    ("overview.js", script(include_str!("../dashboard/overview.js"))),
    ("receipt.js", script(include_str!("../dashboard/receipt.js"))),
    ("routing.js", script(include_str!("../dashboard/routing.js"))),
    ("tenant.js", script(include_str!("../dashboard/tenant.js"))),
    ("tenants.js", script(include_str!("../dashboard/tenants.js"))),
    ("uplot.css", style(include_str!("../dashboard/vendor/uplot.css"))),
    ("uplot.js", script(include_str!("../dashboard/vendor/uplot.js"))),
];

const fn script(text: &'static str) -> File {
    File { content_type: SCRIPT, text }
}

const fn style(text: &'static str) -> File {
    File { content_type: STYLE, text }
}

/// The page and its files, to be merged with the API's routes.
pub(crate) fn routes() -> Router {
    let file = async |Path(name): Path<String>, headers: HeaderMap| {
        let found = FILES.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |(_, file)| sent(*file, &headers))
    };
    Router::new()
        // The page names its files relative to itself, so that it works below the stage of an API, too.
        .route("/admin", get(async || Redirect::permanent("admin/")))
        .route("/admin/", get(async |headers: HeaderMap| sent(PAGE, &headers)))
        .route("/admin/assets/{file}", get(file))
}

fn sent(file: File, headers: &HeaderMap) -> Response {
    let mut hasher = DefaultHasher::new();
    file.text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let all = [
        (CONTENT_TYPE, file.content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // It is asked for again each time: a new version must not meet an old one's files.
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &tag),
    ];
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, all).into_response();
    }
    (StatusCode::OK, all, file.text).into_response()
}
