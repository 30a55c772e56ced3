//! Masks what an error's text tells of us: keys, accounts, addresses (T3).
//!
//! Providers write into their errors with whose key they were called, for which organisation and on which host. The caller
//! gets their text where it is about the caller's own request; so whatever is, or looks like, a secret of ours is taken out.
//! It is one pass over the words: what a word is can be told from its form and from the word before it.

use std::sync::{PoisonError, RwLock};

/// What stands where something was masked.
const MASKED: &str = "***";

/// Shorter ones would be found in common words.
const MIN_SECRET_BYTES: usize = 6;

/// How keys begin, each followed by at least eight characters of a key's own.
const KEYS: [&str; 17] = [
    "sk-", "sk_", "pk-", "rk-", "gsk_", "xai-", "AIza", "AKIA", "ASIA", "hf_", "r8_", "nvapi-", "fw_", "csk-", "tgp_",
    "pplx-", "ghp_",
];

/// How the ids of accounts begin.
const ACCOUNTS: [&str; 10] = ["org-", "org_", "proj-", "proj_", "acct_", "acct-", "user-", "user_", "team-", "team_"];

/// Words before a secret.
const ANNOUNCE: [&str; 8] = ["key", "api-key", "api_key", "apikey", "x-api-key", "token", "secret", "password"];

/// Hosts whose names are a customer's own.
const HOSTS: [&str; 7] =
    [".azure.com", ".azure-api.net", ".amazonaws.com", ".run.app", ".internal", ".local", ".databricks.com"];

/// Path segments before an account's id.
const OWNERS: [&str; 6] = ["projects", "organizations", "accounts", "workspaces", "subscriptions", "keys"];

/// The secrets that a provider is called with, and all that looks like one.
#[derive(Default)]
pub(crate) struct Mask {
    secrets: RwLock<Vec<String>>,
}

impl Mask {
    /// A mask of these secrets.
    pub(crate) fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let mask = Self::default();
        secrets.into_iter().for_each(|secret| mask.learn(&secret));
        mask
    }

    /// Masks this secret, too. One that has been replaced is masked on, for it may be in use still.
    pub(crate) fn learn(&self, secret: &str) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if secret.len() >= MIN_SECRET_BYTES && !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
            // One may begin with another.
            secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// The text without them.
    pub(crate) fn text(&self, text: &str) -> String {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED));
        let (mut out, mut before) = (String::with_capacity(text.len()), "");
        for piece in text.split_inclusive(is_between) {
            let word = piece.trim_end_matches(is_between);
            put_word(word, before, &mut out);
            out.push_str(&piece[word.len()..]);
            before = if word.is_empty() { before } else { word };
        }
        out
    }
}

/// What stands between words. A path, an address and a number with a unit are words.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\''
                | '`'
                | '('
                | ')'
                | '['
                | ']'
                | '{'
                | '}'
                | '<'
                | '>'
                | ','
                | ';'
                | '|'
                | '='
                | '?'
                | '&'
                | '#'
                | '!'
                | '\\'
        )
}

fn put_word(word: &str, before: &str, out: &mut String) {
    let core = word.trim_end_matches(['.', ':']);
    let before = before.trim_end_matches(':').to_ascii_lowercase();
    let is_announced = before == "bearer" && core.len() >= MIN_SECRET_BYTES
        || ANNOUNCE.contains(&&*before)
            && core.len() >= 8
            && has_digit(core)
            && !core.bytes().all(|b| b.is_ascii_digit());
    if is_announced || is_address(core) || core.starts_with("arn:") || core.starts_with("eyJ") && core.len() >= 16 {
        out.push_str(MASKED);
    } else {
        let (scheme, rest) =
            core.split_once("://").map_or(("", core), |(scheme, rest)| (&core[..scheme.len() + 3], rest));
        let host = &rest[..rest.find(['/', ':']).unwrap_or(rest.len())];
        let is_ours = HOSTS.iter().any(|suffix| host.len() > suffix.len() && host.ends_with(suffix));
        out.push_str(scheme);
        out.push_str(if is_ours { MASKED } else { "" });
        put_parts(if is_ours { &rest[host.len()..] } else { rest }, out);
    }
    out.push_str(&word[core.len()..]);
}

/// The parts of a path or a name.
fn put_parts(path: &str, out: &mut String) {
    let mut before = "";
    for piece in path.split_inclusive(['/', ':', '.', '+', '%', '~', '@']) {
        let part = piece.trim_end_matches(['/', ':', '.', '+', '%', '~', '@']);
        let is_owned = OWNERS.contains(&before) && has_digit(part);
        out.push_str(if is_owned || is_secret(part) { MASKED } else { part });
        out.push_str(&piece[part.len()..]);
        before = part;
    }
}

