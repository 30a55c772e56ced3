//! A provider that misbehaves on the wire, for tests and benchmarks of a gateway.
//!
//! It serves OpenAI's `POST /v1/chat/completions`, `POST /v1/responses`, `POST /v1/embeddings` and `GET /v1/models`, and Anthropic's
//! `POST /v1/messages` and `/v1/messages/count_tokens`, and Google's `generateContent`, over raw HTTP/1.1, because a gateway must survive what no HTTP library
//! would let a server do. Of Responses it takes what the vendor takes and nothing
//! else: unknown fields, items out of order, and thoughts of a model that has none are a 400. What it does is chosen by the request's model id, so a catalog alone sets
//! the scene. Nothing is random: the same calls in the same order give the same bytes (but for the HTTP date of
//! `429-after-date`).
//!
//! Everything but the wire is kept trivial, so that its own books ([`Counts`]) can be trusted as the provider's side of
//! invariant M6: gateway totals equal the provider's own count.
//!
//! # Model ids
//!
//! Parts joined by `+`, in any order, then an optional `@label` that only makes the id, and so its counts, a different
//! one: `fail-50+status-503@b`. In a part, `:` means `-`. An id with an unknown part, or with two faults or two texts, is
//! answered 404. N is a number; times are in milliseconds unless said otherwise.
//!
//! Faults (at most one). In a stream, `-N` after the name means: after N events; otherwise after half of those that come
//! before the finish reason. In a whole answer: after half of the body.
//!
//! | id | what happens |
//! |---|---|
//! | `ok` | nothing |
//! | `fail-N` | the fault named beside it, or else a 500, strikes N percent of this id's calls: exactly N of any 100 in a row; with 50, the 2nd, 4th, 6th … |
//! | `fail-first-N` | it strikes the first N calls of this id |
//! | `status-CODE` | an error answer, 400 to 599, its message full of secrets: see [`LEAK`] |
//! | `context-overflow` | 400 with code `context_length_exceeded`, no secrets |
//! | `content-filter` | 400 with code `content_policy_violation`, no secrets |
//! | `insufficient-quota` | 429 with code `insufficient_quota`, no `Retry-After` |
//! | `429` | 429 with code `rate_limit_exceeded`, no `Retry-After` |
//! | `429-after-N` | 429, `Retry-After` of N seconds |
//! | `429-after-date`, `429-after-date-N` | 429, `Retry-After` as an HTTP date, N (or 2) seconds from now |
//! | `429-ms-N` | 429, `retry-after-ms: N` |
//! | `reset` | RST before any byte of an answer |
//! | `reset-mid`, `reset-mid-N` | RST within the answer, 20 ms after what was sent of it |
//! | `cut`, `cut-N` | the connection is closed within the answer: a stream's chunked coding lacks its end, a whole answer is shorter than its Content-Length |
//! | `cut-clean`, `cut-clean-N` | the same, but HTTP is in order: a stream without finish reason and `[DONE]`, half a body with the Content-Length of half a body |
//! | `cut-before-done` | closed after the finish reason, before usage and `[DONE]`; a whole answer only lacks its usage |
//! | `stall`, `stall-N` | after the head and N events (0 is allowed), or the head of a whole answer, silence for ever |
//! | `stall-head` | silence for ever, not even a head |
//! | `malformed`, `malformed-N` | an event of broken JSON, after which the stream goes on; half a body |
//! | `bad-frame`, `bad-frame-N` | the same, but in Bedrock's frames one whose checksum is wrong |
//! | `not-json` | 200 with `text/html` |
//! | `error-event`, `error-event-N` | an event with an `error` object, then an orderly end without `[DONE]`; as a whole answer, 200 with an `error` object |
//! | `endless` | half the answer, then more of the same without end; `drip-N` paces it |
//!
//! Texts (at most one; by default four plain English sentences).
//!
//! | id | the answer |
//! |---|---|
//! | `parrot` | `You said: ` and the first eight words of the last user message |
//! | `say:TEXT` | TEXT: all that follows, up to `@` or the end; must be the last part |
//! | `echo` | the received body, as a string; ignores the limit on output |
//! | `empty` | the empty string |
//! | `refusal` | "I'm sorry, but I can't help with that request." |
//! | `hedge` | a sentence that says it is not sure |
//! | `json` | `{"answer": "Forty-two."}` |
//! | `bad-json` | JSON that breaks off, with finish reason `stop` |
//! | `tools` | a call of the first tool offered, else of `lookup`; a stream brings its arguments in fragments |
//! | `tools-once` | the same; once the request has a result of a tool, the plain text |
//! | `unicode` | characters of one to four bytes, and joined ones |
//! | `giant-MIB` | that many MiB of words, up to 256, with the limit on output ignored; a stream brings them in one event |
//!
//! A form, in place of all texts and manners.
//!
//! | id | |
//! |---|---|
//! | `form-NAME` | the raw form of this name, of those that [`forms`](forms::forms) lists: what real providers are known to send, byte for byte |
//!
//! Manners (any number).
//!
//! | id | |
//! |---|---|
//! | `slow-N` | the first byte, of an error answer too, comes after N |
//! | `ttft-N` | the head comes at once, the first byte of the body after N |
//! | `drip-N` | N before each event, or before each of eight pieces of a whole body |
//! | `length` | half the text, finish reason `length` |
//! | `content-filter-finish` | half the text, finish reason `content_filter` |
//! | `no-usage` | usage is missing; it is billed all the same |
//! | `cached-N` | N input tokens (at most all of them) are reported as cached |
//! | `written-N` | N further input tokens are reported as written into a cache, in messages |
//! | `reasoning-N` | N reasoning tokens come before the text |
//! | `modern` | messages are refused as by the newest models: with sampling parameters, forced tools or a prefill |
//! | `overrun` | the limit on output is ignored |
//! | `gemini-NAME` | generated content is refused as by this model: with sampling parameters, the other way to say how much to think |
//! | `no-ids` | calls in generated content have no ids |
//! | `as-list` | a stream of generated content comes as a list of its events, as without `alt=sse` |
//! | `malformed-call` | half the text, finish reason `MALFORMED_FUNCTION_CALL`, in generated content |
//! | `low-logprob` | log probabilities, if asked for, of -2.8 to -3.2 in place of -0.01 to -0.09 |
//! | `sse-crlf` | events with CR LF |
//! | `sse-comments` | events among comments, `id` and `retry` |
//! | `sse-nospace` | `data:` without a space |
//! | `sse-multiline` | each event's JSON over two `data` lines |
//! | `split-utf8` | every line and every multi-byte character is split over two writes, and two chunks, 1 ms apart; the text is `unicode` unless another is named |
//! | `one-byte` | every byte is a write, in a stream's body also a chunk |
//! | `close` | `Connection: close` after each answer |
//! | `continue` | an interim 100 comes first |
//! | `extra` | unknown fields, with numbers such as `1.10`, in the answer, its messages and chunks |
//! | `no-sampling` | a Responses request with `temperature` or `top_p` is a 400 |
//! | `goes-on` | of a request that has the beginning of this answer at its end, with or without a user's word after it, the answer is the rest |
//! | `goes-on-repeating` | the same, from the beginning of the sentence that was cut |
//! | `goes-on-anew` | the same, but all of it again |
//! | `letters-N` | where the text is cut into pieces, each has N characters, and counts as a word |
//! | `stops-when-left` | generation stops, and is billed up to there, when the client leaves |
//! | `dimensions-N` | vectors have N numbers, or as many of them as are asked for; 8 unless said |
//! | `vectors-backwards` | the last input's vector comes first |
//! | `vectors-unnumbered`, `vectors-same-number` | vectors lack their index, or all have 0 |
//! | `vectors-too-few`, `vectors-too-many` | the last vector is missing, or comes twice |
//! | `vectors-null`, `vectors-zero`, `vectors-short` | the last vector's numbers are null or 0, or one is missing |
//! | `vectors-floats` | base64 and `dimensions` are overheard |
//! | `vectors-bare` | neither model nor usage is told |
//! | `vectors-strict-format` | `encoding_format` and `dimensions` are refused |
//!
//! # Usage
//!
//! - input = ⌈UTF-8 bytes of all message contents (strings, and `text` of parts) / 4⌉ + 3 for each message;
//! - output = `n` × (reasoning + words of the text, where a word is what lies between blanks), for each choice bounded by
//!   `max_completion_tokens`, else `max_tokens`: text that had to be shortened for it finishes with `length`;
//! - a form is billed what stands beside it;
//! - a call that is answered 200, or would have been when the client left, is billed in full whatever becomes of it on the
//!   wire, as providers do; `reset`, `stall-head`, error answers, `not-json` and an error in
//!   place of an answer are billed nothing, nor is a message that is refused before its first word. `endless` is billed as the text that
//!   it begins with.
//!
//! A stream reports usage if `stream_options.include_usage` asks for it, as OpenAI's do: `null` in each chunk, then a chunk
//! without choices. `n` and `logprobs` with `top_logprobs` are honoured.
//!
//! # Messages
//!
//! They are refused for what Anthropic refuses: unknown fields, a missing version, two kinds of keys, an empty text, calls
//! without results, thoughts that the same model did not sign. All tokens of texts count as input; `n` and `logprobs` are unknown. Forms
//! are for chat alone.
//!
//! # Azure
//!
//! Below `/azure/openai/` the double speaks chat completions and Responses as Azure does: with `api-key`, at the addresses
//! with `v1` or with deployments and a version, refusing what they refuse. A stream has frames of filters before, between and
//! after the others.
//!
//! # Generated content
//!
//! `POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent` are refused for what Google refuses: unknown fields,
//! results without their calls, calls of the current turn without a signature or with another model's, both ways to say how
//! much to think. `content-filter` is an answer without answers, `429-after-N` a detail, `insufficient-quota` a day's quota.
//!
//! # Embeddings
//!
//! What is to be embedded and what comes with it is as OpenAI takes it: unknown fields, `null`, empty texts, more than 2,048
//! inputs and vectors that are longer than the model's are a 400. Tokens are counted as they come, of texts ⌈UTF-8 bytes / 4⌉;
//! there is no output. A text has the same vector wherever it is asked for.
//!
//! # Bedrock
//!
//! Below `/bedrock/` the double is Amazon Bedrock: `model/ID/converse` and `converse-stream`, with frames whose checksums are
//! right (`bad-frame` sends one whose is not, `error-event` an exception), `anthropic/v1/messages`, and
//! `openai/v1/chat/completions` and `/responses`. A request has a bearer's key or a signature of [`KNOWN_KEY`], which is
//! computed anew. It is refused for what Bedrock refuses: unknown fields, blank texts, two turns of one side, a first turn
//! that is not the user's, calls of tools without a list of tools.
//!
//! # As a process
//!
//! `upstream-double [ADDR]` prints its base URL and serves until its standard input closes or SIGTERM comes
//! (so, in the background of a shell script: `sleep infinity | upstream-double &`). Beside the above it answers
//! `GET /counts` and `GET /requests` (the last 1,000 chat requests) as JSON; `POST /reset` forgets both.

