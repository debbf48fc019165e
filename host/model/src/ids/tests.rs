//! Tests which texts are valid names, and which are not.

#![allow(clippy::unwrap_used)]

use super::*;

fn interface(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

#[test]
fn names_are_kebab_case() {
    for good in ["hello", "page-views", "a1-b2", "orders-2", "a-2fa", &"a".repeat(63)] {
        assert!(good.parse::<ModuleName>().is_ok(), "{good}");
    }
    for bad in ["", "Hello", "a-B", "page_views", "-a", "a-", "1a", "a--b", "a/b", "../a", "é", &"a".repeat(64)] {
        assert!(bad.parse::<ModuleName>().is_err(), "{bad}");
    }
}

#[test]
fn interface_names_come_apart() {
    let name = interface("alpha:greeting/greet@1.2.0");
    assert_eq!((name.package(), name.short(), name.version()), ("alpha:greeting", "greet", Some("1.2.0")));
    assert_eq!((name.namespace(), name.unversioned()), ("alpha", "alpha:greeting/greet"));
    assert_eq!(interface("a:b/c").version(), None);
    let odd = interface("a:b-2/VAT-2025@1.0.0");
    assert_eq!((odd.package(), odd.short()), ("a:b-2", "VAT-2025"));
    for bad in ["a", "a:b", "a/b", "a:b/", "a:b/c@", "A:b/c", "a:b/c@1.0.0/d", "a:b:c/d", ":b/c", "a:b/c d", ""] {
        assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
    }
}

#[test]
fn labels_and_worlds_are_no_interfaces_of_a_package() {
    let label = InterfaceName::label("primary-2").unwrap();
    assert!(
        label.is_label()
            && !label.is_world()
            && label.matches_reference("primary-2")
            && !label.matches_reference("primary")
    );
    assert_eq!((label.package(), label.short(), label.version()), ("", "primary-2", None));
    let world = InterfaceName::world();
    assert!(
        world.is_world()
            && !world.is_label()
            && world.matches_reference("")
            && !world.matches_reference("a")
            && !world.matches_reference("@1")
    );
    assert!(!interface("a:b/c").is_label() && !interface("a:b/c").matches_reference(""));
    assert!(!label.can_serve(&interface("a:b/primary-2")) && label.can_serve(&label));
    assert!(InterfaceName::label("a:b/c").is_err() && InterfaceName::label("").is_err());
    let read = |text: &str| serde_json::from_str::<InterfaceName>(&format!("{text:?}"));
    assert_eq!(read("primary-2").unwrap(), label);
    assert!(read("a:b/c@1.0.0").is_ok() && read("").is_err() && read("a/b").is_err());
}

proptest::proptest! {
    /// Compares with the parser of the WIT tools, which defines what a name is.
    #[test]
    fn names_are_what_the_wit_tools_take(text in "[a-zA-Z0-9-]{1,6}|[a-z]{1,3}(-[a-z0-9]{1,3}|-[A-Z0-9]{1,3}){0,3}|[-aA1_.é]{0,4}") {
        let parses = |wit: String| wit_parser::Resolve::default().push_str("a.wit", &wit).is_ok();
        // The `%` lets a keyword be a name.
        let theirs = parses(format!("package a:b; interface i {{ %{text}: func(%{text}: string); }}"));
        proptest::prop_assert_eq!(is_wit_name(&text), theirs, "{}", text);
        if theirs {
            let snake = json_name(&text);
            proptest::prop_assert!(is_wit_name(&snake.replace('_', "-")));
            let whole: InterfaceName = format!("a:b/{text}@1.0.0").parse().unwrap();
            proptest::prop_assert_eq!(whole.short(), text.as_str());
        }
    }
}

#[test]
fn the_shortest_reference_names_one_interface() {
    let shortest = |name: &str, others: &[&str]| {
        let all: Vec<InterfaceName> = others.iter().chain([&name]).map(|name| interface(name)).collect();
        interface(name).shortest_reference(&all.iter())
    };
    for (name, others, expected) in [
        ("a:b/c@1.2.3", &[][..], "c"),
        ("a:b/c@1.2.3", &["a:b/c@2.0.0"], "c@1"),
        ("a:b/c@0.2.0", &["a:b/c@0.1.0"], "c@0.2"),
        ("a:b/c@1.2.3", &["a:b/c@1.0.0"], "c@1.2"),
        ("a:b/c@1.0.0", &["a:b/c@1.2.3"], "a:b/c@1.0.0"),
        ("a:b/c@1.0.0", &["d:b/c@1.0.0"], "a:b/c@1.0.0"),
        ("a:b/c", &["a:d/c"], "a:b/c"),
    ] {
        assert_eq!(shortest(name, others), expected, "{name} {others:?}");
    }
    assert_eq!(InterfaceName::world().shortest_reference(&[interface("a:b/c")].iter()), "");
}

#[test]
fn newer_compatible_versions_serve() {
    let serves = |have: &str, want: &str| {
        let name = |v: &str| format!("a:b/c{v}").parse::<InterfaceName>().unwrap();
        name(have).can_serve(&name(want))
    };
    assert!(serves("@1.2.0", "@1.1.9") && serves("@0.2.12", "@0.2.6") && serves("", ""));
    assert!(!serves("@1.1.0", "@1.2.0") && !serves("@2.0.0", "@1.0.0") && !serves("@0.3.0", "@0.2.0"));
    assert!(!serves("@0.0.2", "@0.0.1") && !serves("@1.0.0", "@1.0.0-draft") && !serves("@1.0.0", ""));
    assert!(serves("@0.1.0-draft", "@0.1.0-draft"));
    assert!(!serves("@0.1.0", "@0.0.1") && !serves("@0.1.0", "@0.1.0-draft") && !serves("@1.0.0+b", "@1.0.0"));
    assert!(!interface("a:b/c@1.0.0").can_serve(&interface("a:b/d@1.0.0")));
}

#[test]
fn interfaces_go_by_names_with_the_versions_that_they_serve() {
    let goes_by = |name: &str, text: &str| interface(name).matches_reference(text);
    for text in ["c", "a:b/c", "c@2", "c@2.1", "c@2.0", "c@2.1.3", "c@2.0.9", "a:b/c@2", "a:b/c@2.1.3"] {
        assert!(goes_by("a:b/c@2.1.3", text), "{text}");
    }
    for text in ["", "d", "b/c", "a:b/d", "c@1", "c@3", "c@2.2", "c@2.1.4", "c@", "c@2.1.3.0", "c@2.1.3-rc", "c@+2"] {
        assert!(!goes_by("a:b/c@2.1.3", text), "{text}");
    }
    assert!(goes_by("a:b/c@0.2.5", "c@0.2") && !goes_by("a:b/c@0.2.5", "c@0"));
    assert!(goes_by("a:b/c@1.0.0-rc.1", "c@1.0.0-rc.1") && !goes_by("a:b/c@1.0.0-rc.1", "c@1"));
    assert!(goes_by("a:b/c", "c") && !goes_by("a:b/c", "c@1"));
}

#[test]
fn the_newest_version_is_not_the_last_in_the_alphabet() {
    let newest = ["a:b/c@1.9.0", "a:b/c@1.10.0", "a:b/c@1.2.0"].into_iter().map(interface);
    let newest = newest.max_by(InterfaceName::compare_versions).unwrap();
    assert_eq!(newest.version(), Some("1.10.0"));
}

#[test]
fn functions_are_named_short_or_whole() {
    let short: FunctionPath = "hello/greet.say-hello".parse().unwrap();
    assert_eq!((short.interface.as_str(), short.function.as_str()), ("greet", "say-hello"));
    let whole: FunctionPath = "hello/alpha:greeting/greet@1.0.0.say-hello".parse().unwrap();
    assert_eq!(whole.interface, "alpha:greeting/greet@1.0.0");
    let versioned: FunctionPath = "hello/greet@2.say-hello".parse().unwrap();
    assert_eq!((versioned.interface.as_str(), versioned.function.as_str()), ("greet@2", "say-hello"));
    let odd: FunctionPath = "tax-2/vat-2025.rate-EU".parse().unwrap();
    assert_eq!((odd.interface.as_str(), odd.function.as_str()), ("vat-2025", "rate-EU"));
    let world: FunctionPath = "hello.say-2".parse().unwrap();
    assert_eq!((world.interface.as_str(), world.function.as_str()), ("", "say-2"));
    for path in [&short, &whole, &versioned, &odd, &world] {
        assert_eq!(path.to_string().parse::<FunctionPath>().as_ref(), Ok(path));
    }
    for bad in [
        "hello",
        "hello/greet",
        "hello/.say",
        "hello/greet.Say",
        "Hello/greet.say",
        "/greet.say",
        ".say",
        "hello.",
        "a.b.c",
    ] {
        assert!(bad.parse::<FunctionPath>().is_err(), "{bad}");
    }
}

#[test]
fn digests_are_read_as_they_are_written() {
    let digest = Digest::of(b"a");
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    assert!(digest.hex().parse::<Digest>().is_err());
    // Four characters of two bytes each: slicing within one of them would panic.
    for bad in [format!("sha256:{}", "é".repeat(32)), format!("sha256:{}", "+1".repeat(32)), "sha256:".to_owned()] {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
}
