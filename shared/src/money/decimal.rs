//! Money in text: decimal amounts of US dollars.

/// One US dollar in nano-US-dollars.
pub const NUSD_PER_USD: u64 = 1_000_000_000;

/// Decimal places of a US dollar amount in text: down to one nano-dollar.
const PLACES: usize = 9;

/// Why a text is not an amount of money. The text itself is not repeated: the caller knows where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Something other than digits with at most one point between them.
    #[error("must be a plain decimal number of US dollars, such as 0.59")]
    NotDecimal,
    /// A minus sign in front.
    #[error("cannot be negative")]
    Negative,
    /// More than nine places after the point.
    #[error("must have at most 9 decimal places")]
    TooPrecise,
    /// More nano-dollars than 64 bits hold.
    #[error("must be at most 18446744073.709551615 US dollars")]
    TooLarge,
}

/// Reads a decimal amount of US dollars, such as `5`, `0.59` or `0.000014790`, as nano-US-dollars.
///
/// # Errors
/// [`MoneyError`] for a sign, an exponent, a separator, a point without digits on both sides, more than nine decimal
/// places, or more than `u64` holds.
pub fn parse_usd(text: &str) -> Result<u64, MoneyError> {
    if text.starts_with('-') {
        return Err(MoneyError::Negative);
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, "0"),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotDecimal);
    }
    if fraction.len() > PLACES {
        return Err(MoneyError::TooPrecise);
    }
    // Only digits are left, so the one way in which either part fails to parse is that it does not fit.
    let whole: u64 = whole.parse().map_err(|_| MoneyError::TooLarge)?;
    let fraction: u64 = format!("{fraction:0<PLACES$}").parse().map_err(|_| MoneyError::TooLarge)?;
    whole.checked_mul(NUSD_PER_USD).and_then(|nusd| nusd.checked_add(fraction)).ok_or(MoneyError::TooLarge)
}

/// Writes nano-US-dollars as US dollars with nine decimal places: 14790 is `0.000014790`.
pub fn format_usd(nusd: u64) -> String {
    format!("{}.{:09}", nusd / NUSD_PER_USD, nusd % NUSD_PER_USD)
}
