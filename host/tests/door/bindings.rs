//! Property tests of how requests are bound: a query, a form, a form in parts and JSON that carry the same values give a function the same
//! parameters, or are refused for the same fields and reasons.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::Value;
use watertight_testkit::app::{App, guest};
use watertight_testkit::wire::{self, Answer};

const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/query"
call = "door/requests.varied"
query = "it"

[[route]]
method = "POST"
path = "/form"
call = "door/requests.varied"
body = { form = "it" }

[[route]]
method = "POST"
path = "/parts"
call = "door/requests.varied"
body = { multipart = "it" }

[[route]]
method = "POST"
path = "/json"
call = "door/requests.varied"
body = "it"
"#;

/// The names of the types that a text can be.
const TYPES: [&str; 14] =
    ["bool", "u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "char", "string", "size"];
/// Texts that are a value of few types, or of none.
const ODD: [&str; 34] = [
    "",
    " ",
    " 1",
    "1 ",
    "+1",
    "01",
    "-01",
    "1.0",
    "1e3",
    "1e999",
    "-0",
    "-1",
    "256",
    "70000",
    "4294967296",
    "-129",
    "NaN",
    "inf",
    "0x10",
    "\u{661}",
    "true",
    "TRUE",
    "yes",
    "null",
    "a\u{301}",
    "ab",
    "small",
    "Small",
    "very-large",
    "\u{feff}1",
    ".5",
    "5.",
    "1_000",
    "\0",
];
/// A boundary that no generated text has.
const BOUNDARY: &str = "a-boundary-that-nobody-guesses";

/// A field of the record: its name in requests, the name of its type, and how often it may be given.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    of: &'static str,
    at_least: usize,
    at_most: usize,
}

/// A field, and the texts that a request gives for it.
type Given = (Field, Vec<String>);

fn fields() -> Vec<Field> {
    let groups = [("one", 1, 1), ("maybe", 0, 1), ("many", 0, 2)];
    let all = groups.into_iter().flat_map(|(group, at_least, at_most)| {
        TYPES.into_iter().map(move |of| Field { name: format!("{group}_{of}"), of, at_least, at_most })
    });
    // A list of bytes is no list of texts.
    all.filter(|field| field.name != "many_u8").collect()
}

/// Makes texts that are values of a type.
fn values(of: &'static str) -> BoxedStrategy<String> {
    macro_rules! shown {
        ($type:ty) => {
            prop_oneof![any::<$type>(), Just(<$type>::MIN), Just(<$type>::MAX)].prop_map(|it| it.to_string()).boxed()
        };
    }
    match of {
        "bool" => any::<bool>().prop_map(|it| it.to_string()).boxed(),
        "u8" => shown!(u8),
        "s8" => shown!(i8),
        "u16" => shown!(u16),
        "s16" => shown!(i16),
        "u32" => shown!(u32),
        "s32" => shown!(i32),
        "u64" => shown!(u64),
        "s64" => shown!(i64),
        // Of these, the debug texts of numbers are those of JSON.
        "f32" => (proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO)
            .prop_map(|it| format!("{it:?}"))
            .boxed(),
        "f64" => (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO)
            .prop_map(|it| format!("{it:?}"))
            .boxed(),
        "char" => any::<char>().prop_map(String::from).boxed(),
        "size" => select(["small", "very_large"].as_slice()).prop_map(str::to_owned).boxed(),
        _ => texts().boxed(),
    }
}

/// Makes texts of all Unicode, with more of the characters that have a meaning somewhere.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(any::<char>(), 0..10).prop_map(String::from_iter),
        "[\r\n\0\t a\"\\\\,;:=%/?#&+-]{0,10}",
        Just(format!("\r\n--{}", &BOUNDARY[..10])),
    ]
}

/// Makes a value of each field.
fn sound() -> impl Strategy<Value = Vec<Given>> {
    let given =
        |field: Field| vec(values(field.of), field.at_least..=field.at_most).prop_map(move |all| (field.clone(), all));
    fields().into_iter().map(given).collect::<Vec<_>>()
}

/// Spoils a value: another text, a text too many, no text, a field that is not there.
fn spoilt() -> impl Strategy<Value = Vec<Given>> {
    let odd = prop_oneof![select(ODD.as_slice()).prop_map(str::to_owned), texts()];
    (sound(), vec((any::<prop::sample::Index>(), 0..4_u8, odd), 1..4)).prop_map(|(mut given, faults)| {
        for (place, how, odd) in faults {
            let (field, texts) = &mut given[place.index(fields().len())];
            match how {
                0 => texts.push(odd),
                1 => texts.clear(),
                _ if texts.is_empty() => texts.push(odd),
                2 => texts[0] = odd,
                _ => field.name = "nothing".to_owned(),
            }
        }
        given
    })
}

