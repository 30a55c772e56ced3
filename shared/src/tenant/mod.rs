//! A tenant: a customer of the gateway, who owns keys, limits and settings.
//!
//! What an operator sets and what the gateway runs by are two types. [`TenantRecord`] keeps only the fields that were
//! set, as JSON, so that PATCH is a plain deep merge, "absent" keeps meaning the default of the day, `null` stays a value
//! (no limit) and `"default"` takes a field back. [`Tenant`] is the record over the defaults, resolved once when it is read.
//!
//! A tenant has two names. Its `id` is what people call it, and may be given to another tenant when it is deleted. Its
//! `uid`, made with it and never used again, is what everything that is kept of it lies under: receipts, totals, claims,
//! counters, remembered answers (T5). A tenant made before there were uids has its id for one.

pub mod key;
mod limits;
mod setting;

use crate::alerts::address;
use crate::tenant::key::random_base62;
use crate::tenant::setting::merge;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

pub use limits::{Limits, Quota, RateKind, Whose};
pub use setting::InvalidTenant;

/// Between a tenant's id and what distinguishes its uid from those of others that had the id; no id may hold it.
pub const UID_MARK: char = '~';
/// Random characters of a uid: 95 bits.
const UID_CHARS: usize = 16;

/// Caching for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantCache {
    /// Whether answers are remembered.
    pub enabled: bool,
    /// For how many seconds, at most 30 days.
    pub ttl_seconds: u64,
    /// Whether an answer to a request of the same meaning may be used.
    pub semantic: bool,
    /// Whether answers are remembered whatever the request's temperature and `n`.
    pub any_temperature: bool,
}

/// Upgrading for a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantUpgrade {
    /// Whether an unreliable cheap answer is replaced by a stronger tier's.
    pub enabled: bool,
    /// Bytes of a streamed answer that are waited for and judged before the client gets the first of them; 0 holds nothing
    /// back, and judges no stream that says something.
    pub stream_holdback_bytes: u64,
}

/// The most of a stream that may be held back: it waits in memory.
pub const MAX_STREAM_HOLDBACK_BYTES: u64 = 65_536;

/// What becomes of a stream that breaks off after bytes of it went to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBrokenStream {
    /// The next candidate goes on with it.
    Continue,
    /// It is held back until it is whole, so that none can break off.
    Buffer,
    /// It ends with an error.
    Error,
}

impl OnBrokenStream {
    /// Each by its word.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("continue", Self::Continue), ("buffer", Self::Buffer), ("error", Self::Error)];
}

/// What is told of a tenant's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantAlerts {
    /// Whether anything is.
    pub enabled: bool,
    /// The address that is told, in place of the one that the configuration names.
    pub webhook: Option<String>,
    /// At which parts of each limit, in percent.
    pub thresholds: Vec<u8>,
}

/// Everything that may be set of a tenant; also the shape of `[tenant_defaults]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// Whether its requests are served.
    pub enabled: bool,
    /// Rate limits and quotas.
    pub limits: Limits,
    /// When its day begins, as any instant at which one began; 0 is UTC midnight.
    pub window_anchor_ms: u64,
    /// Names or prefixes ending in `*` of the models and tiers that it may use.
    pub allowed_models: Vec<String>,
    /// Caching.
    pub cache: TenantCache,
    /// Upgrading.
    pub upgrade: TenantUpgrade,
    /// The dial between cost (0) and quality (1): see [`crate::routing::dial`].
    pub quality: f64,
    /// The part of the day's quotas that it may use while the store is down, 0 to 1.
    pub outage_share: f64,
    /// Whether a window that the store lost stays closed until no hold of before can be in flight (M5).
    pub strict: bool,
    /// Whether requests are refused while the ledger is down.
    pub ledger_required: bool,
    /// Whether a request may have fields that make the provider bill more than tokens at the model's price. What they add
    /// is neither held nor charged.
    pub allow_paid_extras: bool,
    /// Whether a request that one model's provider refused for what it says, at no cost, is put to the next candidate.
    pub failover_on_refusal: bool,
    /// Whether a request that says how much to think, in a word that no model which could serve it knows, is served without
    /// that word; else it is refused.
    pub drop_unknown_effort: bool,
    /// Whether the next candidate is called as well where the first is late: see [`crate::stage::attempt`].
    pub hedge: bool,
    /// What becomes of a stream that breaks off.
    pub on_broken_stream: OnBrokenStream,
    /// What is told of its limits.
    pub alerts: TenantAlerts,
}

