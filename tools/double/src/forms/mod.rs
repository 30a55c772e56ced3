//! Answers in the odd forms that providers really send them in: fixed bytes, in place of an answer that is made.
//!
//! A form has a name, by which a model id asks for it (`form-NAME`), one of nine kinds, and the bytes of a whole answer, of a
//! streamed one, or of both. Beside each form that a gateway should understand stands one that looks like it and is not
//! whole: where it is only cut, [`Form::and_cut`] derives it, and adds `-cut` to the name. So a reader that takes anything for
//! a good answer fails as surely as one that takes nothing.
//!
//! What a form bills stands beside it, whoever reads it and however it is asked for: what the provider has generated, to the
//! token where the form tells its usage.

mod classes;
mod content;
mod ending;
mod errors;
mod failures;
mod framing;
mod no_choices;
mod parts;
mod usage;
mod wholeness;

use crate::answer::Usage;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

/// Stands in a form's bytes where the model id that was asked for is to be.
pub const MODEL: &str = "MODEL";

/// What a form whose status is an error of the caller's says is wrong, where it says so at all.
pub const REASON: &str = "top_k must be positive";

/// What a form is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Whether an answer is whole: its finish reasons.
    WholeOrCut,
    /// What stands in messages and deltas.
    Content,
    /// Events that bring no choice.
    NoChoices,
    /// How a body ends.
    End,
    /// Media types, codings, lines.
    Framing,
    /// What is told of tokens.
    Usage,
    /// Where an error's reason stands.
    Errors,
    /// What an error means.
    Classes,
    /// What a call that failed costs.
    Failures,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::WholeOrCut,
        Self::Content,
        Self::NoChoices,
        Self::End,
        Self::Framing,
        Self::Usage,
        Self::Errors,
        Self::Classes,
        Self::Failures,
    ];
}

/// What happens after the last byte of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The body has its announced end.
    Clean,
    /// Only the closed connection ends the body, which was not announced to have another end.
    Closed,
    /// The connection is closed before the announced end.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing, until the client leaves.
    Stall,
}

/// What is sent: a head, a body and an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The HTTP status; with 0 nothing at all is sent, not even a head.
    pub status: u16,
    /// The header lines, but for those of the framing.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body before it is coded, with [`MODEL`] in place of the model's id.
    pub body: Vec<u8>,
    /// Whether the body is sent as gzip.
    pub gzip: bool,
    /// How many bytes of it are left out at its end, once it is coded.
    pub left_out: usize,
    /// The pause before each event, in milliseconds.
    pub pause_ms: u64,
    /// What happens after the last byte.
    pub end: End,
    /// What is billed for it.
    pub bill: Usage,
}

/// A raw form.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// What it is called.
    pub name: String,
    /// What it is an example of.
    pub kind: Kind,
    /// How many answers a request for it asks for.
    pub n: u64,
    /// As the answer to a request for a whole answer.
    pub whole: Option<Sent>,
    /// As the answer to a request for a stream.
    pub streamed: Option<Sent>,
}

/// Every form, by kind.
pub fn forms() -> impl Iterator<Item = &'static Form> {
    FORMS.values()
}

/// A body's parts up to the blank line behind each of its events.
pub(crate) fn events_of(body: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.windows(2).position(|two| two == b"\n\n") {
        let (part, after) = rest.split_at(at + 2);
        parts.push(part);
        rest = after;
    }
    parts.extend((!rest.is_empty()).then_some(rest));
    parts
}

/// The form of this name.
pub(crate) fn form(name: &str) -> Option<&'static Form> {
    forms().find(|form| form.name == name)
}

static FORMS: LazyLock<BTreeMap<(Kind, String), Form>> = LazyLock::new(|| {
    let kinds = [
        wholeness::forms(),
        content::forms(),
        no_choices::forms(),
        ending::forms(),
        framing::forms(),
        usage::forms(),
        errors::forms(),
        classes::forms(),
        failures::forms(),
    ];
    kinds.into_iter().flatten().map(|form| ((form.kind, form.name.clone()), form)).collect()
});

impl Sent {
    /// A good status with this body, of this media type.
    fn good(media_type: &'static str, body: impl Into<Vec<u8>>, bill: Usage) -> Self {
        let (headers, body) = (vec![("content-type", media_type)], body.into());
        Self { status: 200, headers, body, gzip: false, left_out: 0, pause_ms: 0, end: End::Clean, bill }
    }

    fn end(self, end: End) -> Self {
        Self { end, ..self }
    }

    fn gzip(mut self) -> Self {
        self.headers.push(("content-encoding", "gzip"));
        Self { gzip: true, ..self }
    }

    /// With these header lines in place of all others.
    fn headers(self, headers: &[(&'static str, &'static str)]) -> Self {
        Self { headers: headers.to_vec(), ..self }
    }

    fn bill(self, bill: Usage) -> Self {
        Self { bill, ..self }
    }

    /// The body as it is sent to one who asked for `model`.
    pub(crate) fn coded(&self, model: &str) -> Vec<u8> {
        let mut body = replace(&self.body, MODEL.as_bytes(), model.as_bytes());
        if self.gzip {
            let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
            // A vector takes all that is written to it.
            body = coder.write_all(&body).and_then(|()| coder.finish()).unwrap_or_default();
        }
        body.truncate(body.len() - self.left_out.min(body.len()));
        body
    }
}

