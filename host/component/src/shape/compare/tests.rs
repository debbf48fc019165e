//! Tests which differences between two interfaces are found, and how they are reported.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::shape;
use crate::test_components::component;

const BASE: &str = "
    record money { currency: string, minor: s64 }
    record line { sku: string, quantity: u32, price: money }
    variant method { card(string), invoice }
    enum status { open, paid }
    flags rights { read, write }
    record draft { lines: list<line>, method: method, note: option<string>, at: tuple<u32, s32> }
    variant error { missing(string), refused }
    place: func(draft: draft, key: option<string>) -> result<status, error>;
    may: func(rights: rights);
    size: func() -> u64;
";

fn with(body: &str, direction: &str) -> Vec<u8> {
    component(&format!("package a:b@1.0.0;\ninterface c {{\n{body}\n}}\nworld w {{ {direction} c; }}"), "w")
}

fn interface(body: &str) -> Interface {
    shape::read(&with(body, "export")).unwrap().exports.into_values().next().unwrap()
}

/// Returns each difference as a line: function, path, what is wanted, what is offered.
fn lines(wanted: &Interface, offered: &Interface) -> Vec<String> {
    texts(differences(wanted, offered))
}

fn texts(differences: Vec<Difference>) -> Vec<String> {
    let line = |difference: Difference| {
        let function = difference.function.unwrap_or("-".to_owned());
        let path = difference.type_path.unwrap_or("-".to_owned());
        format!("{function} {path}: {} / {}", difference.expected, difference.found)
    };
    differences.into_iter().map(line).collect()
}

/// Edits of the offered interface: the text to replace, its replacement, and the differences that must be reported.
const EDITS: &[(&str, &str, &[&str])] = &[
    // These edits make no difference.
    ("size: func", "extra: func();\n    size: func", &[]),
    ("enum status", "type unused = u8;\n    enum status", &[]),
    ("may: func(rights: rights)", "type r = rights;\n    may: func(rights: r)", &[]),
    ("\n    size: func() -> u64;", "\n    /// Documented.\n    size: func() -> u64;", &[]),
    // Functions.
    ("size: func() -> u64;", "", &["size -: this function / no such function"]),
    ("size: func()", "sizes: func()", &["size -: this function / no such function"]),
    ("size: func()", "size: async func()", &["size -: a sync function / an async function"]),
    ("size: func() -> u64", "size: func() -> u32", &["size result: u64 / u32"]),
    ("size: func() -> u64", "size: func()", &["size result: u64 / no result"]),
    ("may: func(rights: rights);", "may: func(rights: rights) -> bool;", &["may result: no result / bool"]),
    ("may: func(rights: rights)", "may: func()", &["may rights: parameter `rights: flags rights` / no such parameter"]),
    ("size: func()", "size: func(of: u8)", &["size of: no such parameter / parameter `of: u8`"]),
    (
        "draft: draft, key: option<string>",
        "key: option<string>, draft: draft",
        &["place -: parameters in the order draft, key / parameters in the order key, draft"],
    ),
    (
        "key: option<string>",
        "token: option<string>",
        &["place key: parameter `key: option<string>` / parameter `token: option<string>`"],
    ),
    // A part that is gone and a new one elsewhere are no renaming.
    (
        "draft: draft, key: option<string>",
        "token: u8, draft: draft",
        &[
            "place key: parameter `key: option<string>` / no such parameter",
            "place token: no such parameter / parameter `token: u8`",
        ],
    ),
    ("key: option<string>", "key: string", &["place key: option<string> / string"]),
    ("key: option<string>", "key: option<u8>", &["place key?: string / u8"]),
    // Records.
    ("quantity: u32", "quantity: u64", &["place draft.lines[].quantity: u32 / u64"]),
    ("quantity: u32, ", "", &["place draft.lines[].quantity: field `quantity: u32` / no such field"]),
    ("sku: string, ", "sku: string, size: u8, ", &["place draft.lines[].size: no such field / field `size: u8`"]),
    (
        "currency: string, minor: s64",
        "minor: s64, currency: string",
        &["place draft.lines[].price: fields in the order currency, minor / fields in the order minor, currency"],
    ),
    (
        "currency: string, minor: s64",
        "currency: u16, minor: f64",
        &["place draft.lines[].price.currency: string / u16", "place draft.lines[].price.minor: s64 / f64"],
    ),
    ("lines: list<line>", "lines: list<string>", &["place draft.lines[]: record line / string"]),
    ("lines: list<line>", "lines: line", &["place draft.lines: list<record line> / record line"]),
    ("at: tuple<u32, s32>", "at: tuple<u32, u32>", &["place draft.at.1: s32 / u32"]),
    ("at: tuple<u32, s32>", "at: tuple<u32>", &["place draft.at: tuple<u32, s32> / tuple<u32>"]),
    // Variants, enums, flags.
    ("card(string), ", "card(u64), ", &["place draft.method.card: string / u64"]),
    ("card(string), ", "card, ", &["place draft.method.card: string / a case without a value"]),
    (", invoice", ", invoice(string)", &["place draft.method.invoice: a case without a value / string"]),
    (", invoice", ", invoice, cash", &["place draft.method.cash: no such case / case `cash`"]),
    (
        "missing(string), refused",
        "refused, missing(string)",
        &["place result.err: cases in the order missing, refused / cases in the order refused, missing"],
    ),
    ("open, paid", "open", &["place result.ok.paid: case `paid` / no such case"]),
    ("open, paid", "paid, open", &["place result.ok: cases in the order open, paid / cases in the order paid, open"]),
    ("read, write", "read, write, grant", &["may rights.grant: no such flag / flag `grant`"]),
    ("result<status, error>", "result<status>", &["place result.err: variant error / no value"]),
    ("result<status, error>", "result<_, error>", &["place result.ok: enum status / no value"]),
    ("result<status, error>", "status", &["place result: result<enum status, variant error> / enum status"]),
];