fn encoded(given: &[Given]) -> String {
    let all = given.iter().flat_map(|(field, texts)| texts.iter().map(|text| (&field.name, text)));
    let pairs = all.map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

fn in_parts(given: &[Given]) -> String {
    let all = given.iter().flat_map(|(field, texts)| texts.iter().map(|text| (&field.name, text)));
    let part =
        |(name, text)| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    all.map(part).collect::<String>() + &format!("--{BOUNDARY}--\r\n")
}

/// Returns the JSON of a text of a type. A text that is no number or truth value is a string.
fn json(of: &str, text: &str) -> String {
    let is_token = match of {
        "char" | "string" | "size" => false,
        "bool" => text == "true" || text == "false",
        _ => text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.trim() == text,
    };
    let is_token = is_token && serde_json::from_str::<Value>(text).is_ok();
    if is_token { text.to_owned() } else { Value::from(text).to_string() }
}

fn as_json(given: &[Given]) -> String {
    let member = |(field, texts): &Given| {
        let items: Vec<String> = texts.iter().map(|text| json(field.of, text)).collect();
        match field.at_most {
            2 => vec![format!("{:?}:[{}]", field.name, items.join(","))],
            _ => items.iter().map(|item| format!("{:?}:{item}", field.name)).collect(),
        }
    };
    // Elsewhere, a list that is not given is empty.
    let is_given = |name: &str| given.iter().any(|(field, _)| field.name == name);
    let lists = fields().into_iter().filter(|field| field.at_most == 2 && !is_given(&field.name));
    let lists = lists.map(|field| format!("{:?}:[]", field.name));
    let is_there = |(field, texts): &&Given| field.name != "nothing" || !texts.is_empty();
    let members = given.iter().filter(is_there).flat_map(member).chain(lists);
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// What a request came to: the value that the function got, or the places and the details of all faults.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Value(String),
    Faults(BTreeSet<(String, String)>),
}

impl Outcome {
    fn of(answer: Answer) -> Self {
        match answer.status {
            200 => Self::Value(answer.text),
            400 => {
                let text = |fault: &Value, key: &str| fault[key].as_str().unwrap_or_default().to_owned();
                let fault = |fault: &Value| {
                    let place =
                        fault["name"].as_str().map_or_else(|| text(fault, "pointer"), |name| format!("/{name}"));
                    (place, text(fault, "detail").replace("query field", "field"))
                };
                Self::Faults(answer.body["errors"].as_array().unwrap().iter().map(fault).collect())
            }
            _ => panic!("{answer:?}"),
        }
    }

    /// Returns the fields that the faults are about. A query does not tell which value of a list is at fault.
    fn places(&self) -> BTreeSet<String> {
        let field = |place: &str| place.split('/').nth(1).unwrap_or_default().to_owned();
        match self {
            Self::Value(_) => BTreeSet::new(),
            Self::Faults(faults) => faults.iter().map(|(place, _)| field(place)).collect(),
        }
    }

    fn details(&self) -> BTreeSet<(String, &str)> {
        let field = |place: &str| place.split('/').nth(1).unwrap_or_default().to_owned();
        match self {
            Self::Value(_) => BTreeSet::new(),
            Self::Faults(faults) => faults.iter().map(|(place, detail)| (field(place), &**detail)).collect(),
        }
    }
}

/// Returns what the four requests for the same fields came to: a query, a form, a form in parts, JSON.
fn outcomes(address: SocketAddr, given: &[Given]) -> [Outcome; 4] {
    let ask = |method: &str, path: &str, kind: &str, body: &str| {
        let request = wire::request(method, path, &[("content-type", kind)], body.as_bytes());
        Outcome::of(wire::once(address, &request).unwrap())
    };
    let query = wire::request("GET", &format!("/query?{}", encoded(given)), &[], b"");
    [
        Outcome::of(wire::once(address, &query).unwrap()),
        ask("POST", "/form", "application/x-www-form-urlencoded", &encoded(given)),
        ask("POST", "/parts", &format!("multipart/form-data; boundary={BOUNDARY}"), &in_parts(given)),
        ask("POST", "/json", "application/json", &as_json(given)),
    ]
}

fn check(address: SocketAddr, given: &[Given], is_sound: bool) -> Result<(), TestCaseError> {
    let [query, form, parts, json] = outcomes(address, given);
    prop_assert!(!is_sound || matches!(query, Outcome::Value(_)), "{query:?}");
    prop_assert_eq!(&form, &parts);
    prop_assert_eq!(query.details(), form.details());
    prop_assert_eq!(form.places(), json.places(), "{:?}\n{:?}", form, json);
    if let Outcome::Value(_) = &form {
        prop_assert_eq!(&query, &form);
        prop_assert_eq!(&json, &form);
    }
    Ok(())
}

fn run(cases: impl Strategy<Value = Vec<Given>>, is_sound: bool) {
    let door = guest("door");
    let app = App::new(&format!(
        "[app]\nname = \"door\"\nroutes = [\"routes/*.toml\"]\n[modules.door]\ncomponent = {door:?}\n"
    ));
    let host = app.routes(ROUTES).launch().start();
    let config = Config { cases: 150, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let ran = TestRunner::new(config).run(&cases, |given| check(host.listen(), &given, is_sound));
    if let Err(TestError::Fail(why, given)) = &ran {
        panic!("{why}\n{}\n{}", encoded(given), as_json(given));
    }
    ran.unwrap();
}

#[test]
fn values_are_the_same_from_each_part_of_a_request() {
    run(sound(), true);
}

#[test]
fn refusals_are_about_the_same_fields() {
    run(spoilt(), false);
}