/// `bytes` with every `from` replaced by `to`.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

impl Form {
    fn named(kind: Kind, name: &str) -> Self {
        Self { name: name.to_owned(), kind, n: 1, whole: None, streamed: None }
    }

    fn whole(self, sent: Sent) -> Self {
        Self { whole: Some(sent), ..self }
    }

    fn streamed(self, sent: Sent) -> Self {
        Self { streamed: Some(sent), ..self }
    }

    /// The same to either request: an error status, mostly.
    fn either(self, sent: Sent) -> Self {
        Self { whole: Some(sent.clone()), streamed: Some(sent), ..self }
    }

    fn n(self, n: u64) -> Self {
        Self { n, ..self }
    }

    /// Both changed in the same way.
    fn each(self, change: impl Fn(Sent) -> Sent) -> Self {
        Self { whole: self.whole.map(&change), streamed: self.streamed.map(&change), ..self }
    }

    /// This form, and the same without its end: no choice of the whole answer has a finish reason, and the stream ends, in
    /// good order and with its `[DONE]`, where the first finish reason would have come.
    fn and_cut(self) -> [Self; 2] {
        let mut cut = Self { name: format!("{}-cut", self.name), ..self.clone() };
        let is_json = |body: &[u8]| body.trim_ascii_start().starts_with(b"{");
        cut = cut.each(|sent| match is_json(&sent.body) {
            true => Sent { body: without_reasons(&sent.body), ..sent },
            false => Sent { body: without_end(&sent.body), ..sent },
        });
        [self, cut]
    }
}

/// The bytes from which a finish reason that is one begins.
const REASON_BEGINS: &[u8] = b"\"finish_reason\":\"";

/// A whole answer without its finish reasons.
fn without_reasons(body: &[u8]) -> Vec<u8> {
    let text: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b',' || *byte == b'}').collect();
    let without = |part: &[u8]| match part.starts_with(REASON_BEGINS) {
        true => [b"\"finish_reason\":null", &part[part.len() - 1..]].concat(),
        false => part.to_vec(),
    };
    text.into_iter().flat_map(without).collect()
}

/// A stream up to the event of its first finish reason, and `[DONE]`.
fn without_end(body: &[u8]) -> Vec<u8> {
    let reason = body.windows(REASON_BEGINS.len()).position(|window| window == REASON_BEGINS).unwrap_or(body.len());
    let ends = |at: &usize| BLANK_LINES.iter().any(|blank| body[..*at].ends_with(blank));
    let event = (0..reason).rev().find(ends).unwrap_or(0);
    [&body[..event], b"data: [DONE]\n\n"].concat()
}

/// How an event's last line end and the blank line after it may look.
const BLANK_LINES: [&[u8]; 5] = [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_kind_has_ten_forms_and_no_name_is_given_twice() {
        let mut of_kind = BTreeMap::<Kind, u64>::new();
        let mut names: Vec<&str> = forms().map(|form| form.name.as_str()).collect();
        forms().for_each(|form| *of_kind.entry(form.kind).or_default() += 1);
        assert!(of_kind.len() == 9 && of_kind.values().all(|forms| *forms >= 10), "{of_kind:?}");
        names.sort_unstable();
        let given = names.len();
        names.dedup();
        assert_eq!(names.len(), given);
        assert!(
            names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        );
        assert!(forms().all(|form| form.whole.is_some() || form.streamed.is_some()));
    }

    #[test]
    fn what_is_cut_has_no_finish_reason_and_differs_from_what_is_not() {
        for cut in forms().filter(|form| form.name.ends_with("-cut")) {
            let whole = form(cut.name.strip_suffix("-cut").unwrap()).unwrap();
            assert_ne!((&cut.whole, &cut.streamed), (&whole.whole, &whole.streamed), "{}", cut.name);
        }
        let body = br#"{"choices":[{"message":{"content":"a,b}"},"finish_reason":"stop"}],"usage":null}"#;
        let cut = br#"{"choices":[{"message":{"content":"a,b}"},"finish_reason":null}],"usage":null}"#;
        assert_eq!(without_reasons(body), cut);
        let stream =
            b"data: {\"a\":1,\"finish_reason\":\"\"}\n\ndata: {\"finish_reason\":\"stop\"}\n\ndata: [DONE]\n\n";
        // An empty reason is a reason to this cut, and so no form with one uses it.
        assert_eq!(without_end(stream), b"data: [DONE]\n\n");
    }

    #[test]
    fn a_form_names_the_model_that_was_asked_for_and_is_coded_as_it_says() {
        let sent = Sent::good("application/json", r#"{"model":"MODEL","x":"MODEL"}"#, Usage::default());
        assert_eq!(sent.coded("a@b"), br#"{"model":"a@b","x":"a@b"}"#);
        let zipped = sent.clone().gzip().coded("a");
        assert!(zipped.starts_with(&[0x1f, 0x8b]));
        assert_eq!(Sent { left_out: 4, ..sent.gzip() }.coded("a"), zipped[..zipped.len() - 4]);
    }
}