mod answer;
mod ask;
mod azure;
mod bedrock;
mod behaviour;
pub mod forms;
mod http;
mod refusal;
mod responses;
mod script;
mod serve;
mod tallies;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpSocket;
use tokio::task::JoinSet;

pub use answer::Usage;
pub use bedrock::KNOWN_KEY;
pub use tallies::{Counts, Received, Tally};

/// Occurs in the message of every error answer that is not the caller's own fault, and in a header of every chat answer.
/// No caller of a gateway may ever see it.
pub const LEAK: &str = "sk-double-LEAK-4f9c2e71";

/// A running double. Dropped, it closes its port and all its connections.
pub struct Double {
    address: SocketAddr,
    tallies: Arc<tallies::Tallies>,
    server: JoinSet<()>,
}

impl Double {
    /// Starts a double on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If no port can be bound: no test can go on without.
    #[allow(clippy::expect_used, reason = "called by tests, which have nothing better to do with an error")]
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1:0").await.expect("a free port on 127.0.0.1")
    }

    /// Starts a double on `address`, such as `127.0.0.1:8090`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start_on(address: &str) -> io::Result<Self> {
        // A thousand streams may be begun at once; by default the others than 128 would try again after a second.
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address.parse().map_err(io::Error::other)?)?;
        let listener = socket.listen(4096)?;
        let address = listener.local_addr()?;
        let tallies = Arc::<tallies::Tallies>::default();
        let mut server = JoinSet::new();
        server.spawn(serve::listen(listener, Arc::clone(&tallies)));
        Ok(Self { address, tallies, server })
    }

    /// The base URL that a client is configured with, `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted since the start or the last [`Double::reset`].
    pub fn counts(&self) -> Counts {
        self.tallies.counts()
    }

    /// The last chat requests, oldest first: at most 1,000, and at most 64 MiB of bodies.
    pub fn requests(&self) -> Vec<Received> {
        self.tallies.requests()
    }

    /// Forgets all counts and requests; `fail-N` begins anew.
    pub fn reset(&self) {
        self.tallies.reset();
    }

    /// Closes the port and all connections, and returns when the port refuses connections.
    pub async fn stop(mut self) {
        self.server.shutdown().await;
    }
}
