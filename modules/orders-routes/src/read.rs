//! Reads the draft of an order from JSON. Every fault of the document is reported, with a JSON pointer (RFC 6901).
//!
//! serde_json reads the document twice. The first time it says where the text stops being JSON, or nests too deeply. The second time the
//! values are kept as text ([`RawValue`]) and converted one by one, because a derived `Deserialize` would stop at the first value that does
//! not fit. A value that does not fit is reported, and the walk goes on with an empty one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use shop_common::Money;
use shop_orders::model::{Draft, Line, PaymentMethod};

use crate::problem::Fault;

/// The maximum number of faults of a document that are listed.
const MAX_FAULTS: usize = 64;
/// The maximum number of characters of a value that a message repeats.
const MAX_ECHO: usize = 40;
/// The maximum number of characters of a key that a pointer repeats.
const MAX_KEY: usize = 128;
/// The byte order mark of UTF-8, which may stand before the document.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The cases of a payment method, in the order of the contract.
const CASES: [&str; 3] = ["card", "wallet", "invoice"];
/// The cases of a payment method, as messages list them.
const CASES_TEXT: &str = "`card`, `wallet`, `invoice`";

/// Reads a draft. Adds the faults of the document to `faults`; the draft then means nothing.
pub(crate) fn draft(document: &[u8], faults: &mut Vec<Fault>) -> Draft {
    let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    let mut reader = Reader::default();
    let mut draft = Draft { customer: String::new(), lines: Vec::new(), payment: PaymentMethod::Invoice };
    let checked = serde_json::from_slice::<Value>(document).and_then(|_| serde_json::from_slice::<&RawValue>(document));
    match checked {
        Ok(document) => draft = reader.draft(document.get()),
        Err(error) => reader.add(format!("not JSON: {error}")),
    }
    faults.append(&mut reader.faults);
    draft
}

/// An integer type of the contract.
pub(crate) trait Integer: TryFrom<i64> {
    /// What a message calls the integers of this type.
    const NAME: &'static str;
}

impl Integer for u32 {
    const NAME: &'static str = "an integer from 0 to 4294967295";
}

impl Integer for i64 {
    const NAME: &'static str = "an integer from -9223372036854775808 to 9223372036854775807";
}

/// Parses an integer in JSON's notation: no `+`, no leading zero, no fraction, no exponent.
pub(crate) fn integer<T: Integer>(text: &str) -> Option<T> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_canonical = digits.len() == 1 || !digits.starts_with(['0', '+']);
    text.parse::<i64>().ok().filter(|_| is_canonical && !text.starts_with('+'))?.try_into().ok()
}

/// Returns the message that something else was expected.
pub(crate) fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found {found}")
}

