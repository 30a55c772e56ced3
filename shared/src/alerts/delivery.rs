//! What becomes of an alert at one destination: when it is tried again, and when it is given up.
//!
//! # Source
//! Standard Webhooks, "Deliverability and reliability": the schedule, the statuses, the same id and body with every try.

use super::alert::Alert;
use crate::clock::DAY_MS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long after each try the next one comes at the earliest: eight tries within a day.
const PAUSES_MS: [u64; 7] = [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 21_600_000, 28_800_000];
/// Up to this part of a pause is added to it, in percent, so that receivers do not meet all tries at once.
const JITTER_PERCENT: u64 = 10;
/// Nothing is tried after this.
const GIVEN_UP_AFTER_MS: u64 = DAY_MS;
/// What is kept of a receiver's words, in characters.
const WORDS_KEPT: usize = 200;

/// Where an alert goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", content = "to", rename_all = "snake_case")]
pub enum Destination {
    /// An address that takes webhooks.
    Webhook(String),
    /// The ARN of a topic of SNS.
    Sns(String),
}

impl Destination {
    /// As it may be shown: the path of a webhook's address is often its password.
    fn to_json(&self) -> Value {
        match self {
            Self::Webhook(url) => {
                let host = reqwest::Url::parse(url).ok().map(|url| url.origin().ascii_serialization());
                json!({"channel": "webhook", "to": host})
            }
            Self::Sns(topic) => json!({"channel": "sns", "to": topic}),
        }
    }
}

/// What one try came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// What the receiver answered, if it did.
    pub status: Option<u16>,
    /// When it wants to be asked again, in Unix milliseconds.
    pub retry_at_ms: Option<u64>,
    /// Its words, or why there are none.
    pub said: String,
}

impl Tried {
    /// That nothing was answered.
    #[must_use]
    pub fn without_answer(why: impl Into<String>) -> Self {
        Self { said: why.into(), ..Self::default() }
    }

    /// Whether the receiver has it.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether another try would come to the same.
    fn is_final(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) && status != 408 && status != 429)
    }
}

/// How it stands with an alert at one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be tried.
    Pending,
    /// The receiver has it.
    Delivered,
    /// Given up.
    Failed,
}

/// An alert at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it goes.
    pub destination: Destination,
    /// How it stands.
    pub state: State,
    /// How often it was tried.
    pub tries: u32,
    /// When it is due, in Unix milliseconds.
    pub due_at_ms: u64,
    /// What the last try came to, in words.
    pub last: String,
}

impl Delivery {
    /// One that is due at once.
    #[must_use]
    pub fn to(destination: Destination) -> Self {
        Self { destination, state: State::Pending, tries: 0, due_at_ms: 0, last: String::new() }
    }

    /// Takes in what the only try came to.
    pub fn note_last(&mut self, tried: &Tried, now_ms: u64) {
        self.note(tried, now_ms, now_ms, 0);
        self.state = if tried.is_delivered() { State::Delivered } else { State::Failed };
    }

    /// Takes in what a try came to, of an alert of `at_ms`; `random` is any number.
    pub fn note(&mut self, tried: &Tried, at_ms: u64, now_ms: u64, random: u64) {
        let words: String = tried.said.chars().filter(|c| !c.is_control()).take(WORDS_KEPT).collect();
        self.last = tried.status.map_or_else(|| words.clone(), |status| format!("{status} {words}").trim().to_owned());
        let pause_ms = usize::try_from(self.tries).ok().and_then(|tries| PAUSES_MS.get(tries));
        self.tries += 1;
        self.state = match pause_ms {
            _ if tried.is_delivered() => State::Delivered,
            Some(pause_ms) if !tried.is_final() => {
                let wanted_ms = tried.retry_at_ms.unwrap_or(0).max(now_ms.saturating_add(*pause_ms));
                self.due_at_ms = wanted_ms.saturating_add(random % (pause_ms * JITTER_PERCENT / 100));
                let is_late = self.due_at_ms > at_ms.saturating_add(GIVEN_UP_AFTER_MS);
                if is_late { State::Failed } else { State::Pending }
            }
            _ => State::Failed,
        };
    }
}

/// An alert and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The alert.
    pub alert: Alert,
    /// How it stands at each destination.
    pub deliveries: Vec<Delivery>,
}

impl Posted {
    /// One that is due everywhere.
    #[must_use]
    pub fn new(alert: Alert, destinations: Vec<Destination>) -> Self {
        Self { alert, deliveries: destinations.into_iter().map(Delivery::to).collect() }
    }

