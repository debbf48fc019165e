//! Recognizes path templates in the notation of other hosts and frameworks, and suggests the right notation.
//!
//! Without this file, such a template would be literal text, which its author doesn't mean, or an error that doesn't say what to write.

/// The characters that may precede the `:` of a parameter in other notations: `/(:id)`, `/:from-:to`, `/report.:format`.
const BEFORE_COLON: [char; 3] = ['(', '-', '.'];

/// Returns what to write instead of `segment` if it is a parameter or a wildcard in another notation, and `None` if it is neither.
pub(super) fn advice(segment: &str) -> Option<String> {
    if let Some(inner) = between(segment, '{', '}') {
        return braces(inner);
    }
    if let Some(inner) = between(segment, '<', '>') {
        // Flask and Rocket: `<id>`, `<int:id>`, `<rest..>`.
        let (kind, name) = inner.rsplit_once(':').unwrap_or(("", inner));
        return Some(if is_rest(name, kind) { rest(name) } else { parameter(name) });
    }
    if let Some(inner) = between(segment, '[', ']') {
        // Next.js: `[id]`, `[...slug]`, `[[...slug]]`.
        let name = inner.trim_start_matches(['[', '.']).trim_end_matches(']');
        return Some(if inner.contains("...") { rest(name) } else { parameter(name) });
    }
    if segment.contains('*') || segment.starts_with("...") || segment.ends_with("...") {
        let name = segment.trim_start_matches(['*', '.']);
        return Some(rest(if segment.starts_with("*.") { "" } else { name }));
    }
    let named = |(at, _): &(usize, &str)| {
        let (before, after) = segment.split_at(*at);
        before.chars().next_back().is_none_or(|c| BEFORE_COLON.contains(&c))
            && after[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    let (at, _) = segment.match_indices(':').find(named)?;
    let name = &segment[at + 1..];
    if segment[..at].trim_start_matches('(').is_empty() && name.chars().all(|c| is_name(c) || "-?()".contains(c)) {
        return Some(if name.contains('?') || at > 0 { optional(name) } else { parameter(name) });
    }
    Some(parameter(name) + "; a parameter is a whole segment")
}

/// Returns the text between `open` and `close` if these two characters enclose the whole segment, or else `None`.
fn between(segment: &str, open: char, close: char) -> Option<&str> {
    segment.strip_prefix(open)?.strip_suffix(close)
}

/// Returns what to write instead of a segment in braces; `inner` is the text within. `None` if the braces contain just a name.
fn braces(inner: &str) -> Option<String> {
    if inner.is_empty() || inner.contains(['{', '}']) || inner.chars().all(|c| is_name(c) || c == '-') {
        // `parse_segment` checks the name itself.
        return None;
    }
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    if is_rest(name, kind) {
        return Some(rest(name.trim_start_matches('*')));
    }
    if inner.contains(['?', '=']) {
        return Some(optional(name));
    }
    if inner.contains([':', '<']) {
        return Some(format!("the function's parameter says the type: {}", parameter(name)));
    }
    None
}

/// Whether a parameter takes several segments in another notation: `name` or the text `kind` beside it says so.
fn is_rest(name: &str, kind: &str) -> bool {
    name.starts_with('*')
        || name.ends_with(['*', '+'])
        || name.ends_with("..")
        || kind == "path"
        || [".*", ".+", "*"].iter().any(|pattern| kind.starts_with(pattern))
}

fn parameter(name: &str) -> String {
    format!("write `{{{}}}`", snake(name))
}

fn rest(name: &str) -> String {
    format!(
        "a parameter takes exactly one segment, and no route takes the rest of a path; {} for one segment",
        parameter(name)
    )
}

fn optional(name: &str) -> String {
    format!("a path parameter can't be optional; {}, and add a route without it", parameter(name))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Converts the start of `name` to the name of a parameter: `greetingId` and `greeting-id` become `greeting_id`.
fn snake(name: &str) -> String {
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let end = name.find(|c: char| !is_name(c) && c != '-').unwrap_or(name.len());
    let mut out = String::new();
    for c in name[..end].chars() {
        let is_new_word = c.is_ascii_uppercase() && out.ends_with(|last: char| last.is_ascii_lowercase());
        if (is_new_word || !c.is_ascii_alphanumeric()) && !out.ends_with('_') {
            out.push('_');
        }
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        }
    }
    let out = out.trim_matches('_');
    if out.is_empty() { "rest".to_owned() } else { out.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::PathTemplate;

    #[test]
    fn other_spellings_are_refused_with_the_right_one() {
        let refused = [
            ("/n/:n", "write `{n}`"),
            ("/n/:userId", "write `{user_id}`"),
            ("/n/:user-id", "write `{user_id}`"),
            ("/:from-:to", "write `{from}`; a parameter is a whole segment"),
            ("/:id.json", "write `{id}`; a parameter is a whole segment"),
            ("/report.:format", "write `{format}`; a parameter is a whole segment"),
            ("/:id?", "a path parameter can't be optional; write `{id}`"),
            ("/(:locale)", "a path parameter can't be optional; write `{locale}`"),
            ("/m/*", "the rest of a path; write `{rest}`"),
            ("/m/**", "the rest of a path; write `{rest}`"),
            ("/m/*path", "the rest of a path; write `{path}`"),
            ("/m/*.html", "the rest of a path; write `{rest}`"),
            ("/...", "the rest of a path; write `{rest}`"),
            ("/m/...slug", "the rest of a path; write `{slug}`"),
            ("/{*rest}", "the rest of a path; write `{rest}`"),
            ("/{**slug}", "the rest of a path; write `{slug}`"),
            ("/{rest...}", "the rest of a path; write `{rest}`"),
            ("/{proxy+}", "the rest of a path; write `{proxy}`"),
            ("/{file:path}", "the rest of a path; write `{file}`"),
            ("/{file:.*}", "the rest of a path; write `{file}`"),
            ("/{n:int}", "the function's parameter says the type: write `{n}`"),
            ("/{id:[0-9]+}", "the function's parameter says the type: write `{id}`"),
            ("/{id?}", "a path parameter can't be optional; write `{id}`"),
            ("/{id=5}", "a path parameter can't be optional; write `{id}`"),
            ("/<id>", "write `{id}`"),
            ("/<int:orderId>", "write `{order_id}`"),
            ("/<rest..>", "the rest of a path; write `{rest}`"),
            ("/<path:rest>", "the rest of a path; write `{rest}`"),
            ("/[id]", "write `{id}`"),
            ("/[...slug]", "the rest of a path; write `{slug}`"),
            ("/[[...slug]]", "the rest of a path; write `{slug}`"),
        ];
        for (text, why) in refused {
            let error = text.parse::<PathTemplate>().map(|path| path.to_string()).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn text_with_these_characters_stays_literal() {
        for text in ["/things:batch", "/v1/projects:12", "/$metadata", "/@me", "/Items(1)", "/a:b/c-d.e", "/12:30"] {
            assert!(text.parse::<PathTemplate>().is_ok(), "{text}");
        }
    }
}
