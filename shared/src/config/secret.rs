//! Secrets, and where they are kept (T3).
//!
//! A configuration file holds only references. What a reference leads to is a [`Secret`], which cannot be printed,
//! compared in messages or serialized by accident: reading it takes a call that can be searched for.

use std::fmt;

/// A provider's key. `Debug` shows `***`; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text, without the white space around it (files and consoles add line ends); `None` if nothing
    /// is left or if it has characters that no HTTP header may carry.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for the header that carries it and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// `env:NAME`: a variable of the environment.
    Env(String),
    /// `ssm:PATH`: a parameter of AWS Systems Manager.
    Ssm(String),
    /// `secretsmanager:NAME`: a secret of AWS Secrets Manager by its name or ARN; with `#FIELD`, a field of its JSON.
    SecretsManager(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Ssm(name) => write!(f, "ssm:{name}"),
            Self::SecretsManager(name) => write!(f, "secretsmanager:{name}"),
        }
    }
}

impl SecretRef {
    /// Reads a reference; `None` for anything else, a key pasted by mistake included.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let consists_of = |extra: &[u8]| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
        };
        match kind {
            "env" if consists_of(b"_") && !name.starts_with(|first: char| first.is_ascii_digit()) => {
                Some(Self::Env(name.to_owned()))
            }
            "ssm" if consists_of(b":/_.-") => Some(Self::Ssm(name.to_owned())),
            "secretsmanager" if consists_of(b":/_+=.@-#") && !name.starts_with('#') => {
                Some(Self::SecretsManager(name.to_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_secret_is_trimmed_and_never_printed() {
        let secret = Secret::new(" sk-123\n").unwrap();
        assert_eq!(secret.expose(), "sk-123");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
    }

    #[test]
    fn what_no_header_can_carry_is_no_secret() {
        for text in ["", " \n", "sk 123", "sk\n123", "sk-\u{e9}", "sk\u{0}"] {
            assert_eq!(Secret::new(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_reference_says_where_a_secret_is_kept_and_a_key_is_none() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:groq-AbCdEf";
        for (text, expected) in [
            ("env:GROQ_API_KEY", Some(SecretRef::Env("GROQ_API_KEY".to_owned()))),
            ("ssm:/gateway/groq", Some(SecretRef::Ssm("/gateway/groq".to_owned()))),
            (&format!("secretsmanager:{arn}"), Some(SecretRef::SecretsManager(arn.to_owned()))),
            ("sk-123", None),
            ("env:", None),
            ("env:1A", None),
            ("env:sk-123", None),
            ("env: GROQ", None),
            ("ssm:", None),
            ("ssm:a b", None),
            ("secretsmanager:groq", Some(SecretRef::SecretsManager("groq".to_owned()))),
            ("secretsmanager:keys/all#groq", Some(SecretRef::SecretsManager("keys/all#groq".to_owned()))),
            ("secretsmanager:#groq", None),
            ("secretsmanager:a b", None),
            ("file:/etc/key", None),
            ("", None),
        ] {
            assert_eq!(SecretRef::parse(text), expected, "{text:?}");
        }
    }
}
