//! Money: an amount of one currency in the currency's smallest unit. Its arithmetic refuses to overflow.

use std::fmt;

use crate::field::Invalid;

/// An amount of one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// The ISO 4217 code of the currency: three capital letters.
    pub currency: String,
    /// The amount in the currency's smallest unit.
    pub minor: i64,
}

impl Money {
    /// Multiplies the amount by `count`. Returns `None` if the result overflows.
    pub fn times(&self, count: u32) -> Option<Money> {
        Some(Money { minor: self.minor.checked_mul(count.into())?, currency: self.currency.clone() })
    }

    /// Adds another amount. Returns `None` if the result overflows or the currencies differ.
    pub fn plus(&self, other: &Money) -> Option<Money> {
        let minor = self.minor.checked_add(other.minor)?;
        (self.currency == other.currency).then(|| Money { minor, currency: self.currency.clone() })
    }

    /// Refuses an amount that cannot be a price: a negative one, or one whose currency is not three capital letters. `field` is
    /// the path to the amount.
    ///
    /// # Errors
    ///
    /// [`Invalid`] with the path to the invalid part of the amount, and the reason.
    pub fn check_price(&self, field: &str) -> Result<(), Invalid> {
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Invalid::new(format!("{field}.currency"), "must be three capital letters, as in ISO 4217"));
        }
        if self.minor < 0 {
            return Err(Invalid::new(format!("{field}.minor"), "must not be negative"));
        }
        Ok(())
    }
}

/// Formats the amount for people: `4.50 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = decimals(&self.currency);
        let unit = 10_u64.pow(decimals as u32);
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match decimals {
            0 => write!(f, "{sign}{minor} {}", self.currency),
            _ => write!(f, "{sign}{}.{:0decimals$} {}", minor / unit, minor % unit, self.currency),
        }
    }
}

/// Returns the number of decimals of a currency's amounts (ISO 4217). A currency that is not listed here has two.
fn decimals(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn money(currency: &str, minor: i64) -> Money {
        Money { currency: currency.to_owned(), minor }
    }

    #[test]
    fn arithmetic_refuses_what_it_cannot_count() {
        assert_eq!(money("EUR", 450).times(2), Some(money("EUR", 900)));
        assert_eq!(money("EUR", i64::MAX / 2).times(3), None);
        assert_eq!(money("EUR", 1).plus(&money("EUR", 2)), Some(money("EUR", 3)));
        assert_eq!(money("EUR", i64::MAX).plus(&money("EUR", 1)), None);
        assert_eq!(money("EUR", 1).plus(&money("USD", 2)), None);
    }

    #[test]
    fn amounts_are_written_in_their_currency() {
        for (currency, minor, text) in [
            ("EUR", 900, "9.00 EUR"),
            ("EUR", 5, "0.05 EUR"),
            ("EUR", -450, "-4.50 EUR"),
            ("JPY", 900, "900 JPY"),
            ("KWD", 1005, "1.005 KWD"),
            ("EUR", i64::MIN, "-92233720368547758.08 EUR"),
        ] {
            assert_eq!(money(currency, minor).to_string(), text);
        }
    }

    #[test]
    fn prices_are_checked() {
        assert!(money("EUR", 0).check_price("p").is_ok());
        assert_eq!(money("EUR", -1).check_price("p").unwrap_err().field, "p.minor");
        for currency in ["", "eur", "EURO", "E1R", "€"] {
            assert_eq!(money(currency, 1).check_price("p").unwrap_err().field, "p.currency", "{currency}");
        }
    }
}