/// What the directory stores of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// 1 to 64 characters of `a-z A-Z 0-9 . _ -`; the first a letter or digit.
    pub id: Arc<str>,
    /// What all that is kept of it lies under: `<id>~<random>`. Absent where that is the id; see [`TenantRecord::uid`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Arc<str>>,
    /// A name for people.
    pub name: String,
    /// When it was made, in Unix milliseconds.
    pub created_at_ms: u64,
    /// Grows with every change to the tenant or to one of its keys (T2). It begins with the time of creation.
    pub version: u64,
    /// The version that the last change of its settings gave it: changes of its keys leave it. 0 in records that were last
    /// changed before there were revisions.
    #[serde(default)]
    pub revision: u64,
    /// How often its remembered answers were purged; part of the key of each.
    #[serde(default)]
    pub purges: u64,
    /// The fields of [`TenantSettings`] that were set, and no others.
    pub set: Map<String, Value>,
}

/// A tenant as the gateway runs by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its id.
    pub id: Arc<str>,
    /// What all that is kept of it lies under.
    pub uid: Arc<str>,
    /// A name for people.
    pub name: String,
    /// The version of its record (T2).
    pub version: u64,
    /// How often its remembered answers were purged.
    pub purges: u64,
    /// The record over the defaults.
    pub settings: TenantSettings,
}

impl TenantRecord {
    /// A record of a new tenant from the body of a POST.
    ///
    /// # Errors
    /// Names the first field that is missing, unknown or of the wrong type or range.
    pub fn create(body: Value, defaults: &TenantSettings, now_ms: u64) -> Result<Self, InvalidTenant> {
        let Value::Object(mut fields) = body else {
            return Err(InvalidTenant::new("", "the body must be a JSON object"));
        };
        let id = take_text(&mut fields, "id")?.ok_or_else(|| InvalidTenant::new("id", "is required"))?;
        check_id(&id)?;
        let name = take_text(&mut fields, "name")?.unwrap_or_else(|| id.clone());
        let uid = Some(format!("{id}{UID_MARK}{}", random_base62(UID_CHARS)).into());
        let mut record = Self {
            id: id.into(),
            uid,
            name,
            created_at_ms: now_ms,
            version: now_ms,
            revision: now_ms,
            purges: 0,
            set: Map::new(),
        };
        merge(&mut record.set, fields, Some(&to_value(defaults)?))?;
        record.resolve(defaults)?;
        Ok(record)
    }

    /// This record with the body of a PATCH merged in, its version one higher.
    ///
    /// # Errors
    /// As [`TenantRecord::create`]; the id cannot be changed.
    pub fn patched(&self, body: Value, defaults: &TenantSettings) -> Result<Self, InvalidTenant> {
        let Value::Object(mut fields) = body else {
            return Err(InvalidTenant::new("", "the body must be a JSON object"));
        };
        for (name, value) in [("id", &self.id), ("uid", self.uid())] {
            if take_text(&mut fields, name)?.is_some_and(|given| given != **value) {
                return Err(InvalidTenant::new(name, "cannot be changed"));
            }
        }
        let mut record = self.clone();
        if let Some(name) = take_text(&mut fields, "name")? {
            record.name = name;
        }
        record.version += 1;
        record.revision = record.version;
        merge(&mut record.set, fields, Some(&to_value(defaults)?))?;
        record.resolve(defaults)?;
        Ok(record)
    }

    /// This record with all that is remembered for it out of reach, its version one higher.
    #[must_use]
    pub fn purged(&self) -> Self {
        Self { version: self.version + 1, purges: self.purges + 1, ..self.clone() }
    }

    /// The tenant that this record makes over `defaults`.
    ///
    /// # Errors
    /// Names the first field that does not fit; a stored record was checked when it was written.
    pub fn resolve(&self, defaults: &TenantSettings) -> Result<Tenant, InvalidTenant> {
        let Value::Object(mut whole) = to_value(defaults)? else {
            return Err(InvalidTenant::new("", "the defaults are no object"));
        };
        merge(&mut whole, self.set.clone(), None)?;
        let settings: TenantSettings = serde_path_to_error::deserialize(Value::Object(whole))
            .map_err(|e| InvalidTenant::new(e.path().to_string(), e.inner().to_string()))?;
        check_settings(&settings)?;
        let (id, uid, name) = (self.id.clone(), self.uid().clone(), self.name.clone());
        Ok(Tenant { id, uid, name, version: self.version, purges: self.purges, settings })
    }

    /// What all that is kept of it lies under.
    #[must_use]
    pub fn uid(&self) -> &Arc<str> {
        self.uid.as_ref().unwrap_or(&self.id)
    }
}

