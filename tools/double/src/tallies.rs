//! What the double has counted. It is the provider's side of the books, against which the gateway's are held (M6).
//!
//! Everything is counted just *before* the bytes that tell of it leave, so that whoever has seen an answer finds it
//! counted. One lock, held for a few instructions; totals are sums over the models, so the two cannot disagree.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::answer::{Usage, quote};
use crate::http::{Request, header};

/// Requests that are remembered at most.
const MAX_RECENT: usize = 1000;
/// Bytes of bodies that are remembered at most.
const MAX_RECENT_BYTES: usize = 64 * 1024 * 1024;
/// Headers that carry a key, and are kept only as its last four characters.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// What was counted for one model id, or over all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Chat requests received.
    pub calls: u64,
    /// Answers with status 200 that were sent to their last byte, with nothing wrong on the wire.
    pub completed: u64,
    /// Calls whose client left before the double was done with them.
    pub left: u64,
    /// Input tokens billed, cached ones included.
    pub input_tokens: u64,
    /// Those of the input tokens that were billed as cached.
    pub cached_tokens: u64,
    /// Output tokens billed, reasoning included.
    pub output_tokens: u64,
    /// Those of the output tokens that were billed as reasoning.
    pub reasoning_tokens: u64,
    /// How often each status was sent.
    pub statuses: BTreeMap<u16, u64>,
    /// How many calls were billed so many input and output tokens.
    pub bills: BTreeMap<(u64, u64), u64>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.completed += other.completed;
        self.left += other.left;
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.output_tokens += other.output_tokens;
        self.reasoning_tokens += other.reasoning_tokens;
        for (status, times) in &other.statuses {
            *self.statuses.entry(*status).or_default() += times;
        }
        for (bill, times) in &other.bills {
            *self.bills.entry(*bill).or_default() += times;
        }
    }

    fn json(&self) -> String {
        let Self { calls, completed, left, input_tokens, cached_tokens, output_tokens, reasoning_tokens, .. } = self;
        let statuses = &self.statuses;
        let statuses: Vec<String> = statuses.iter().map(|(status, times)| format!(r#""{status}":{times}"#)).collect();
        format!(
            r#"{{"calls":{calls},"completed":{completed},"left":{left},"input_tokens":{input_tokens},"cached_tokens":{cached_tokens},"output_tokens":{output_tokens},"reasoning_tokens":{reasoning_tokens},"statuses":{{{}}}}}"#,
            statuses.join(",")
        )
    }
}

/// Everything that was counted, since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// The sum over all models.
    pub total: Tally,
    /// Per model id, labels included; requests that name none are under the empty id.
    pub models: BTreeMap<String, Tally>,
}

impl Counts {
    /// What was counted for a model id; zeroes if it was never called.
    pub fn of(&self, model: &str) -> Tally {
        self.models.get(model).cloned().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> String {
        let models: Vec<String> =
            self.models.iter().map(|(model, tally)| format!("{}:{}", quote(model), tally.json())).collect();
        format!(
            r#"{{"connections":{},"total":{},"models":{{{}}}}}"#,
            self.connections,
            self.total.json(),
            models.join(",")
        )
    }
}

/// One chat request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The model id asked for; empty if the body names none.
    pub model: String,
    /// The path, without its query.
    pub path: String,
    /// The headers, names in lower case, without those that carry a key.
    pub headers: Vec<(String, String)>,
    /// Whether a header carried a key.
    pub has_key: bool,
    /// The last four characters of that key, or fewer if it is shorter than eight.
    pub key_last4: String,
    /// The body, byte for byte.
    pub body: Arc<[u8]>,
}

