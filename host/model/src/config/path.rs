//! Parses templates of paths: `/greetings/{greeting_id}/cancel`.
//!
//! A template has the spelling of a path on the wire. The router handles percent-encoding.

mod foreign_syntax;

use std::fmt;
use std::str::FromStr;

use crate::ids::{is_wit_name, json_name};

/// Greatest length of a path template, in bytes.
const MAX_BYTES: usize = 1024;
/// Greatest number of parameters in a path template.
const MAX_PARAMETERS: usize = 16;

/// A checked template of a path. Each segment is literal text or one parameter. A parameter matches exactly one segment, never an empty
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    text: String,
    segments: Vec<Segment>,
}

/// A segment of a path template: the text between two slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A text that matches only itself.
    Literal(String),
    /// `{greeting_id}`: a parameter, which matches any segment. It holds the name in WIT's spelling, `greeting-id`. Case makes no
    /// difference: `{user_id}` and `{user_ID}` both name the parameter `user-ID`.
    Parameter(String),
}

/// The reason that a text is not a path template, or not the path of a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadPath {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("a path has at most {MAX_BYTES} bytes")]
    TooLong,
    #[error("a path has at most {MAX_PARAMETERS} parameters")]
    TooManyParameters,
    #[error("a path must not have an empty segment, nor end with `/`")]
    EmptySegment,
    #[error("clients resolve `.` and `..` before they send a request, so no request has the segment `{0}`")]
    DotSegment(String),
    #[error("the segment `{0}` is neither text without braces nor one parameter such as `{{greeting_id}}`")]
    Braces(String),
    #[error("`{0}` is not a valid parameter name: write snake_case, such as `greeting_id`")]
    Name(String),
    #[error("the parameter `{0}` stands in the path twice")]
    Twice(String),
    #[error("the segment `{segment}` has the character `{character}`, which a path can't have unescaped")]
    Character { segment: String, character: char },
    #[error("`{segment}` is not in the notation of this host: {advice}")]
    ForeignSyntax { segment: String, advice: String },
    #[error("`{0}` is not literal text; this path has only literal segments, and stands for every path below them")]
    NotLiteral(String),
}

impl PathTemplate {
    /// Returns the path template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the segments of the path template. The template `/` has none.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the names of the path template's parameters in order, in WIT's spelling: `greeting-id`.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Returns the index of the parameter `name` among [`parameters`](Self::parameters), or `None` if the path template doesn't have it.
    /// `name` has WIT's spelling. Case makes no difference: WIT doesn't allow two parameters of one function whose names differ only in
    /// case.
    pub fn parameter_index(&self, name: &str) -> Option<usize> {
        self.parameters().position(|parameter| parameter.eq_ignore_ascii_case(name))
    }

    /// Returns the path template in the syntax of the router `matchit` 0.9. Parameters are named by their index: `/greetings/{0}/cancel`.
    /// So templates that match the same paths have the same text, and one entry of a router serves all methods of a path. `matchit` returns
    /// parameter values in the order of [`parameters`](Self::parameters).
    pub fn to_matchit(&self) -> String {
        if self.segments.is_empty() {
            return "/".to_owned();
        }
        let mut places = 0..;
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(_) => format!("/{{{}}}", places.next().unwrap_or_default()),
        });
        segments.collect()
    }
}

