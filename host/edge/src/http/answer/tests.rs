//! Whatever values are, a template's text stays one value at its place.

use axum::http::HeaderMap;
use proptest::prelude::*;

use super::extras;
use super::template::{Purpose, Values, fill, header};
use watertight_graph::routes::{AnswerExtras, BoundEtag, BoundPart, BoundTemplate};
use watertight_model::config::{CookieConfig, SameSite, Template, TemplateKind, TemplatePart, is_url_character};

/// Binds a template whose holes all stand for the first parameter.
fn bound(text: &str, kind: TemplateKind) -> BoundTemplate {
    let part = |part: &TemplatePart| match part {
        TemplatePart::Text(text) => BoundPart::Text(text.clone()),
        TemplatePart::Hole(hole) => BoundPart::Parameter(0, hole.place),
    };
    let template = Template::parse(text, kind).expect("a template");
    BoundTemplate { text: text.to_owned(), parts: template.parts().iter().map(part).collect() }
}

/// Texts with more of the characters that have a meaning somewhere than random ones have.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,20}", "[\r\n\0\t a-c\"\\\\,;:<>=%/?#&{}\u{e9}\u{2028}\u{85}]{0,20}", any::<String>()]
}

proptest! {
    #[test]
    fn a_header_stays_one_line_of_visible_ascii(text in texts()) {
        let parameters = [Some(text.clone())];
        let values = Values { result: None, parameters: &parameters };
        for (template, kind) in [
            ("a {x} b", TemplateKind::Header),
            ("{x}", TemplateKind::Header),
            ("a=\"{x}\"", TemplateKind::Header),
            ("/a/{x}", TemplateKind::Url),
            ("{x}", TemplateKind::Url),
            ("</a/{x}?b={x}>; rel=\"{x}\"", TemplateKind::Links),
        ] {
            if let Ok(Some(value)) = header(&bound(template, kind), values, "x") {
                prop_assert!(value.as_bytes().iter().all(|byte| *byte == b'\t' || (b' '..=b'~').contains(byte)));
            } else {
                // Only what a header can't hold is refused.
                let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                prop_assert!(!is_plain || (kind == TemplateKind::Url && template == "{x}"), "{template}");
            }
        }
    }

    #[test]
    fn a_part_of_a_url_ends_nothing(text in texts()) {
        let parameters = [Some(text.clone())];
        let values = Values { result: None, parameters: &parameters };
        let url = fill(&bound("/a/{x}/b?c={x}&d=1#e", TemplateKind::Url), values, Purpose::FileName).expect("encoded").expect("there");
        prop_assert!(url.chars().all(is_url_character));
        let count = |c: char| url.matches(c).count();
        prop_assert_eq!(['/', '?', '&', '=', '#'].map(count), [3, 1, 1, 2, 1]);
        let (_, rest) = url.split_once("/a/").expect("its start");
        let (part, _) = rest.split_once("/b?").expect("its end");
        prop_assert_eq!(percent_encoding::percent_decode_str(part).decode_utf8().expect("UTF-8"), text);
    }

    #[test]
    fn a_quoted_string_ends_where_the_template_says(text in "[a\"\\\\; ]{0,12}") {
        let parameters = [Some(text.clone())];
        let values = Values { result: None, parameters: &parameters };
        let filled = fill(&bound("a=\"{x}\"; b", TemplateKind::Header), values, Purpose::FileName).expect("filled").expect("there");
        let inner = filled.strip_prefix("a=\"").and_then(|rest| rest.strip_suffix("\"; b")).expect("its ends");
        let mut back = String::new();
        let mut characters = inner.chars();
        while let Some(c) = characters.next() {
            prop_assert_ne!(c, '"');
            back.push(if c == '\\' { characters.next().expect("a character after a backslash") } else { c });
        }
        prop_assert_eq!(back, text);
    }

    #[test]
    fn cookies_tags_and_names_of_files_hold_one_value(text in texts()) {
        let parameters = [Some(text.clone())];
        let values = Values { result: None, parameters: &parameters };
        let cookie = CookieConfig {
            name: "a".to_owned(),
            value: Template::parse("{param:x}", TemplateKind::Cookie).expect("a template"),
            path: "/".to_owned(),
            max_age: None,
            domain: None,
            http_only: true,
            secure: true,
            same_site: SameSite::Lax,
        };
        let extras = |extras: AnswerExtras| {
            let mut headers = HeaderMap::new();
            extras::add(&extras, values, b"", &mut headers).ok()?;
            headers.into_iter().next().map(|(_, value)| value.to_str().expect("ASCII").to_owned())
        };
        let cookies = vec![(cookie, bound("{x}", TemplateKind::Cookie))];
        if let Some(set) = extras(AnswerExtras { cookies, ..AnswerExtras::default() }) {
            prop_assert_eq!(set, format!("a={text}; HttpOnly; SameSite=Lax; Secure; Path=/"));
            prop_assert!(!text.contains([';', ',', ' ', '"', '\\']));
        }
        let etag = Some(BoundEtag { value: Some(bound("{x}", TemplateKind::EntityTag)), is_weak: false });
        if let Some(tag) = extras(AnswerExtras { etag, ..AnswerExtras::default() }) {
            prop_assert_eq!(tag, format!("\"{text}\""));
            prop_assert!(!text.contains('"'));
        }
        let filename = Some(bound("{x}.txt", TemplateKind::FileName));
        let name = extras(AnswerExtras { filename, ..AnswerExtras::default() }).expect("each name is made to fit");
        let rest = name.strip_prefix("attachment; filename=\"").expect("its start");
        let (plain, rest) = rest.split_once('"').expect("its end");
        prop_assert!(!plain.contains(['/', '\\', '%']));
        prop_assert!(rest.is_empty() || rest.starts_with("; filename*=UTF-8''"));
    }
}
