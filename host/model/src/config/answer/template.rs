//! Templates: texts of an answer with holes, which fields of the result and parameters of the call fill. They are parsed here once; whether
//! the fields exist takes the shape of the component.

use std::fmt;

/// The greatest length of a template, in bytes.
const MAX_TEMPLATE: usize = 2 << 10;
/// What a hole begins with that names a parameter of the call.
const PARAMETER: &str = "param:";

/// A text with holes, such as `/books/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<TemplatePart>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text that stands as it is.
    Text(String),
    /// A place for a value.
    Hole(Hole),
}

/// A place in a template for a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The parameter of the call that has the value, in snake_case. `None`: the result of the call has it.
    pub parameter: Option<String>,
    /// The names of fields, and of cases of variants, that lead to the value, in snake_case. Empty: the value is the whole one.
    pub path: Vec<String>,
    /// Where the value stands.
    pub place: HolePlace,
}

/// Where the value of a hole stands, which says how it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolePlace {
    /// It stands as it is.
    Plain,
    /// Within a quoted string: quotes and backslashes get a backslash.
    Quoted,
    /// At the start of a URL: it is a URL, or the start of one.
    Url,
    /// Further on in a URL: all but letters, digits, `-`, `.`, `_` and `~` is percent-encoded.
    UrlPart,
}

/// What a template is for. It decides which text it may have, and where values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    /// The value of a header.
    Header,
    /// A header whose value is a URL, such as `Location`.
    Url,
    /// The header `Link`: each URL stands between `<` and `>`.
    Links,
    /// The value of a cookie.
    Cookie,
    /// A media type.
    MediaType,
    /// The name of a file.
    FileName,
    /// The text of an entity tag between its quotes.
    EntityTag,
}

/// The reason that a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// It is longer than the bound.
    #[error("the text has more than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// It has a character that its place can't hold.
    #[error("`{}` can't stand here", .0.escape_debug())]
    Character(char),
    /// A hole, quoted string or URL is not closed.
    #[error("`{0}` is not closed")]
    Unclosed(char),
    /// A brace closes nothing.
    #[error("`}}` closes nothing: write `}}}}` for a brace")]
    Stray,
    /// A hole has no name that could be one.
    #[error(
        "`{{{0}}}` names nothing: write a field in snake_case, such as `{{total.minor}}`, a parameter, such as \
         `{{param:order_id}}`, or `{{}}` for a result that is a plain value; `{{{{` is a brace"
    )]
    Name(String),
}

impl TemplateKind {
    /// Whether a character may stand in a text of this kind.
    fn allows(self, c: char) -> bool {
        match self {
            Self::Header | Self::Links | Self::MediaType => c == '\t' || (' '..='~').contains(&c),
            Self::Url => is_url_character(c),
            Self::Cookie => is_cookie_character(c),
            Self::FileName => !c.is_control() && !['/', '\\'].contains(&c),
            Self::EntityTag => is_tag_character(c),
        }
    }
}

/// Whether a character may stand in a URL (RFC 3986, section 2).
pub fn is_url_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

/// Whether a character may stand in the value of a cookie (RFC 6265, section 4.1.1).
pub fn is_cookie_character(c: char) -> bool {
    ('!'..='~').contains(&c) && !['"', ',', ';', '\\'].contains(&c)
}

