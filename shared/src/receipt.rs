//! The receipt: the record of one request — what was decided, tried, paid, and why.
//!
//! Its JSON is the contract's. Every call that a provider may bill stands on it (M4), and the ledger's totals are the
//! sums of receipts. Secrets and prompts never do (T3).

use crate::feedback::Feedback;
use crate::id::RequestId;
use crate::limit::window::Window;

use crate::money::{Amounts, Charged, Usage, usd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why the request's tier is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentSource {
    /// Found by embeddings: in process, or where a team has an embedder, by that for its own intents.
    Embedding,
    /// A cheap model classified it.
    Classifier,
    /// The client named a model or a tier.
    Pinned,
    /// Nothing was sure enough, and the configured default was taken.
    Default,
}

impl IntentSource {
    /// The word of headers and receipts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Classifier => "classifier",
            Self::Pinned => "pinned",
            Self::Default => "default",
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The intent's configured name.
    pub name: Arc<str>,
    /// How sure the gateway is of it, 0 to 1.
    pub confidence: f32,
    /// Who found it.
    pub source: IntentSource,
}

/// Whether a remembered answer was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheStatus {
    /// The same request was answered before.
    Hit,
    /// A request of the same meaning was answered before.
    HitSemantic,
    /// Nothing was remembered.
    Miss,
    /// The cache was not read.
    Bypass,
}

impl CacheStatus {
    /// The word of headers and receipts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::HitSemantic => "hit-semantic",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// The earlier request whose answer served one that asks the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SimilarTo {
    /// How alike the two are, up to 1.
    pub similarity: f32,
    /// The earlier request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
}

impl SimilarTo {
    /// The same, with three decimals.
    #[must_use]
    pub fn of(similarity: f32, id: Option<RequestId>) -> Self {
        Self { similarity: (similarity * 1000.0).round() / 1000.0, id }
    }
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// The first call of the request.
    First,
    /// The same candidate again.
    Retry,
    /// The next candidate.
    Failover,
    /// The next candidate as well, because the first was late.
    Hedge,
    /// A stronger tier, because the answer looked unreliable.
    Upgrade,
    /// A cheap model was called for what the request is about.
    Classifier,
    /// Another candidate went on with a cut stream.
    Continuation,
    /// An embedding model was called for what the request is about.
    Embedding,
}

impl AttemptKind {
    /// Why the next attempt is made after one that failed: whatever goes on with a stream is a continuation.
    pub(crate) fn then(self, next: Self) -> Self {
        if self == Self::Continuation { self } else { next }
    }

    /// Whether it was made for an answer, and not to find out what the request is about.
    #[must_use]
    pub fn is_for_answer(self) -> bool {
        !matches!(self, Self::Classifier | Self::Embedding)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// A whole answer.
    Ok,
    /// Nothing came in time.
    Timeout,
    /// The connection failed or was reset.
    Reset,
    /// The provider answered with an error status.
    HttpError,
    /// The provider answered 429.
    RateLimited,
    /// The answer ended before it was whole.
    Truncated,
    /// The answer could not be understood.
    Malformed,
    /// The answer was whole and looked unreliable.
    LowConfidence,
    /// The provider, or the model, refused what the request says.
    Refused,
    /// The client went away before the end.
    ClientGone,
    /// It was ended: another candidate began first.
    Cancelled,
}

/// Why a provider cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It refuses connections.
    ConnectionRefused,
    /// Its name cannot be resolved.
    Dns,
    /// No safe connection can be made: its certificate, or what answers there.
    Tls,
    /// It accepts no connection in time.
    ConnectTimeout,
    /// There is no way to it, or it closes connections at once.
    Unreachable,
    /// 401: our key was refused.
    Unauthorized,
    /// 402, or a used-up quota: our bill.
    PaymentRequired,
    /// 403: our key may not, or this request must not.
    Forbidden,
    /// 404: our model id, or nothing of it can serve this request.
    NotFound,
    /// Our key cannot be read where it is kept.
    KeyUnread,
}

impl Cause {
    /// The word of receipts, error details and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection_refused",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::PaymentRequired => "payment_required",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::KeyUnread => "key_unread",
        }
    }
}

/// One call to one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The catalog name of the candidate.
    pub model: Arc<str>,
    /// Why it was made.
    pub kind: AttemptKind,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The HTTP status that the provider sent, if one came.
    pub status: Option<u16>,
    /// Why its provider could not be used, where that is how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Milliseconds to the first token, or to a whole answer's first byte.
    pub ttft_ms: Option<f64>,
    /// Milliseconds to the end of the attempt.
    pub latency_ms: f64,
    /// What the provider says, or is estimated, to have used.
    pub usage: Usage,
    /// What that costs.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost_nusd: u64,
    /// Whether the usage is an estimate of ours.
    pub estimated: bool,
    /// What is odd about the price: it is unknown, its list has run out, or the provider reports another cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_note: Option<String>,
}

impl Attempt {
    /// An attempt that went well and cost nothing so far.
    #[must_use]
    pub fn of(model: Arc<str>, kind: AttemptKind, latency_ms: f64) -> Self {
        Self {
            model,
            kind,
            outcome: AttemptOutcome::Ok,
            status: Some(200),
            cause: None,
            ttft_ms: None,
            latency_ms,
            usage: Usage::default(),
            cost_nusd: 0,
            estimated: false,
            price_note: None,
        }
    }
}

