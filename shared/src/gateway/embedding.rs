//! A team's own intents as an embedding model of a provider sees them.
//!
//! The table in process stays what everything else goes by: the heads were trained on its vectors, and where the model is
//! down, late or not asked, the own intents are known by the table as well. The model's vectors of the utterances are
//! fetched once in the life of a process, in batches and beside its requests; a start waits for them for a moment only, and
//! where it fails it is tried again. These calls are no tenant's, and the log says what they used.

use crate::config::EmbedderSettings;
use crate::estimate::{InputEstimate, Span, worst_case};
use crate::id::RequestId;
use crate::locking::lock;
use crate::money::{Amounts, Usage};
use crate::provider::ProviderError;
use crate::receipt::AttemptOutcome;
use crate::routing::head::Features;
use crate::routing::intents::{Readings, Utterances};
use crate::routing::own::{OwnIntents, Seen};
use crate::routing::text::embedder::{EmbedCall, Embedder};
use crate::routing::text::window;
use crate::wire::facts::Facts;
use futures_util::future::try_join_all;
use lru::LruCache;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// How long a start waits for the utterances' vectors.
const START: Duration = Duration::from_secs(5);
/// How long they may take.
const LEARNING: Duration = Duration::from_secs(60);
/// How long after the first try the next one may begin, in milliseconds; twice as long after each further one, for all of
/// the utterances may be billed each time.
const NEXT_TRY_MS: u64 = 60_000;
/// It is doubled at most so often.
const MOST_DOUBLINGS: u32 = 6;
/// Batches that are under way at the same time.
const AT_ONCE: usize = 4;
/// Texts of one batch that may be refused; where there are more, it is not for the texts.
const MOST_LEFT_OUT: usize = 3;
/// The requests of which it is remembered what was read.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The embedding model of a configuration that has one, and intents of its own.
pub(crate) struct Embedding {
    pub(crate) settings: EmbedderSettings,
    pub(crate) embedder: Arc<dyn Embedder>,
    utterances: Utterances,
    learnt: OnceLock<OwnIntents>,
    /// When learning may begin, in Unix milliseconds, and how often it has.
    tries: Mutex<(u64, u32)>,
    /// By a hash of tenant and texts (T1).
    remembered: Mutex<LruCache<[u8; 32], Readings>>,
}

impl Embedding {
    pub(crate) fn new(settings: EmbedderSettings, embedder: Arc<dyn Embedder>, utterances: Utterances) -> Arc<Self> {
        let remembered = Mutex::new(LruCache::new(REMEMBERED));
        Arc::new(Self { settings, embedder, utterances, learnt: OnceLock::new(), tries: Mutex::default(), remembered })
    }

    /// Begins to learn, and waits for it for a moment.
    pub(crate) async fn start(self: &Arc<Self>, now_ms: u64) {
        if let Some(learning) = self.begin(now_ms) {
            // It goes on where it takes longer.
            let _ = timeout(START, learning).await;
        }
    }

    /// The own intents; while they are not learnt nothing, and another try may begin.
    pub(crate) fn learnt(self: &Arc<Self>, now_ms: u64) -> Option<&OwnIntents> {
        if self.learnt.get().is_none() {
            self.begin(now_ms);
        }
        self.learnt.get()
    }

    fn begin(self: &Arc<Self>, now_ms: u64) -> Option<JoinHandle<()>> {
        let mut tries = lock(&self.tries);
        if now_ms < tries.0 {
            return None;
        }
        *tries = (now_ms + (NEXT_TRY_MS << tries.1.min(MOST_DOUBLINGS)), tries.1 + 1);
        // It outlives the request that finds it due, which does not wait for it, and is bounded in time.
        #[allow(clippy::disallowed_methods)]
        Some(tokio::spawn(self.clone().learn(now_ms)))
    }

    async fn learn(self: Arc<Self>, now_ms: u64) {
        let late = |_| ProviderError::retryable(AttemptOutcome::Timeout, "no answer in time");
        let fetched = timeout(LEARNING, self.fetch(now_ms)).await.map_err(late);
        let model = self.settings.model.clone();
        match fetched.flatten() {
            Err(error) => {
                tracing::warn!(model = %model.name, %error, status = error.status, "the intents' utterances are not embedded; the table in process knows them");
            }
            Ok((vectors, usage)) => {
                let (utterances, cost_nusd) = (vectors.len(), model.price.cost_nusd(&usage, now_ms));
                // For a thousand utterances it takes a second.
                let learnt = spawn_blocking(move || self.learnt.set(self.utterances.learn(vectors.into_iter()))).await;
                if learnt.is_ok() {
                    tracing::info!(model = %model.name, utterances, input_tokens = usage.input_tokens, cost_nusd, "the intents' utterances are embedded");
                }
            }
        }
    }

