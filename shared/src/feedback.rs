//! Feedback: what a tenant says of one of its answers. It is kept beside the receipt, and the dial is fitted to it.
//!
//! The words are the caller's, so they are bounded, shown to that tenant and its operator alone, and never logged (T3).
//! Reading is strict: a misspelt field that was passed over would be a vote that is lost in silence.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Bytes that a feedback's body may have: the longest comment, every character escaped, and the rest.
pub const MAX_BODY_BYTES: usize = 16 << 10;
/// Characters of a comment.
const COMMENT_CHARS: usize = 500;

/// How good an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A thumb: up is `good`, down is `bad`.
    Rating(Rating),
    /// From 0, useless, to 1, perfect.
    Score(f64),
}

/// A thumb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// The answer would do.
    Good,
    /// It would not.
    Bad,
}

/// What was said of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// How good it was: one field, `rating` or `score`.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// A word on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Arc<str>>,
    /// When it was said, in Unix milliseconds.
    pub created_at_ms: u64,
}

/// A feedback that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidFeedback {
    /// The field that is to blame, if one is.
    pub field: Option<String>,
    /// What is wrong with it, for the caller.
    pub message: String,
}

impl InvalidFeedback {
    fn of(field: &str, message: &str) -> Self {
        Self { field: Some(field.chars().take(100).collect()), message: message.to_owned() }
    }
}

impl Feedback {
    /// Reads the body of a feedback that came at `now_ms`.
    ///
    /// # Errors
    /// Names the first field that is unknown, missing, or not what it must be.
    pub fn read(body: &[u8], now_ms: u64) -> Result<Self, InvalidFeedback> {
        let unread = |message: String| InvalidFeedback { field: None, message };
        let mut fields: Map<String, Value> = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(unread("The body must be a JSON object.".to_owned())),
            Err(error) => return Err(unread(format!("The body is not JSON: {error}."))),
        };
        // Clients that have a field for everything send `null` for what they do not say.
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let (rating, score, comment) = (take("rating"), take("score"), take("comment"));
        if let Some(name) = fields.keys().next() {
            return Err(InvalidFeedback::of(name, "It is no field of a feedback: rating, score and comment are."));
        }
        let verdict = match (rating, score) {
            (Some(rating), None) => rating_of(&rating)?,
            (None, Some(score)) => score_of(&score)?,
            (None, None) => {
                return Err(InvalidFeedback::of("rating", "Say `good` or `bad`, or a `score` from 0 to 1."));
            }
            (Some(_), Some(_)) => return Err(InvalidFeedback::of("score", "Send a rating or a score, not both.")),
        };
        Ok(Self { verdict, comment: comment.map_or(Ok(None), |comment| comment_of(&comment))?, created_at_ms: now_ms })
    }

    /// How good it was, 0 to 1.
    #[must_use]
    pub fn goodness(&self) -> f64 {
        match self.verdict {
            Verdict::Rating(Rating::Good) => 1.0,
            Verdict::Rating(Rating::Bad) => 0.0,
            Verdict::Score(score) => score,
        }
    }

    /// Whether it says that the answer would not do.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.goodness() < 0.5
    }
}

fn rating_of(rating: &Value) -> Result<Verdict, InvalidFeedback> {
    match rating.as_str() {
        Some("good") => Ok(Verdict::Rating(Rating::Good)),
        Some("bad") => Ok(Verdict::Rating(Rating::Bad)),
        _ => Err(InvalidFeedback::of("rating", "It must be `good` or `bad`.")),
    }
}

fn score_of(score: &Value) -> Result<Verdict, InvalidFeedback> {
    let score = score.as_f64().filter(|score| (0.0..=1.0).contains(score));
    score.map(Verdict::Score).ok_or_else(|| InvalidFeedback::of("score", "It must be a number from 0 to 1."))
}

fn comment_of(comment: &Value) -> Result<Option<Arc<str>>, InvalidFeedback> {
    let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
    let fits = |text: &&str| text.chars().count() <= COMMENT_CHARS && is_plain(text);
    let message = "It must be a text of at most 500 characters, and no control characters but tabs and line ends.";
    let text = comment.as_str().filter(fits).ok_or_else(|| InvalidFeedback::of("comment", message))?;
    Ok((!text.trim().is_empty()).then(|| text.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<Feedback, InvalidFeedback> {
        Feedback::read(body.to_string().as_bytes(), 7)
    }

    #[test]
    fn a_thumb_or_a_score_is_taken_with_a_word() {
        for (body, goodness, comment) in [
            (json!({"rating": "good"}), 1.0, None),
            (json!({"rating": "bad", "comment": "too short\n\tand wrong"}), 0.0, Some("too short\n\tand wrong")),
            (json!({"score": 0.25, "comment": null, "rating": null}), 0.25, None),
            (json!({"score": 1, "comment": "  "}), 1.0, None),
            (json!({"score": 0, "comment": "é".repeat(500)}), 0.0, Some(&*"é".repeat(500))),
        ] {
            let found = read(&body).unwrap();
            assert_eq!((found.goodness(), found.comment.as_deref(), found.created_at_ms), (goodness, comment, 7));
            let kept: Feedback = serde_json::from_value(serde_json::to_value(&found).unwrap()).unwrap();
            assert_eq!(kept, found, "{body}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_field() {
        for (body, field) in [
            (json!([]), None),
            (json!("good"), None),
            (json!({}), Some("rating")),
            (json!({"comment": "nice"}), Some("rating")),
            (json!({"rating": "Good"}), Some("rating")),
            (json!({"rating": true}), Some("rating")),
            (json!({"score": "0.5"}), Some("score")),
            (json!({"score": 1.01}), Some("score")),
            (json!({"score": -0.01}), Some("score")),
            (json!({"score": 1e300}), Some("score")),
            (json!({"rating": "good", "score": 1}), Some("score")),
            (json!({"rating": "good", "comment": 5}), Some("comment")),
            (json!({"rating": "good", "comment": "x".repeat(501)}), Some("comment")),
            (json!({"rating": "good", "comment": "a\u{0}b"}), Some("comment")),
            (json!({"rating": "good", "comment": "\u{1b}[31m"}), Some("comment")),
            (json!({"rating": "good", "receipt": "x"}), Some("receipt")),
            (json!({"ratings": "good"}), Some("ratings")),
        ] {
            let refused = read(&body).unwrap_err();
            assert_eq!(refused.field.as_deref(), field, "{body}: {refused}");
        }
        for body in ["", "{", "{\"score\": NaN}", "{\"score\": 1e999}", "\u{feff}{}"] {
            assert_eq!(Feedback::read(body.as_bytes(), 7).unwrap_err().field, None, "{body}");
        }
    }

    #[test]
    fn the_longest_comment_fits_its_body_however_it_is_escaped() {
        let body = format!("{{\"rating\":\"good\",\"comment\":\"{}\"}}", "\\ud83d\\ude00".repeat(COMMENT_CHARS));
        assert!(body.len() <= MAX_BODY_BYTES);
        assert!(Feedback::read(body.as_bytes(), 7).is_ok());
    }
}
