//! The business rules of payments.
//!
//! Each step is one statement that checks the status and changes it. If requests race, one of them takes the step and the others
//! see its result. An idempotency key belongs to one kind of step: the same text may name an authorization and a capture.

use shop_common::field::{check_key, check_text};
use shop_common::time::timestamp;
use shop_common::{Invalid, Level, Platform};

use crate::model::{self, Charge, Error, Method, Payment, Record, State, Status, Step};
use crate::provider::{self, Decision};

/// The maximum length of a reference, a card token and a wallet id, in bytes.
const MAX_TEXT: usize = 128;

/// The payments service, with its platform.
#[derive(Debug, Clone)]
pub struct Payments<P> {
    platform: P,
}

impl<P: Platform> Payments<P> {
    /// Creates the service. Payments are stored in the platform's database.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Reserves the amount of a charge. The idempotency key belongs to the charge and its result for good: to the payment, or to the fact
    /// that the charge was declined.
    ///
    /// # Errors
    ///
    /// A field is not valid, the charge is declined, the key belongs to another charge, or the provider or the database fails.
    pub fn authorize(&self, charge: Charge, key: &str) -> Result<Payment, Error> {
        check_charge(&charge)?;
        check_key("idempotency-key", key)?;
        // The provider might reserve another charge's amount, or answer differently than the first time.
        if provider::MOVES_MONEY
            && let Some(payment) = self.known(&charge, key)?
        {
            return Ok(payment);
        }
        let silent = || Error::Unavailable("the payment provider does not answer".to_owned());
        let state = match provider::authorize(&charge, key) {
            Decision::Approved => State::Standing(Status::Authorized),
            Decision::Declined(reason) => State::Declined(reason),
            Decision::Silent => return self.known(&charge, key)?.ok_or_else(silent),
        };
        let record = Record {
            id: self.platform.new_id(),
            charge,
            state,
            created_at: timestamp(self.platform.now()),
            capture_key: None,
            refund_key: None,
        };
        if model::insert(&self.platform, &record, key)? {
            record.into_payment()
        } else {
            self.known(&record.charge, key)?.ok_or_else(silent)
        }
    }

    /// Captures an authorized amount.
    ///
    /// # Errors
    ///
    /// There is no such payment, its status does not allow the step, another key took the step, or the database fails.
    pub fn capture(&self, id: &str, key: &str) -> Result<Payment, Error> {
        self.step(Step::Capture, id, key)
    }

    /// Refunds a captured amount.
    ///
    /// # Errors
    ///
    /// There is no such payment, its status does not allow the step, another key took the step, or the database fails.
    pub fn refund(&self, id: &str, key: &str) -> Result<Payment, Error> {
        self.step(Step::Refund, id, key)
    }

    /// Returns one payment.
    ///
    /// # Errors
    ///
    /// There is no such payment, or the database fails.
    pub fn get(&self, id: &str) -> Result<Payment, Error> {
        self.find(id)?.into_payment()
    }

    /// Returns the stored result of a charge without asking the provider. Returns `None` if the key is new.
    fn known(&self, charge: &Charge, key: &str) -> Result<Option<Payment>, Error> {
        match model::find_by_key(&self.platform, key)? {
            Some(record) if record.charge == *charge => record.into_payment().map(Some),
            Some(_) => Err(Error::Conflict("the idempotency key belongs to another charge".to_owned())),
            None => Ok(None),
        }
    }

    fn step(&self, step: Step, id: &str, key: &str) -> Result<Payment, Error> {
        check_key("idempotency-key", key)?;
        let taken = model::step(&self.platform, step, id, key)?;
        let record = self.find(id)?;
        let (done_by, verb) = match step {
            Step::Capture => (&record.capture_key, "captured"),
            Step::Refund => (&record.refund_key, "refunded"),
        };
        if taken {
            self.platform.log(Level::Info, "payments", &format!("{id} {verb}"));
        } else if done_by.as_deref() != Some(key) {
            let payment = record.into_payment()?;
            let message = format!("a payment that is {} can't be {verb}", payment.status.as_str());
            return Err(Error::Conflict(message));
        }
        record.into_payment()
    }

    /// Returns the charge with an id, if it was not declined.
    fn find(&self, id: &str) -> Result<Record, Error> {
        model::find(&self.platform, id)?
            .filter(|record| matches!(record.state, State::Standing(_)))
            .ok_or_else(|| Error::NotFound(id.to_owned()))
    }
}

fn check_charge(charge: &Charge) -> Result<(), Invalid> {
    charge.amount.check_price("amount")?;
    check_text("reference", &charge.reference, MAX_TEXT)?;
    match &charge.method {
        Method::Card(token) => check_text("method.card", token, MAX_TEXT),
        Method::Wallet(id) => check_text("method.wallet", id, MAX_TEXT),
        Method::Invoice => Ok(()),
    }
}