/// An e-mail address, or a machine's.
fn is_address(word: &str) -> bool {
    let is_mail =
        word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'));
    let machine = word.split_once(':').map_or(word, |(machine, _port)| machine);
    is_mail || machine.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_secret(part: &str) -> bool {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mixes = [u8::is_ascii_uppercase, u8::is_ascii_lowercase].iter().all(|is| part.bytes().any(|byte| is(&byte)));
    let is_key = |part: &str| {
        let rest = KEYS.iter().find_map(|prefix| part.strip_prefix(prefix));
        rest.is_some_and(|rest| rest.len() >= 16 || rest.len() >= 8 && (has_digit(rest) || rest.contains('*')))
    };
    let account = ACCOUNTS.iter().find_map(|prefix| part.strip_prefix(prefix));
    part.contains("***")
        || is_key(part)
        || account.is_some_and(|rest| is_key(rest) || (rest.len() >= 8 && is_word(rest) && (has_digit(rest) || mixes)))
        || is_uuid(part)
        || (part.len() == 12 && digits == 12)
        || (part.len() >= 32 && is_hex && digits > 0 && digits < part.len())
        || (part.len() >= 20 && is_word(part) && mixes && digits >= 3)
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_uuid(part: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    part.len() == 36 && part.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && part.split('-').all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_masked() {
        let mask = Mask::of(["held/by=us 7".to_owned(), "held/by=us 7 and longer".to_owned(), "of".to_owned()]);
        for (text, want) in [
            ("Incorrect API key provided: sk-proj-abcd1234EFGH.", "Incorrect API key provided: ***."),
            ("Incorrect API key provided: sk-abcd****wxyz. You can", "Incorrect API key provided: ***. You can"),
            ("key https://****…****lETQ!", "key https://***!"),
            ("Your api key: ****e78f is invalid", "Your api key: *** is invalid"),
            ("in organization `org_01kgg5588eftc8k70aes4864eb` service tier", "in organization `***` service tier"),
            ("organization org-AbC123dEf456 on tokens per min", "organization *** on tokens per min"),
            ("of organization org-sk-abcdef-0123-gh, node", "of organization ***, node"),
            ("key sk-abcdefghijklmnop of org-AbCdEfGhIjKl", "key *** of ***"),
            ("gsk_0123456789abcdef, xai-0123456789abcdef", "***, ***"),
            ("…:generateContent?key=AIzaSyA1234567890-_x failed", "…:generateContent?key=*** failed"),
            ("AKIAIOSFODNN7EXAMPLE and ASIA1234567890ABCDEF", "*** and ***"),
            ("hf_abcdefgh1234", "***"),
            ("Authorization: Bearer abcdef", "Authorization: Bearer ***"),
            ("\"authorization\":\"bearer opaque-token\"", "\"authorization\":\"bearer ***\""),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "token ***"),
            ("api_key=abc-123-def", "api_key=***"),
            ("User: arn:aws:sts::111122223333:assumed-role/user_role is not authorized", "User: *** is not authorized"),
            ("account 111122223333.", "account ***."),
            ("\"user_id\":\"user_3D0IVsejFIV6kOYwkxFE9nKiq0g\"", "\"user_id\":\"***\""),
            ("tenant 123e4567-e89b-12d3-a456-426614174000", "tenant ***"),
            ("ask jane.doe@example.com.", "ask ***."),
            ("https://acme-prod.openai.azure.com/openai/deployments/gpt-4o", "https://***/openai/deployments/gpt-4o"),
            ("acme.services.ai.azure.com:443", "***:443"),
            ("node 10.4.2.17:8080, in", "node ***, in"),
            (
                "https://openrouter.ai/workspaces/default/keys/4cc24318",
                "https://openrouter.ai/workspaces/default/keys/***",
            ),
            ("consumer projects/123456789 has", "consumer projects/*** has"),
            ("Key Hash (Token) =d748aa01d748aa01d748aa01d748aa01", "Key Hash (Token) =***"),
            ("with held/by=us 7 and longer, held/by=us 7", "with ***, ***"),
            ("deployment AbCdEfGh1234567890IjKl", "deployment ***"),
        ] {
            assert_eq!(mask.text(text), want, "{text}");
        }
    }

    #[test]
    fn what_a_caller_needs_stays() {
        let mask = Mask::of(["of".to_owned(), String::new()]);
        for text in [
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 202868 tokens.",
            "meta-llama/Meta-Llama-3.1-405B-Instruct-Turbo, gpt-4o-mini-2024-07-18, claude-3-5-sonnet-20241022",
            "accounts/fireworks/models/llama-v3p1-405b-instruct, us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "@cf/meta/llama-3.1-8b-instruct; openai/gpt-oss-120b; DeepSeek-R1-Distill-Qwen-32B",
            "Invalid type for 'messages[0].content[1].image_url.url': expected a string",
            "tools.0.function.parameters, messages/0/content, $.response_format.json_schema",
            "req_011CSHoEeqs5C35K2UUqR7Fy, chatcmpl-9abcDEF0123456789xyz",
            "Please try again in 7.66s. Limit 12000, Requested 14137",
            "at 2025-11-22T14:00:00Z, 1763820000000 ms, version 1.2.3",
            "API key not valid; token limit reached; user_id must be set; user-defined, org_name, sk-learn",
            "max_tokens: 100000, token: 1048576 of 131072000",
            "a **bold** word, 50% of it; 3 * 4; C++ and a~b",
            "See https://platform.openai.com/docs/guides/error-codes#429 and https://api.example.com/v1/chat?x=1",
            "Ungültig: «Größe» — 日本語 … ok",
            "",
        ] {
            assert_eq!(mask.text(text), text);
        }
    }

    #[test]
    fn a_long_text_is_one_pass() {
        let text = "org-".repeat(50_000) + &"@:/.".repeat(50_000) + &"a1".repeat(50_000);
        let masked = Mask::of(["org-org-".to_owned()]).text(&text);
        assert!(masked.len() <= text.len());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", secret in ".{0,10}") {
            let masked = Mask::of([secret.clone()]).text(&text);
            proptest::prop_assert!(secret.len() < MIN_SECRET_BYTES || secret.contains('*') || !masked.contains(&secret));
        }
    }
}