/// The record of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The request's id, and the receipt's.
    pub id: RequestId,
    /// Whose request it was.
    pub tenant: Arc<str>,
    /// What the tenant's receipts are kept under, where that is not its id; see [`Receipt::uid`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_uid: Option<Arc<str>>,
    /// The last four characters of the key that it came with.
    pub key_last4: Arc<str>,
    /// When it came in, in Unix milliseconds.
    pub created_at_ms: u64,
    /// The HTTP status of the answer; of a stream, what its headers would have said had they waited for its end.
    pub status: u16,
    /// What the client requested: `auto`, a tier, a catalog name or an alias.
    pub requested_model: Arc<str>,
    /// The catalog name of the model that answered.
    pub model: Option<Arc<str>>,
    /// The tier that answered, if it was chosen by tier.
    pub tier: Option<Arc<str>>,
    /// What the request was about; absent where the client pinned a model.
    pub intent: Option<Intent>,
    /// The probability that the cheap tier's answer would not do, 0 to 1.
    pub difficulty: Option<f32>,
    /// For each tier but the strongest, the probability that a stronger one is needed, where the difficulty alone does not
    /// say it: there are more than two tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<f32>,
    /// The probability of each intent that is not negligible; see [`Receipt::set_scores`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<Arc<str>, f32>,
    /// The tenant's dial between cost and quality, where the tier was chosen by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f64>,
    /// The probability that the first answer is wrong, by what it shows of itself, 0 to 1; 1 is certain. Absent where no
    /// answer was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f32>,
    /// Whether a remembered answer was used.
    pub cache: CacheStatus,
    /// Whose answer it was, where that of another request served it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar: Option<SimilarTo>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Whether a stronger tier's answer replaced an unreliable one.
    pub upgraded: bool,
    /// The configuration's version.
    pub config_version: u64,
    /// The client's tags.
    pub tags: BTreeMap<String, String>,
    /// The sum over all attempts.
    pub usage: Usage,
    /// The sum over all attempts.
    #[serde(rename = "cost_usd", with = "usd")]
    pub cost_nusd: u64,
    /// Whether any attempt's usage is an estimate.
    pub estimated: bool,
    /// Milliseconds from the request's arrival to the end of its answer.
    pub latency_ms: f64,
    /// Milliseconds of those that no provider was being waited for.
    pub overhead_ms: f64,
    /// Milliseconds to the first token that the client got.
    pub ttft_ms: Option<f64>,
    /// Why things went as they did, in the order in which they were decided.
    pub reasons: Vec<String>,
    /// Every call that was made, in order.
    pub attempts: Vec<Attempt>,
    /// The quota windows that it was charged to.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Whether it was admitted without the store, within the tenant's outage share.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outage: bool,
    /// What the tenant said of the answer, the last time that it did; kept beside the receipt, not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// An intent less probable than this is not worth its bytes on the receipt.
const LEAST_SCORE: f32 = 0.005;

impl Receipt {
    /// Whether another candidate was called after one that failed, before its first byte or after.
    #[must_use]
    pub fn failed_over(&self) -> bool {
        let kinds = [AttemptKind::Failover, AttemptKind::Continuation];
        self.attempts.iter().any(|attempt| kinds.contains(&attempt.kind))
    }

    /// The receipt of a request that has only begun.
    #[must_use]
    pub fn begun(id: RequestId, created_at_ms: u64) -> Self {
        Self {
            id,
            tenant: "".into(),
            tenant_uid: None,
            key_last4: "".into(),
            created_at_ms,
            status: 0,
            requested_model: "".into(),
            model: None,
            tier: None,
            intent: None,
            difficulty: None,
            needs: Vec::new(),
            scores: BTreeMap::new(),
            quality: None,
            doubt: None,
            cache: CacheStatus::Bypass,
            similar: None,
            streamed: false,
            upgraded: false,
            config_version: 0,
            tags: BTreeMap::new(),
            usage: Usage::default(),
            cost_nusd: 0,
            estimated: false,
            latency_ms: 0.0,
            overhead_ms: 0.0,
            ttft_ms: None,
            reasons: Vec::new(),
            attempts: Vec::new(),
            windows: Vec::new(),
            outage: false,
            feedback: None,
        }
    }

    /// Keeps the probabilities of intents, in three decimal places and without those of less than half a percent: a receipt
    /// is paid for by the kilobyte.
    pub fn set_scores(&mut self, scores: &[(Arc<str>, f32)]) {
        let kept = scores.iter().filter(|(_, score)| *score >= LEAST_SCORE);
        self.scores = kept.map(|(name, score)| (name.clone(), (score * 1000.0).round() / 1000.0)).collect();
    }

    /// What it, and all that it adds to, is kept under.
    #[must_use]
    pub fn uid(&self) -> &Arc<str> {
        self.tenant_uid.as_ref().unwrap_or(&self.tenant)
    }

    /// Whether it is one of a lost process: an estimate of which no call is known.
    #[must_use]
    pub fn is_of_expired_hold(&self) -> bool {
        self.estimated && self.attempts.is_empty()
    }

    /// What this request counts against a quota (M7): itself, and all its tokens and money.
    #[must_use]
    pub fn amounts(&self) -> Amounts {
        Amounts { requests: 1, tokens: self.usage.total_tokens(), cost_nusd: self.cost_nusd }
    }

    /// The same, as its windows' totals take it in.
    #[must_use]
    pub fn charged(&self) -> Charged {
        let used = self.amounts();
        Charged { used, outage: if self.outage { used } else { Amounts::default() } }
    }
}