impl TenantSettings {
    /// Those that change what is answered: the part of them that is in the key of a remembered answer. A change that
    /// adds a setting says here which kind it is.
    pub(crate) fn changing_answers(&self) -> (&[String], &TenantUpgrade, f64, [bool; 2]) {
        let Self {
            allowed_models,
            upgrade,
            quality,
            failover_on_refusal,
            drop_unknown_effort,
            enabled: _,
            limits: _,
            window_anchor_ms: _,
            // Whether it may be remembered, and for how long, changes no answer.
            cache: _,
            outage_share: _,
            strict: _,
            ledger_required: _,
            // What it allows is in the request; where it is not allowed, the request is refused before it is looked for.
            allow_paid_extras: _,
            // The next candidate's answer is as good as the first one's.
            hedge: _,
            // What was gone on with is not remembered.
            on_broken_stream: _,
            alerts: _,
        } = self;
        (allowed_models, upgrade, *quality, [*failover_on_refusal, *drop_unknown_effort])
    }
}

impl Tenant {
    /// Whether this tenant may use the model or tier of this name.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        allows(&self.settings.allowed_models, name)
    }

    /// The tenant as the admin plane shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("id".into(), Value::from(&*self.id));
        body.insert("uid".into(), Value::from(&*self.uid));
        body.insert("name".into(), Value::from(self.name.as_str()));
        if let Ok(Value::Object(settings)) = serde_json::to_value(&self.settings) {
            body.extend(settings);
        }
        Value::Object(body)
    }
}

/// The id of the tenant that has, or had, this uid.
#[must_use]
pub fn id_of(uid: &str) -> &str {
    uid.split(UID_MARK).next().unwrap_or(uid)
}

/// The uid as a receipt names it beside its tenant's id: not at all where it is the id.
#[must_use]
pub fn uid_apart(uid: &Arc<str>) -> Option<Arc<str>> {
    uid.contains(UID_MARK).then(|| uid.clone())
}

/// What is wrong with other thresholds.
pub(crate) const NO_THRESHOLDS: &str = "must be at most 10 different whole numbers from 1 to 100";

/// Whether a limit has such parts to be told of, in percent.
pub(crate) fn are_thresholds(percents: &[u8]) -> bool {
    let fits = |percent: &u8| (1..=100).contains(percent);
    let differ = percents.iter().collect::<std::collections::BTreeSet<_>>().len() == percents.len();
    percents.len() <= 10 && differ && percents.iter().all(fits)
}

fn to_value(defaults: &TenantSettings) -> Result<Value, InvalidTenant> {
    serde_json::to_value(defaults).map_err(|e| InvalidTenant::new("", e.to_string()))
}

/// Whether one of `patterns` (names, or prefixes ending in `*`) matches `name`.
#[must_use]
pub fn allows(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    })
}

/// Whether all that `narrow` matches is matched by `wide`.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_suffix('*') {
        Some(prefix) => narrow.strip_suffix('*').unwrap_or(narrow).starts_with(prefix),
        None => wide == narrow,
    }
}

/// What both of two lists of patterns match: of each two, the one that the other covers.
#[must_use]
pub fn narrowed(patterns: &[String], within: &[String]) -> Vec<String> {
    let mut both: Vec<String> = Vec::new();
    for pattern in patterns {
        let covered = |other: &String| {
            let inner = if covers(other, pattern) { pattern } else { other };
            (covers(other, pattern) || covers(pattern, other)).then(|| inner.clone())
        };
        for inner in within.iter().filter_map(covered) {
            if !both.contains(&inner) {
                both.push(inner);
            }
        }
    }
    both
}

fn take_text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, InvalidTenant> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= 200 => Ok(Some(text)),
        Some(_) => Err(InvalidTenant::new(name, "must be a text of 1 to 200 bytes")),
    }
}

fn check_id(id: &str) -> Result<(), InvalidTenant> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if id.len() > 64 || !id.bytes().all(fits) || !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let form = "must be 1 to 64 characters of a-z A-Z 0-9 . _ -, the first a letter or digit";
        return Err(InvalidTenant::new("id", form));
    }
    Ok(())
}