#[test]
fn every_edit_is_found_and_named() {
    let wanted = interface(BASE);
    assert_eq!(lines(&wanted, &wanted), Vec::<String>::new());
    for (from, to, expected) in EDITS {
        assert!(BASE.contains(from), "{from}");
        let found = lines(&wanted, &interface(&BASE.replacen(from, to, 1)));
        assert_eq!(found, *expected, "{from} -> {to}");
    }
}

#[test]
fn a_type_counts_where_a_function_carries_it_or_all_must_be_there() {
    let wanted = interface("record a { x: u8 } type b = string; f: func();");
    for (offered, expected) in [
        ("f: func();", vec!["- a: record a / no such type", "- b: string / no such type"]),
        ("record a { x: u16 } type b = string; f: func();", vec!["- a.x: u8 / u16"]),
        ("record a { x: u8 } type b = u8; f: func();", vec!["- b: string / u8"]),
    ] {
        let offered = interface(offered);
        assert_eq!(lines(&wanted, &offered), Vec::<String>::new());
        assert_eq!(texts(exact_differences(&wanted, &offered)), expected);
    }
}

#[test]
fn types_have_names_beside_a_resource() {
    let wanted = interface("resource r { f: func(x: a); } record a { x: u8 }");
    let offered = interface("resource r { f: func(x: z); } record z { x: u8 }");
    assert_eq!(lines(&wanted, &offered), ["- a: record a / no such type"]);
}

#[test]
fn names_of_types_do_not_matter_to_functions() {
    let wanted = interface("record a { x: u8 } f: func(x: a);");
    let offered = interface("record a { x: u8 } record z { x: u8 } f: func(x: z);");
    assert_eq!(lines(&wanted, &offered), Vec::<String>::new());
}

#[test]
fn a_shared_type_is_reported_once_for_each_function() {
    let wanted = interface("record a { x: u8 } f: func(p: a, q: list<a>) -> a; g: func(p: a);");
    let offered = interface("record a { x: u16 } f: func(p: a, q: list<a>) -> a; g: func(p: a);");
    assert_eq!(lines(&wanted, &offered), ["f p.x: u8 / u16", "g p.x: u8 / u16"]);
}

#[test]
fn resources_are_the_same_by_name_and_compatible_interface() {
    let store = |version: &str, resource: &str| {
        let wit = format!(
            "package a:b@{version};\ninterface c {{ resource {resource}; f: func(r: borrow<{resource}>); }}\n\
             world w {{ import c; }}"
        );
        shape::read(&component(&wit, "w")).unwrap().imports.into_values().next().unwrap()
    };
    assert_eq!(lines(&store("0.2.0", "r"), &store("0.2.9", "r")), Vec::<String>::new());
    assert_eq!(
        lines(&store("0.2.0", "r"), &store("0.3.0", "r")),
        ["f r: borrow<a:b/c@0.2.0.r> / borrow<a:b/c@0.3.0.r>"]
    );
    assert_eq!(
        lines(&store("0.2.0", "r"), &store("0.2.0", "q")),
        ["f r: borrow<a:b/c@0.2.0.r> / borrow<a:b/c@0.2.0.q>", "- r: a resource / no such resource"]
    );
}

#[test]
fn the_number_of_differences_and_their_length_are_bounded() {
    let functions: Vec<_> = (0..200).map(|index| format!("g{index}: func();")).collect();
    let wanted = interface(&functions.join("\n"));
    assert_eq!(differences(&wanted, &Interface::default()).len(), MAX_DIFFERENCES);

    let cases = |order: &mut dyn Iterator<Item = u32>| {
        let names: Vec<_> =
            order.map(|index| format!("a-rather-long-name-{}", "x".repeat(index as usize + 1))).collect();
        interface(&format!("enum e {{ {} }} f: func(e: e);", names.join(", ")))
    };
    let found = differences(&cases(&mut (0..60)), &cases(&mut (0..60).rev()));
    assert_eq!(found.len(), 1);
    assert!(found[0].expected.chars().count() <= MAX_TEXT + 1, "{}", found[0].expected);
}