    /// When the next try is due; `None` when there is none.
    #[must_use]
    pub fn due_at_ms(&self) -> Option<u64> {
        let pending = self.deliveries.iter().filter(|delivery| delivery.state == State::Pending);
        pending.map(|delivery| delivery.due_at_ms).min()
    }

    /// As the admin plane shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let delivery = |delivery: &Delivery| {
            let mut json = delivery.destination.to_json();
            json["state"] = json!(delivery.state);
            json["tries"] = delivery.tries.into();
            json["due_at_ms"] = json!((delivery.state == State::Pending).then_some(delivery.due_at_ms));
            json["last"] = delivery.last.as_str().into();
            json
        };
        let deliveries: Vec<Value> = self.deliveries.iter().map(delivery).collect();
        let Alert { id, kind, at_ms, tenant, text, .. } = &self.alert;
        json!({"id": id, "kind": kind.as_str(), "at_ms": at_ms, "tenant": tenant, "text": text, "state": self.state(),
            "deliveries": deliveries})
    }

    /// Of all its destinations: pending while one is, and failed where one has not got it.
    fn state(&self) -> State {
        let is_any = |state| self.deliveries.iter().any(|delivery| delivery.state == state);
        let first = [State::Pending, State::Failed].into_iter().find(|state| is_any(*state));
        first.unwrap_or(State::Delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_769_600_000;

    fn answered(status: u16) -> Tried {
        Tried { status: Some(status), ..Tried::default() }
    }

    fn fresh() -> Delivery {
        Delivery::to(Destination::Webhook("https://hooks.example/a/secret".to_owned()))
    }

    #[test]
    fn it_is_tried_again_unless_that_would_come_to_the_same() {
        for (tried, state) in [
            (answered(200), State::Delivered),
            (answered(204), State::Delivered),
            (answered(301), State::Pending),
            (answered(500), State::Pending),
            (answered(503), State::Pending),
            (answered(408), State::Pending),
            (answered(429), State::Pending),
            (Tried::without_answer("no answer in time"), State::Pending),
            (answered(400), State::Failed),
            (answered(404), State::Failed),
            (answered(410), State::Failed),
        ] {
            let mut delivery = fresh();
            delivery.note(&tried, NOW, NOW, 0);
            assert_eq!((delivery.state, delivery.tries), (state, 1), "{tried:?}");
        }
    }

    #[test]
    fn eight_tries_lie_ever_farther_apart_within_a_day() {
        for random in [0, u64::MAX, 12_345_678] {
            let (mut delivery, mut now_ms, mut pauses) = (fresh(), NOW, Vec::new());
            while delivery.state == State::Pending {
                delivery.note(&answered(500), NOW, now_ms, random);
                pauses.extend((delivery.state == State::Pending).then(|| delivery.due_at_ms - now_ms));
                now_ms = delivery.due_at_ms;
            }
            assert_eq!(delivery.state, State::Failed);
            assert!((7..=8).contains(&delivery.tries), "{}", delivery.tries);
            assert!(pauses.is_sorted() && now_ms - NOW <= DAY_MS, "{pauses:?}");
        }
    }

    #[test]
    fn a_receiver_is_not_asked_again_before_it_wants_to_be() {
        let mut delivery = fresh();
        let later = Tried { retry_at_ms: Some(NOW + 60_000), ..answered(429) };
        delivery.note(&later, NOW, NOW, 0);
        assert_eq!(delivery.due_at_ms, NOW + 60_000);
        let sooner = Tried { retry_at_ms: Some(NOW + 60_001), ..answered(429) };
        delivery.note(&sooner, NOW, NOW + 60_000, 0);
        assert_eq!(delivery.due_at_ms, NOW + 60_000 + 300_000, "nor sooner than it would be");
        let never = Tried { retry_at_ms: Some(NOW + 2 * DAY_MS), ..answered(429) };
        delivery.note(&never, NOW, NOW + 400_000, 0);
        assert_eq!(delivery.state, State::Failed);
    }

    #[test]
    fn what_is_shown_has_no_address_and_no_control_characters() {
        let mut posted = Posted::new(Alert::of_test(NOW), vec![fresh().destination]);
        posted.deliveries[0].note(&Tried { said: "no\r\nsuch hook".repeat(99), ..answered(404) }, NOW, NOW, 0);
        let text = posted.to_json().to_string();
        assert!(text.contains("https://hooks.example\"") && text.contains("404 nosuch hook"), "{text}");
        assert!(!text.contains("secret") && !text.contains("\\n") && text.len() < 800, "{text}");
    }
}
