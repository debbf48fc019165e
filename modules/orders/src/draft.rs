//! The validation of order drafts.

use shop_common::field::check_text;
use shop_common::{Invalid, Money};

use crate::model::{Draft, Line, PaymentMethod};

/// The maximum length of a customer name, a card token and a wallet id, in bytes.
const MAX_TEXT: usize = 128;
/// The maximum length of an article number, in bytes.
const MAX_SKU: usize = 64;
/// The maximum number of lines of an order.
const MAX_LINES: usize = 100;
/// The maximum quantity of a line, in pieces.
const MAX_QUANTITY: u32 = 10_000;

impl Draft {
    /// Validates the draft and returns the total over its lines.
    ///
    /// # Errors
    ///
    /// [`Invalid`] for the first field that is not valid, with the reason.
    pub fn check(&self) -> Result<Money, Invalid> {
        check_text("customer", &self.customer, MAX_TEXT)?;
        match &self.payment {
            PaymentMethod::Card(token) => check_text("payment.card", token, MAX_TEXT)?,
            PaymentMethod::Wallet(id) => check_text("payment.wallet", id, MAX_TEXT)?,
            PaymentMethod::Invoice => {}
        }
        if self.lines.len() > MAX_LINES {
            return Err(Invalid::new("lines", format!("must not be more than {MAX_LINES}")));
        }
        let first = self.lines.first().ok_or_else(|| Invalid::new("lines", "must not be empty"))?;
        let mut total = Money { currency: first.unit_price.currency.clone(), minor: 0 };
        for (index, line) in self.lines.iter().enumerate() {
            let field = format!("lines[{index}]");
            check_line(&field, line)?;
            if line.unit_price.currency != total.currency {
                let reason = format!("must be {}, as in the first line", total.currency);
                return Err(Invalid::new(format!("{field}.unit-price.currency"), reason));
            }
            let sum = line.unit_price.times(line.quantity).and_then(|price| total.plus(&price));
            total =
                sum.ok_or_else(|| Invalid::new(format!("{field}.unit-price.minor"), "makes the total too large"))?;
        }
        Ok(total)
    }
}

fn check_line(field: &str, line: &Line) -> Result<(), Invalid> {
    check_text(&format!("{field}.sku"), &line.sku, MAX_SKU)?;
    if !(1..=MAX_QUANTITY).contains(&line.quantity) {
        return Err(Invalid::new(format!("{field}.quantity"), format!("must be between 1 and {MAX_QUANTITY}")));
    }
    line.unit_price.check_price(&format!("{field}.unit-price"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(quantity: u32, minor: i64) -> Line {
        Line { sku: "tea".to_owned(), quantity, unit_price: Money { currency: "EUR".to_owned(), minor } }
    }

    fn draft(lines: Vec<Line>) -> Draft {
        Draft { customer: "ada".to_owned(), lines, payment: PaymentMethod::Invoice }
    }

    /// Applies `change` to a valid draft, and returns the field for which the changed draft is refused.
    fn refused(change: impl FnOnce(&mut Draft)) -> String {
        let mut draft = draft(vec![line(1, 450), line(2, 450)]);
        assert_eq!(draft.check().unwrap().minor, 1350);
        change(&mut draft);
        draft.check().unwrap_err().field
    }

    #[test]
    fn every_field_is_checked() {
        assert_eq!(refused(|d| d.customer.clear()), "customer");
        assert_eq!(refused(|d| d.customer = "x".repeat(129)), "customer");
        assert_eq!(refused(|d| d.payment = PaymentMethod::Card(String::new())), "payment.card");
        assert_eq!(refused(|d| d.payment = PaymentMethod::Wallet("x".repeat(129))), "payment.wallet");
        assert_eq!(refused(|d| d.lines.clear()), "lines");
        assert_eq!(refused(|d| d.lines = vec![line(1, 1); 101]), "lines");
        assert_eq!(refused(|d| d.lines[1].sku.clear()), "lines[1].sku");
        assert_eq!(refused(|d| d.lines[1].sku = "x".repeat(65)), "lines[1].sku");
        assert_eq!(refused(|d| d.lines[0].quantity = 0), "lines[0].quantity");
        assert_eq!(refused(|d| d.lines[0].quantity = 10_001), "lines[0].quantity");
        assert_eq!(refused(|d| d.lines[0].unit_price.minor = -1), "lines[0].unit-price.minor");
        assert_eq!(refused(|d| d.lines[0].unit_price.currency = "eur".to_owned()), "lines[0].unit-price.currency");
        assert_eq!(refused(|d| d.lines[1].unit_price.currency = "USD".to_owned()), "lines[1].unit-price.currency");
    }

    #[test]
    fn totals_do_not_overflow() {
        assert_eq!(draft(vec![line(1, i64::MAX)]).check().unwrap().minor, i64::MAX);
        assert_eq!(draft(vec![line(1, i64::MAX), line(1, 1)]).check().unwrap_err().field, "lines[1].unit-price.minor");
        assert_eq!(draft(vec![line(3, i64::MAX / 2)]).check().unwrap_err().field, "lines[0].unit-price.minor");
        assert_eq!(draft(vec![line(10_000, 0)]).check().unwrap().minor, 0);
    }
}