fn check_settings(settings: &TenantSettings) -> Result<(), InvalidTenant> {
    settings.limits.check()?;
    for (name, share) in [("outage_share", settings.outage_share), ("quality", settings.quality)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(InvalidTenant::new(name, "must be 0 to 1"));
        }
    }
    if settings.upgrade.stream_holdback_bytes > MAX_STREAM_HOLDBACK_BYTES {
        return Err(InvalidTenant::new("upgrade.stream_holdback_bytes", "must be 0 to 65536"));
    }
    if !(1..=2_592_000).contains(&settings.cache.ttl_seconds) {
        return Err(InvalidTenant::new("cache.ttl_seconds", "must be 1 to 2592000"));
    }
    if !are_thresholds(&settings.alerts.thresholds) {
        return Err(InvalidTenant::new("alerts.thresholds", NO_THRESHOLDS));
    }
    if let Some(Err(why)) = settings.alerts.webhook.as_deref().map(address::check) {
        return Err(InvalidTenant::new("alerts.webhook", why));
    }
    if settings.window_anchor_ms > 253_402_300_800_000 {
        return Err(InvalidTenant::new("window_anchor_ms", "must be Unix milliseconds before the year 10000"));
    }
    if settings.allowed_models.len() > 1000
        || settings.allowed_models.iter().any(|name| name.is_empty() || name.len() > 200)
    {
        return Err(InvalidTenant::new("allowed_models", "must be at most 1000 names of 1 to 200 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn defaults() -> TenantSettings {
        serde_json::from_value(json!({
            "enabled": true,
            "limits": {"requests_per_minute": 600, "tokens_per_minute": 200_000, "concurrency": 50, "daily_requests": 1000,
                       "daily_tokens": 1_000_000, "daily_cost_usd": "5.00", "monthly_cost_usd": null},
            "window_anchor_ms": 0, "allowed_models": ["*"],
            "cache": {"enabled": true, "ttl_seconds": 300, "semantic": false, "any_temperature": false},
            "upgrade": {"enabled": true, "stream_holdback_bytes": 0}, "quality": 0.5, "outage_share": 0.1, "strict": false,
            "ledger_required": false, "allow_paid_extras": false,
            "failover_on_refusal": false, "drop_unknown_effort": true, "hedge": false, "on_broken_stream": "continue",
            "alerts": {"enabled": true, "webhook": null, "thresholds": [50, 80, 100]}
        }))
        .unwrap()
    }

    #[test]
    fn absent_means_the_default_and_null_means_no_limit() {
        let record = TenantRecord::create(
            json!({"id": "acme", "limits": {"daily_requests": null, "daily_tokens": 5}}),
            &defaults(),
            7,
        )
        .unwrap();
        let limits = record.resolve(&defaults()).unwrap().settings.limits;
        assert_eq!((limits.daily_requests, limits.daily_tokens, limits.concurrency), (None, Some(5), Some(50)));
    }

    #[test]
    fn a_patch_merges_deeply_and_the_word_default_takes_a_field_back() {
        let record = TenantRecord::create(
            json!({"id": "acme", "limits": {"daily_requests": 3, "concurrency": 1}}),
            &defaults(),
            7,
        )
        .unwrap();
        let record = record
            .patched(json!({"limits": {"daily_requests": "default", "daily_cost_usd": "0.000000001"}}), &defaults())
            .unwrap();
        let limits = record.resolve(&defaults()).unwrap().settings.limits;
        assert_eq!((limits.daily_requests, limits.concurrency, limits.daily_cost_nusd), (Some(1000), Some(1), Some(1)));
        assert_eq!(record.version, 8);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_path() {
        for (body, path) in [
            (json!([]), ""),
            (json!({}), "id"),
            (json!({"id": ""}), "id"),
            (json!({"id": "a/b"}), "id"),
            (json!({"id": "-a"}), "id"),
            (json!({"id": "a", "colour": 1}), "colour"),
            (json!({"id": "a", "colour": "default"}), "colour"),
            (json!({"id": "a", "limits": {"weekly": "default"}}), "limits.weekly"),
            (json!({"id": "a", "limits": {"daily_requests": -1}}), "limits.daily_requests"),
            (json!({"id": "a", "limits": {"daily_requests": 1.5}}), "limits.daily_requests"),
            (json!({"id": "a", "limits": {"concurrency": 0}}), "limits.concurrency"),
            (json!({"id": "a", "limits": {"daily_cost_usd": 5.0}}), "limits.daily_cost_usd"),
            (json!({"id": "a", "limits": {"daily_cost_usd": "-1"}}), "limits.daily_cost_usd"),
            (json!({"id": "a", "limits": 5}), "limits"),
            (json!({"id": "a", "limits": {"weekly": 5}}), "limits.weekly"),
            (json!({"id": "a", "cache": {"ttl_seconds": 0}}), "cache.ttl_seconds"),
            (json!({"id": "a", "upgrade": {"stream_holdback_bytes": 65_537}}), "upgrade.stream_holdback_bytes"),
            (json!({"id": "a", "outage_share": 1.5}), "outage_share"),
            (json!({"id": "a", "quality": -0.1}), "quality"),
            (json!({"id": "a", "quality": 1.1}), "quality"),
            (json!({"id": "a", "quality": "high"}), "quality"),
            (json!({"id": "a", "quality": null}), "quality"),
            (json!({"id": "a", "enabled": "yes"}), "enabled"),
            (json!({"id": "a", "alerts": {"thresholds": [0]}}), "alerts.thresholds"),
            (json!({"id": "a", "alerts": {"thresholds": [80, 80]}}), "alerts.thresholds"),
            (json!({"id": "a", "alerts": {"thresholds": [101]}}), "alerts.thresholds"),
            (json!({"id": "a", "alerts": {"thresholds": [50.5]}}), "alerts.thresholds[0]"),
            (json!({"id": "a", "alerts": {"webhook": "http://hooks.example/"}}), "alerts.webhook"),
            (json!({"id": "a", "alerts": {"webhook": 5}}), "alerts.webhook"),
            (json!({"id": "a", "alerts": {"secret": "env:A"}}), "alerts.secret"),
            (json!({"id": "a", "alerts": null}), "alerts"),
        ] {
            let refused = TenantRecord::create(body.clone(), &defaults(), 7).unwrap_err();
            assert_eq!(refused.path, path, "{body}: {refused}");
        }
    }

    #[test]
    fn a_tenant_made_anew_has_a_uid_of_its_own_that_no_change_can_give_it() {
        let made = || TenantRecord::create(json!({"id": "acme"}), &defaults(), 7).unwrap();
        let (one, other) = (made(), made());
        assert_ne!(one.uid(), other.uid());
        for record in [&one, &other] {
            assert_eq!((id_of(record.uid()), record.uid().len()), ("acme", "acme~".len() + 16));
            assert_eq!(record.resolve(&defaults()).unwrap().uid, *record.uid());
            assert_eq!(record.patched(json!({"uid": &**record.uid()}), &defaults()).unwrap().uid(), record.uid());
        }
        assert_eq!(one.patched(json!({"uid": &**other.uid()}), &defaults()).unwrap_err().path, "uid");
        assert_eq!(TenantRecord::create(json!({"id": "acme~0"}), &defaults(), 7).unwrap_err().path, "id");
        assert_eq!(TenantRecord::create(json!({"id": "acme", "uid": "acme"}), &defaults(), 7).unwrap_err().path, "uid");
    }

    #[test]
    fn a_record_from_before_there_were_uids_has_its_id_for_one() {
        let stored = json!({"id": "acme", "name": "Acme", "created_at_ms": 7, "version": 7, "set": {}});
        let record: TenantRecord = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!((&**record.uid(), id_of(record.uid())), ("acme", "acme"));
        assert_eq!(serde_json::to_value(record.patched(json!({}), &defaults()).unwrap()).unwrap()["uid"], json!(null));
        assert_eq!(uid_apart(record.uid()), None);
    }

    #[test]
    fn two_lists_of_patterns_are_narrowed_to_what_both_match() {
        let list = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (own, tenants, both) in [
            ("", "*", ""),
            ("*", "", ""),
            ("*", "a/* b", "a/* b"),
            ("a/x", "*", "a/x"),
            ("a/x b", "a/*", "a/x"),
            ("a/*", "a/x a/y b", "a/x a/y"),
            ("a*", "a/* b*", "a/*"),
            ("a/* a/x", "a/*", "a/* a/x"),
            ("a", "a*", "a"),
            ("a*", "a", "a"),
            ("a/xy", "a/x", ""),
            ("cheap auto", "auto cheap reasoning", "cheap auto"),
            ("a*b", "a*", "a*b"),
        ] {
            let narrow = narrowed(&list(own), &list(tenants));
            assert_eq!(narrow, list(both), "{own:?} within {tenants:?}");
            for name in ["", "a", "ab", "a/", "a/x", "a/xy", "a/y", "b", "b/z", "a*b", "cheap", "auto", "reasoning"] {
                let expected = allows(&list(own), name) && allows(&list(tenants), name);
                assert_eq!(allows(&narrow, name), expected, "{name:?} of {own:?} within {tenants:?}");
            }
        }
    }

    #[test]
    fn patterns_match_whole_names_or_prefixes() {
        let patterns = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(allows(&patterns(&["*"]), "groq/x"));
        assert!(allows(&patterns(&["groq/*"]), "groq/x"));
        assert!(!allows(&patterns(&["groq/x"]), "groq/xy"));
        assert!(!allows(&[], "groq/x"));
    }
}