impl FromStr for PathTemplate {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        if text.len() > MAX_BYTES {
            return Err(BadPath::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(BadPath::NoSlash)?;
        let segments: Vec<Segment> =
            if rest.is_empty() { Vec::new() } else { rest.split('/').map(parse_segment).collect::<Result<_, _>>()? };
        let template = Self { text: text.to_owned(), segments };
        let names: Vec<&str> = template.parameters().collect();
        if names.len() > MAX_PARAMETERS {
            return Err(BadPath::TooManyParameters);
        }
        let twice = names
            .iter()
            .enumerate()
            .find(|(index, name)| names[..*index].iter().any(|other| other.eq_ignore_ascii_case(name)));
        match twice {
            Some((_, name)) => Err(BadPath::Twice(json_name(name))),
            None => Ok(template),
        }
    }
}

fn parse_segment(text: &str) -> Result<Segment, BadPath> {
    if text.is_empty() {
        return Err(BadPath::EmptySegment);
    }
    if text == "." || text == ".." {
        return Err(BadPath::DotSegment(text.to_owned()));
    }
    if let Some(advice) = foreign_syntax::advice(text) {
        return Err(BadPath::ForeignSyntax { segment: text.to_owned(), advice });
    }
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if inner.unwrap_or(text).contains(['{', '}']) {
        return Err(BadPath::Braces(text.to_owned()));
    }
    if let Some(name) = inner {
        let kebab = name.replace('_', "-");
        let snake = is_wit_name(&kebab) && !name.contains('-');
        return if snake { Ok(Segment::Parameter(kebab)) } else { Err(BadPath::Name(name.to_owned())) };
    }
    match text.chars().find(|&character| !is_path_character(character)) {
        Some(character) => Err(BadPath::Character { segment: text.to_owned(), character }),
        None => Ok(Segment::Literal(text.to_owned())),
    }
}

/// Whether a path on the wire may contain this character unescaped. These are the characters of RFC 3986's `pchar` without `%`: its two
/// spellings (`%2f`, `%2F`) would make one path look like two.
pub fn is_path_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(character)
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> PathTemplate {
        text.parse().expect("a template")
    }

    #[test]
    fn parameters_get_their_wit_names() {
        let odd = template("/{line_2}/{user_ID}");
        assert_eq!(odd.parameters().collect::<Vec<_>>(), ["line-2", "user-ID"]);
        let path = template("/a/{greeting_id}/b-c/{x}");
        assert_eq!(path.parameters().collect::<Vec<_>>(), ["greeting-id", "x"]);
        assert_eq!((path.to_matchit().as_str(), path.as_str()), ("/a/{0}/b-c/{1}", "/a/{greeting_id}/b-c/{x}"));
        assert_eq!((template("/").to_matchit().as_str(), template("/").segments().len()), ("/", 0));
    }

    #[test]
    fn what_can_be_no_path_is_refused() {
        let refused = [
            ("", "starts with"),
            ("a", "starts with"),
            ("/a/", "empty segment"),
            ("//", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a/../b", "resolve"),
            ("/.", "resolve"),
            ("/{a}{b}", "braces"),
            ("/x-{a}", "braces"),
            ("/{a", "braces"),
            ("/{}", "is not a valid parameter name"),
            ("/{greeting-id}", "snake_case"),
            ("/{Id}", "snake_case"),
            ("/{2fa}", "snake_case"),
            ("/{a__2}", "snake_case"),
            ("/{a}/{a}", "twice"),
            ("/{user_id}/{user_ID}", "twice"),
            ("/a b", "` `"),
            ("/a?b", "`?`"),
            ("/a%20b", "`%`"),
            ("/é", "`é`"),
        ];
        for (text, why) in refused {
            let error = text.parse::<PathTemplate>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!(format!("/{}", "a".repeat(MAX_BYTES)).parse::<PathTemplate>(), Err(BadPath::TooLong));
        let many: String = (0..=MAX_PARAMETERS).map(|index| format!("/{{a{index}}}")).collect();
        assert_eq!(many.parse::<PathTemplate>(), Err(BadPath::TooManyParameters));
    }

    proptest! {
        /// The check for conflicting routes relies on this: two templates conflict only if their texts for `matchit` are equal.
        #[test]
        fn matchit_takes_every_set_of_different_templates(
            paths in prop::collection::vec("(/(a|ab|b|\\{[abc]\\}|\\*|:a)){0,4}", 1..12),
        ) {
            let mut router = matchit::Router::new();
            let mut seen = std::collections::BTreeSet::new();
            for text in paths {
                let Ok(path) = (if text.is_empty() { "/" } else { &text }).parse::<PathTemplate>() else { continue };
                let known = !seen.insert(path.to_matchit());
                prop_assert_eq!(router.insert(path.to_matchit(), ()).is_err(), known, "{}", path);
            }
        }

        #[test]
        fn no_text_panics(text in "[/{}a-z_.*%é -]{0,40}") {
            if let Ok(path) = text.parse::<PathTemplate>() {
                prop_assert!(matchit::Router::new().insert(path.to_matchit(), ()).is_ok());
            }
        }
    }
}
