//! Gives named schemas and operations names that no other one has. A name is as short as the others allow, and does not depend on their
//! order.

use std::collections::BTreeMap;

use super::schemas::Entry;
use watertight_model::config::{JsonStyle, NameCase, WideIntegers};
use watertight_model::ids::InterfaceName;

/// Returns the name of each schema, in their order: the name in WIT; if several schemas have it, with the JSON style, the interface, the
/// package and its version, as far as they tell them apart.
pub(super) fn assign_names(entries: &[Entry]) -> Vec<String> {
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let origin = |entry: &Entry, part: fn(&InterfaceName) -> String| {
        entry.origin.as_ref().map(part).filter(|text| !text.is_empty())
    };
    lengthen(
        &mut names,
        |place, others| {
            let style = entries[place].style;
            let is_alone = others.iter().all(|other| entries[*other].style == style);
            if is_alone { None } else { Some(style_suffix(style)) }
        },
        |name, suffix| format!("{name}{suffix}"),
    );
    let put_before = |name: &str, part: String| format!("{part}.{name}");
    let own = |name: &InterfaceName| name.short().to_owned();
    lengthen(&mut names, |place, _| origin(&entries[place], own), put_before);
    let package = |name: &InterfaceName| name.package().replace(':', ".");
    lengthen(&mut names, |place, _| origin(&entries[place], package), put_before);
    let version = |name: &InterfaceName| name.version().unwrap_or_default().replace('+', "_");
    lengthen(&mut names, |place, _| origin(&entries[place], version), |name, version| format!("{name}.{version}"));
    lengthen(&mut names, |place, _| Some(place.to_string()), |name, place| format!("{name}.{place}"));
    names
}

/// Adds the text that `part` gives to each name that several have. `part` gets an index and all indexes with the same name.
fn lengthen(
    names: &mut [String],
    part: impl Fn(usize, &[usize]) -> Option<String>,
    add: impl Fn(&str, String) -> String,
) {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        by_name.entry(name.clone()).or_default().push(place);
    }
    for (name, places) in by_name.into_iter().filter(|(_, places)| places.len() > 1) {
        for place in &places {
            if let Some(part) = part(*place, &places) {
                names[*place] = add(&name, part);
            }
        }
    }
}

fn style_suffix(style: JsonStyle) -> String {
    let case = if style.case == NameCase::Camel { ".camel" } else { "" };
    let int64 = if style.int64 == WideIntegers::String { ".int64-string" } else { "" };
    format!("{case}{int64}")
}

/// Returns the name of each operation. `operations` are the function and the method with the path of each, in the order of the routes. The
/// first route to a function has the function's name, so that a further route changes no name; the others add method and path.
pub(super) fn operation_ids(operations: &[(String, String)]) -> Vec<String> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut take = |name: String| {
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}.{count}") }
    };
    let mut first = std::collections::BTreeSet::new();
    let name = |(function, route): &(String, String)| {
        if first.insert(function.clone()) {
            return take(function.clone());
        }
        let words: Vec<String> = route
            .split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        take(format!("{function}.{}", words.join(".")))
    };
    operations.iter().map(name).collect()
}