    /// The vectors of all utterances, and what they used.
    async fn fetch(&self, now_ms: u64) -> Result<(Vec<Vec<f32>>, Usage), ProviderError> {
        let texts: Vec<&str> = self.utterances.texts().collect();
        let batches: Vec<&[&str]> = texts.chunks(self.settings.batch_texts).collect();
        let (mut vectors, mut usage) = (Vec::with_capacity(texts.len()), Usage::default());
        for several in batches.chunks(AT_ONCE) {
            for (of_batch, used) in try_join_all(several.iter().map(|texts| self.batch(texts, now_ms))).await? {
                vectors.extend(of_batch);
                usage.plus(&used);
            }
        }
        Ok((vectors, usage))
    }

    /// The vectors of a batch, and what they used. Servers refuse a batch that is too large for them, and some a text that is
    /// nothing out of the ordinary: so one that is refused is halved, and a text that is refused alone has no direction.
    async fn batch(&self, texts: &[&str], now_ms: u64) -> Result<(Vec<Vec<f32>>, Usage), ProviderError> {
        let (mut vectors, mut usage, mut left_out) = (Vec::with_capacity(texts.len()), Usage::default(), 0);
        let mut parts = vec![texts];
        while let Some(part) = parts.pop() {
            match self.embedder.embed(EmbedCall { texts: part, now_ms, id: RequestId::new(now_ms) }).await {
                Ok(embedded) => {
                    vectors.extend(embedded.vectors);
                    usage.plus(&embedded.usage.unwrap_or_default());
                }
                Err(error) if !may_be_of_texts(&error) || left_out == MOST_LEFT_OUT => return Err(error),
                Err(error) => match part {
                    [text] => {
                        tracing::warn!(text, %error, "an utterance is not embedded, and left out");
                        vectors.push(vec![0.0; self.embedder.dimensions()]);
                        left_out += 1;
                    }
                    part => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok((vectors, usage))
    }

    /// What is known of a call for these texts, to bound and bill it by.
    pub(crate) fn facts(texts: &[String]) -> Facts {
        let shown_bytes = |text: &String| {
            let (head, tail) = window(text);
            head.len() + tail.len()
        };
        let body_bytes = texts.iter().map(shown_bytes).sum();
        Facts { body_bytes, messages: texts.len(), max_output_tokens: Some(0), ..Facts::default() }
    }

    /// What a call for these texts may cost at most.
    pub(crate) fn allowance(&self, texts: &[String], span: Span) -> Amounts {
        let facts = Self::facts(texts);
        worst_case(&facts, &self.settings.model, InputEstimate::of(&facts).upper_bound_tokens, span)
    }

    /// What was read of a tenant's texts before.
    pub(crate) fn remembered(&self, uid: &str, texts: &[String]) -> Option<Readings> {
        lock(&self.remembered).get(&key(uid, texts)).cloned()
    }

    /// Reads what vectors say of a tenant's texts, and remembers it.
    pub(crate) fn read(&self, own: &OwnIntents, uid: &str, texts: &[String], vectors: Vec<Vec<f32>>) -> Readings {
        let seen = |(text, vector): (&String, Vec<f32>)| Seen { vector, grams: Features::of(text).grams };
        let readings: Readings = texts.iter().zip(vectors).map(|of| own.read(&seen(of))).collect();
        lock(&self.remembered).put(key(uid, texts), readings.clone());
        readings
    }

    /// Forgets what was read of all tenants' texts.
    pub(crate) fn forget(&self) {
        lock(&self.remembered).clear();
    }
}

/// Whether a call may have failed for its texts: their number, their length, or one of them.
fn may_be_of_texts(error: &ProviderError) -> bool {
    error.outcome == AttemptOutcome::Malformed || matches!(error.status, Some(400 | 413 | 422 | 500))
}

fn key(uid: &str, texts: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(uid).chain(texts.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