/// Cuts a text for a message.
pub(crate) fn clip(text: &str) -> String {
    cut(text, MAX_ECHO)
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The members of an object, in the order of the document. A key may be there twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The faults that were found, and the JSON pointer to the current place.
#[derive(Default)]
struct Reader {
    faults: Vec<Fault>,
    pointer: String,
}

impl Reader {
    fn draft(&mut self, json: &str) -> Draft {
        let (mut customer, mut lines, mut payment) = (String::new(), Vec::new(), PaymentMethod::Invoice);
        self.object(json, &["customer", "lines", "payment"], |reader, field, json| match field {
            0 => customer = reader.string(json),
            1 => lines = reader.lines(json),
            _ => payment = reader.payment(json),
        });
        Draft { customer, lines, payment }
    }

    fn lines(&mut self, json: &str) -> Vec<Line> {
        let Some(items) = self.parse::<Vec<&RawValue>>(json, "a list") else { return Vec::new() };
        let line = |(index, item): (usize, &&RawValue)| self.at(&index.to_string(), |reader| reader.line(item.get()));
        items.iter().enumerate().map(line).collect()
    }

    fn line(&mut self, json: &str) -> Line {
        let mut line =
            Line { sku: String::new(), quantity: 0, unit_price: Money { currency: String::new(), minor: 0 } };
        self.object(json, &["sku", "quantity", "unit_price"], |reader, field, json| match field {
            0 => line.sku = reader.string(json),
            1 => line.quantity = reader.number(json, integer(json)),
            _ => line.unit_price = reader.money(json),
        });
        line
    }

    fn money(&mut self, json: &str) -> Money {
        let mut money = Money { currency: String::new(), minor: 0 };
        self.object(json, &["currency", "minor"], |reader, field, json| match field {
            0 => money.currency = reader.string(json),
            // Programs whose numbers are all floats send 64-bit integers as texts.
            _ => {
                let text = serde_json::from_str::<String>(json);
                money.minor = reader.number(json, integer(text.as_deref().unwrap_or(json)));
            }
        });
        money
    }

    fn payment(&mut self, json: &str) -> PaymentMethod {
        if !json.starts_with('{') {
            let case = serde_json::from_str::<String>(json).ok();
            match CASES.iter().find(|name| Some(**name) == case.as_deref()) {
                Some(&"invoice") => {}
                Some(name) => self.add(format!("the case `{name}` needs a value: {{\"{name}\": …}}")),
                None => self.refuse(&format!("one of the cases {CASES_TEXT}"), json),
            }
            return PaymentMethod::Invoice;
        }
        let members = self.parse::<Members<'_>>(json, "an object").map_or_else(Vec::new, |members| members.0);
        let mut payment = PaymentMethod::Invoice;
        if let Some((key, json)) = members.first() {
            payment = self.at(key, |reader| reader.case(key, json.get()));
        }
        if members.len() != 1 {
            let found = members.len();
            self.add(format!("expected exactly one of the cases {CASES_TEXT}, found {found} members"));
        }
        payment
    }

    fn case(&mut self, key: &str, json: &str) -> PaymentMethod {
        match key {
            "card" => return PaymentMethod::Card(self.string(json)),
            "wallet" => return PaymentMethod::Wallet(self.string(json)),
            "invoice" if json == "null" => {}
            "invoice" => self.refuse("null, for a case without a value", json),
            _ => self.add(format!("unknown case `{}`, expected one of {CASES_TEXT}", clip(key))),
        }
        PaymentMethod::Invoice
    }

    /// Reads an object with exactly these fields, in any order. `field` reads a field's value; it gets the field's place in `names`.
    fn object(&mut self, json: &str, names: &[&str], mut field: impl FnMut(&mut Self, usize, &str)) {
        let Some(Members(members)) = self.parse(json, "an object") else { return };
        let mut is_there = vec![false; names.len()];
        for (key, json) in &members {
            let known = names.iter().position(|name| name == key);
            self.at(key, |reader| match known {
                Some(place) if is_there[place] => reader.add(format!("the field `{key}` is given twice")),
                Some(place) => {
                    is_there[place] = true;
                    field(reader, place, json.get());
                }
                None => {
                    let meant = nearest(key, names).map(|name| format!("; did you mean `{name}`?"));
                    reader.add(format!("unknown field `{}`{}", clip(key), meant.unwrap_or_default()));
                }
            });
        }
        for (name, _) in names.iter().zip(is_there).filter(|(_, is_there)| !is_there) {
            self.at(name, |reader| reader.add(format!("missing field `{name}`")));
        }
    }

    fn string(&mut self, json: &str) -> String {
        self.parse(json, "a string").unwrap_or_default()
    }

    fn number<T: Integer + Default>(&mut self, json: &str, number: Option<T>) -> T {
        number.unwrap_or_else(|| {
            self.refuse(T::NAME, json);
            T::default()
        })
    }

    /// Parses a value that is a string, a list or an object.
    fn parse<'a, T: Deserialize<'a>>(&mut self, json: &'a str, what: &str) -> Option<T> {
        let value = serde_json::from_str(json).ok();
        if value.is_none() {
            self.refuse(what, json);
        }
        value
    }

    /// Reads something one step further down. `step` is the key of a member or the index of an item.
    fn at<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&cut(step, MAX_KEY).replace('~', "~0").replace('/', "~1"));
        let value = read(self);
        self.pointer.truncate(length);
        value
    }

    fn refuse(&mut self, what: &str, json: &str) {
        let found = match json.as_bytes().first() {
            Some(b'[') => "a list".to_owned(),
            Some(b'{') => "an object".to_owned(),
            _ => clip(json),
        };
        self.add(expected(what, &found));
    }

    fn add(&mut self, detail: String) {
        match self.faults.len() {
            MAX_FAULTS => {
                let detail = format!("there are more violations; only the first {MAX_FAULTS} are listed");
                self.faults.push(Fault::body("", detail));
            }
            listed if listed > MAX_FAULTS => {}
            _ => self.faults.push(Fault::body(&self.pointer, detail)),
        }
    }
}

/// Returns the name that the author of `key` probably meant. It differs by at most two edits, and by at most one edit in three bytes.
fn nearest<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    let edits = |name: &str| {
        let is_near = key.len() > 2 && key.len().abs_diff(name.len()) <= 2;
        is_near.then(|| strsim::levenshtein(key, name)).filter(|&edits| edits <= 2 && edits * 3 <= name.len())
    };
    let near = names.iter().filter_map(|name| Some((edits(name)?, *name)));
    near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_notation_of_json() {
        for (text, number) in [("0", 0), ("-0", 0), ("12", 12), ("4294967295", u32::MAX)] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["", "-", "+1", "01", "-01", "-+1", "1.0", "1e3", " 1", "-1", "4294967296", "٣"] {
            assert_eq!(integer::<u32>(text), None, "{text}");
        }
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer::<i64>("9223372036854775808"), None);
    }

    #[test]
    fn names_that_are_near_are_offered() {
        let names = ["customer", "lines", "unit_price"];
        let cases = [("custmer", Some("customer")), ("line", Some("lines")), ("unit-price", Some("unit_price"))];
        for (key, name) in cases.into_iter().chain([("colour", None), ("li", None), ("", None)]) {
            assert_eq!(nearest(key, &names), name, "{key}");
        }
    }

    #[test]
    fn a_document_may_not_nest_deeply() {
        let mut faults = Vec::new();
        let deep = format!("{{\"customer\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        draft(deep.as_bytes(), &mut faults);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].detail.starts_with("not JSON: recursion limit exceeded"), "{faults:?}");
    }
}