impl Received {
    pub(crate) fn new(model: &str, request: Request) -> Self {
        let key = KEY_HEADERS.iter().find_map(|name| header(&request.headers, name));
        let (has_key, key_last4) = (key.is_some(), key.map_or(String::new(), last4));
        let mut headers = request.headers;
        headers.retain(|(name, _)| !KEY_HEADERS.contains(&name.as_str()));
        Self { model: model.to_owned(), path: request.path, headers, has_key, key_last4, body: request.body.into() }
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    fn json(&self) -> String {
        let mut json = format!(
            r#"{{"model":{},"path":{},"has_key":{},"key_last4":{},"headers":{{"#,
            quote(&self.model),
            quote(&self.path),
            self.has_key,
            quote(&self.key_last4)
        );
        for (place, (name, value)) in self.headers.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let _ = write!(json, "{comma}{}:{}", quote(name), quote(value));
        }
        let _ = write!(json, r#"}},"body":{}}}"#, quote(&String::from_utf8_lossy(&self.body)));
        json
    }
}

fn last4(value: &str) -> String {
    let key = value.rsplit(' ').next().unwrap_or_default();
    let characters = key.chars().count();
    key.chars().skip(characters - 4.min(characters / 2)).collect()
}

/// One call's place in the sequence of calls, from which all that looks like chance is derived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Number of this call among all, from 1.
    pub(crate) sequence: u64,
    /// Number of this call among those of its model, from 0.
    pub(crate) of_model: u64,
}

#[derive(Default)]
struct State {
    connections: u64,
    calls: u64,
    models: BTreeMap<String, Tally>,
    recent: VecDeque<Received>,
    recent_bytes: usize,
}

impl State {
    fn tally(&mut self, model: &str) -> &mut Tally {
        self.models.entry(model.to_owned()).or_default()
    }
}

/// The books of one double.
#[derive(Default)]
pub(crate) struct Tallies(Mutex<State>);

impl Tallies {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connected(&self) {
        self.state().connections += 1;
    }

    pub(crate) fn called(&self, received: Received) -> Turn {
        let mut state = self.state();
        state.calls += 1;
        let sequence = state.calls;
        let tally = state.tally(&received.model);
        let of_model = tally.calls;
        tally.calls += 1;
        state.recent_bytes += received.body.len();
        state.recent.push_back(received);
        while state.recent.len() > MAX_RECENT || state.recent_bytes > MAX_RECENT_BYTES {
            let Some(oldest) = state.recent.pop_front() else {
                break;
            };
            state.recent_bytes -= oldest.body.len();
        }
        Turn { sequence, of_model }
    }

    pub(crate) fn billed(&self, model: &str, usage: Usage) {
        let mut state = self.state();
        let tally = state.tally(model);
        tally.input_tokens += usage.input;
        tally.cached_tokens += usage.cached;
        tally.output_tokens += usage.output;
        tally.reasoning_tokens += usage.reasoning;
        *tally.bills.entry((usage.input, usage.output)).or_default() += 1;
    }

    pub(crate) fn sent_status(&self, model: &str, status: u16) {
        *self.state().tally(model).statuses.entry(status).or_default() += 1;
    }

    pub(crate) fn completed(&self, model: &str) {
        self.state().tally(model).completed += 1;
    }

    pub(crate) fn left(&self, model: &str) {
        self.state().tally(model).left += 1;
    }

    pub(crate) fn reset(&self) {
        *self.state() = State::default();
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        let mut total = Tally::default();
        state.models.values().for_each(|tally| total.add(tally));
        Counts { connections: state.connections, total, models: state.models.clone() }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.state().recent.iter().cloned().collect()
    }

    pub(crate) fn requests_json(&self) -> String {
        let requests: Vec<String> = self.state().recent.iter().map(Received::json).collect();
        format!("[{}]", requests.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: usize) -> Received {
        let (model, path) = ("ok".to_owned(), String::new());
        Received {
            model,
            path,
            headers: Vec::new(),
            has_key: false,
            key_last4: String::new(),
            body: vec![0; bytes].into(),
        }
    }

    #[test]
    fn of_a_key_at_most_four_characters_and_never_half_of_it_are_kept() {
        for (value, kept) in
            [("Bearer sk-abcdefgh", "efgh"), ("sk-12345", "2345"), ("Bearer abc", "c"), ("Bearer ", "")]
        {
            assert_eq!(last4(value), kept, "{value}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_in_bytes() {
        let tallies = Tallies::default();
        let turns: Vec<u64> = (0..1500).map(|_| tallies.called(received(1)).of_model).collect();
        assert_eq!((turns[0], turns[1499]), (0, 1499));
        assert_eq!(tallies.requests().len(), 1000);
        for _ in 0..3 {
            tallies.called(received(30 << 20));
        }
        assert_eq!(tallies.requests().iter().map(|request| request.body.len()).max(), Some(30 << 20));
        assert_eq!(tallies.requests().len(), 2);
        assert_eq!(tallies.counts().total.calls, 1503);
    }
}
