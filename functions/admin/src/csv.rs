//! Rows as CSV, for a spreadsheet.

use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

/// Rows as CSV (RFC 4180); where the next page begins stands in a header.
pub(crate) fn csv(columns: &[&str], rows: &[Value], next: Option<&str>) -> axum::response::Response {
    let mut text = format!("{}\r\n", columns.join(","));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| cell(&row[*column])).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    let mut answer = ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_str(next).ok()) {
        answer.headers_mut().insert(HeaderName::from_static("x-next-cursor"), next);
    }
    answer
}

/// A cell. What a spreadsheet would take for a formula begins with an apostrophe, for a tenant or a client may have given it its
/// name.
fn cell(value: &Value) -> String {
    let is_formula = |text: &str| text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    match value.as_str() {
        Some(text) if is_formula(text) => cell(&format!("'{text}").into()),
        Some(text) if text.contains([',', '"', '\r', '\n']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, shown) in [
            ("acme", "acme"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("=HYPERLINK(\"http://a\",\"b\")", "\"'=HYPERLINK(\"\"http://a\"\",\"\"b\"\")\""),
            ("a=1", "a=1"),
            ("groq/llama-3.3", "groq/llama-3.3"),
        ] {
            assert_eq!(cell(&text.into()), shown);
        }
        assert_eq!(cell(&7.into()), "7");
    }
}