/// Whether a character may stand in an entity tag (RFC 9110, section 8.8.3). Those beyond ASCII, which are out of use, are none.
pub fn is_tag_character(c: char) -> bool {
    ('!'..='~').contains(&c) && c != '"'
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    ///
    /// The first fault of the text.
    pub fn parse(text: &str, kind: TemplateKind) -> Result<Self, BadTemplate> {
        if text.len() > MAX_TEMPLATE {
            return Err(BadTemplate::TooLong);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut position = Position::new(kind);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let is_hole = c == '{' && !rest.starts_with('{');
            if is_hole {
                let (name, after) = rest.split_once('}').ok_or(BadTemplate::Unclosed('{'))?;
                if !plain.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
                }
                parts.push(TemplatePart::Hole(Hole::parse(name, position.place())?));
                position.is_at_start = false;
                rest = after;
                continue;
            }
            if c == '{' || c == '}' {
                // A brace is written twice.
                rest = rest.strip_prefix(c).ok_or(BadTemplate::Stray)?;
            }
            if !kind.allows(c) {
                return Err(BadTemplate::Character(c));
            }
            position.pass(c);
            plain.push(c);
        }
        position.end()?;
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Returns the parts, in order.
    pub fn parts(&self) -> &[TemplatePart] {
        &self.parts
    }

    /// Returns the text if the template has no hole.
    pub fn fixed(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// Writes the template as it was given.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Hole {
    /// Parses what stands between the braces.
    fn parse(name: &str, place: HolePlace) -> Result<Self, BadTemplate> {
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let (is_parameter, path) = match name.strip_prefix(PARAMETER) {
            Some(path) => (true, path),
            None => (false, name),
        };
        let mut path: Vec<String> = path.split('.').map(ToOwned::to_owned).collect();
        if !is_parameter && name.is_empty() {
            path.clear();
        }
        if !path.iter().all(|name| is_name(name)) {
            return Err(BadTemplate::Name(name.to_owned()));
        }
        let parameter = is_parameter.then(|| path.remove(0));
        Ok(Self { parameter, path, place })
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.parameter.iter().chain(&self.path).map(String::as_str).collect::<Vec<_>>().join(".");
        write!(f, "{{{}{path}}}", if self.parameter.is_some() { PARAMETER } else { "" })
    }
}

/// Where the next character of a template stands.
struct Position {
    kind: TemplateKind,
    is_quoted: bool,
    /// Whether the character before is a backslash within a quoted string.
    is_escaped: bool,
    is_url: bool,
    /// Whether nothing of the URL stands before.
    is_at_start: bool,
}

impl Position {
    fn new(kind: TemplateKind) -> Self {
        let is_url = kind == TemplateKind::Url;
        Self { kind, is_quoted: false, is_escaped: false, is_url, is_at_start: is_url }
    }

    fn pass(&mut self, c: char) {
        let has_quotes = matches!(self.kind, TemplateKind::Header | TemplateKind::Links | TemplateKind::MediaType);
        if self.is_escaped {
            self.is_escaped = false;
        } else if self.is_url {
            self.is_at_start = false;
            self.is_url = !(c == '>' && self.kind == TemplateKind::Links);
        } else if self.is_quoted {
            self.is_escaped = c == '\\';
            self.is_quoted = c != '"';
        } else if c == '<' && self.kind == TemplateKind::Links {
            (self.is_url, self.is_at_start) = (true, true);
        } else {
            self.is_quoted = has_quotes && c == '"';
        }
    }

    fn place(&self) -> HolePlace {
        match (self.is_url, self.is_at_start, self.is_quoted) {
            (true, true, _) => HolePlace::Url,
            (true, false, _) => HolePlace::UrlPart,
            (false, _, true) => HolePlace::Quoted,
            (false, _, false) => HolePlace::Plain,
        }
    }

    fn end(&self) -> Result<(), BadTemplate> {
        match (self.is_quoted, self.is_url && self.kind == TemplateKind::Links) {
            (true, _) => Err(BadTemplate::Unclosed('"')),
            (_, true) => Err(BadTemplate::Unclosed('<')),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the holes of a template with their places.
    fn holes(text: &str, kind: TemplateKind) -> Vec<(String, HolePlace)> {
        let template = Template::parse(text, kind).expect("a template");
        let hole = |part: &TemplatePart| match part {
            TemplatePart::Hole(hole) => Some((hole.to_string(), hole.place)),
            TemplatePart::Text(_) => None,
        };
        template.parts().iter().filter_map(hole).collect()
    }

    #[test]
    fn values_stand_in_places() {
        let one = |text: &str, place| vec![(text.to_owned(), place)];
        assert_eq!(holes("/books/{id}", TemplateKind::Url), one("{id}", HolePlace::UrlPart));
        assert_eq!(holes("{where.to}", TemplateKind::Url), one("{where.to}", HolePlace::Url));
        assert_eq!(holes("{param:a_b.c}", TemplateKind::Header), one("{param:a_b.c}", HolePlace::Plain));
        assert_eq!(holes("a=\"{}\"", TemplateKind::Header), one("{}", HolePlace::Quoted));
        assert_eq!(holes("a=\"\\\"\"; {x}", TemplateKind::Header), one("{x}", HolePlace::Plain));
        let links = holes("</a?after={next}>; rel=\"next {x}\", <{url}>; {y}", TemplateKind::Links);
        let places: Vec<HolePlace> = links.iter().map(|(_, place)| *place).collect();
        assert_eq!(places, [HolePlace::UrlPart, HolePlace::Quoted, HolePlace::Url, HolePlace::Plain]);
        assert_eq!(Template::parse("{{a}}", TemplateKind::Header).expect("braces").fixed(), Some("{a}"));
    }

    #[test]
    fn faults_are_told() {
        for (text, kind, fault) in [
            ("/a/{id", TemplateKind::Url, BadTemplate::Unclosed('{')),
            ("/a/id}", TemplateKind::Url, BadTemplate::Stray),
            ("/a b", TemplateKind::Url, BadTemplate::Character(' ')),
            ("a\r\nb: c", TemplateKind::Header, BadTemplate::Character('\r')),
            ("\u{e9}", TemplateKind::Header, BadTemplate::Character('\u{e9}')),
            ("a,b", TemplateKind::Cookie, BadTemplate::Character(',')),
            ("a/b", TemplateKind::FileName, BadTemplate::Character('/')),
            ("\"a\"", TemplateKind::EntityTag, BadTemplate::Character('"')),
            ("a=\"b", TemplateKind::Header, BadTemplate::Unclosed('"')),
            ("</a", TemplateKind::Links, BadTemplate::Unclosed('<')),
            ("{Id}", TemplateKind::Header, BadTemplate::Name("Id".to_owned())),
            ("{a..b}", TemplateKind::Header, BadTemplate::Name("a..b".to_owned())),
            ("{param:}", TemplateKind::Header, BadTemplate::Name("param:".to_owned())),
            ("{created-at}", TemplateKind::Header, BadTemplate::Name("created-at".to_owned())),
        ] {
            assert_eq!(Template::parse(text, kind), Err(fault), "{text}");
        }
        assert_eq!(Template::parse(&"a".repeat(4096), TemplateKind::Header), Err(BadTemplate::TooLong));
    }
}
