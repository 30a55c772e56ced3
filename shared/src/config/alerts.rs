//! `[alerts]`: who is told of what, without asking.

use super::providers::{ApiKey, secret};
use super::reader::Section;
use super::secret::SecretRef;
use crate::alerts::address;
use crate::tenant::{NO_THRESHOLDS, are_thresholds};

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// The address that is told, unless a tenant has its own.
    pub webhook: Option<String>,
    /// What webhooks are signed with; without one, none are sent.
    pub secret: Option<ApiKey>,
    /// The ARN of a topic of SNS that is told as well.
    pub sns_topic: Option<String>,
    /// At which parts of its limits a tenant is told of, unless it has its own, in percent.
    pub thresholds: Vec<u8>,
}

pub(super) fn read(root: &mut Section<'_, '_>, env: &dyn Fn(&str) -> Option<String>) -> AlertSettings {
    root.table("alerts", |section| {
        let webhook = section.word("webhook");
        if let Some(word) = &webhook
            && let Err(why) = address::check(&word.text)
        {
            section.problems.add(&word.place, why);
        }
        let secret = secret(section, "secret", env);
        if webhook.is_some() {
            section.require("secret");
        }
        let sns_topic = topic(section, env);
        AlertSettings { webhook: webhook.map(|word| word.text), secret, sns_topic, thresholds: thresholds(section) }
    })
}

/// The topic, or what the variable holds that is named in its place, if that is set; it is looked at where it is used.
fn topic(section: &mut Section<'_, '_>, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let word = section.word("sns_topic")?;
    if let Some(SecretRef::Env(variable)) = SecretRef::parse(&word.text) {
        return env(&variable).filter(|value| !value.trim().is_empty());
    }
    if region_of(&word.text).is_none() {
        section.problems.add(&word.place, "must be env:NAME or a topic's ARN: arn:aws:sns:REGION:ACCOUNT:NAME");
    }
    Some(word.text)
}

/// The region of a topic.
pub(crate) fn region_of(topic: &str) -> Option<&str> {
    let parts: Vec<&str> = topic.split(':').collect();
    let [_arn @ "arn", partition, "sns", region, account, name] = parts[..] else { return None };
    let fits = |text: &str, extra: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    let fits = partition.starts_with("aws") && fits(region, "-") && fits(account, "") && fits(name, "-_.");
    fits.then_some(region)
}

fn thresholds(section: &mut Section<'_, '_>) -> Vec<u8> {
    let Some((place, numbers)) = section.counts("thresholds") else { return vec![50, 80, 100] };
    let percents: Option<Vec<u8>> = numbers.into_iter().map(|number| u8::try_from(number?).ok()).collect();
    percents.filter(|percents| are_thresholds(percents)).unwrap_or_else(|| {
        section.problems.add(&place, NO_THRESHOLDS);
        Vec::new()
    })
}
