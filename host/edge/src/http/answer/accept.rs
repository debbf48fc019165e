//! Whether a client takes the media type of an answer: the header `Accept` (RFC 9110, section 12.5.1).

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue};
use mime::Mime;

/// Whether a request takes an answer of the media type `offered`. The most specific range that has the type decides; parameters of ranges
/// other than their weight don't count. What is no media range is passed over.
pub(super) fn allows(headers: &HeaderMap, offered: &HeaderValue) -> bool {
    // What most clients send needs no parsing: everything, or the type itself, which is the most specific range with the largest weight.
    let essence = offered.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let names_it = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|range| range.trim_ascii().eq_ignore_ascii_case(essence))
    };
    if headers.get_all(ACCEPT).iter().all(|range| range == "*/*") || headers.get_all(ACCEPT).iter().any(names_it) {
        return true;
    }
    let Some(offered) = offered.to_str().ok().and_then(|text| text.parse::<Mime>().ok()) else { return true };
    // How specific the best range is, and its weight.
    let mut best: Option<(u8, f32)> = None;
    let mut has_range = false;
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let Ok(range) = range.trim().parse::<Mime>() else { continue };
        has_range = true;
        let rank = if range.type_() == mime::STAR {
            0
        } else if range.type_() == offered.type_() && range.subtype() == mime::STAR {
            1
        } else if range.essence_str() == offered.essence_str() {
            2
        } else {
            continue;
        };
        let weight = range.get_param("q").and_then(|text| text.as_str().parse::<f32>().ok()).unwrap_or(1.0);
        if best.is_none_or(|(known, other)| rank > known || (rank == known && weight > other)) {
            best = Some((rank, weight));
        }
    }
    !has_range || best.is_some_and(|(_, weight)| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        for (accept, offered, expected) in [
            ("*/*", "application/json", true),
            ("application/json", "application/json", true),
            ("Application/JSON", "application/json", true),
            ("text/html , text/plain", "text/plain; charset=utf-8", true),
            ("text/html;level=1, text/html;q=0", "text/html", true),
            ("text/plainer, text/html;q=0.5", "text/plain", false),
            ("application/*;q=0.1", "application/json", true),
            ("text/html", "application/json", false),
            ("text/html, */*;q=0.8", "application/json", true),
            ("application/json;q=0, */*", "application/json", false),
            ("application/*;q=0, application/json", "application/json", true),
            ("application/json;q=0.0", "application/json", false),
            ("text/html;level=1", "text/html; charset=utf-8", true),
            ("application/vnd.a+json", "application/json", false),
            ("application/vnd.a+json", "application/vnd.a+json", true),
            ("text/html, image/gif, *; q=.2, */*; q=.2", "application/json", true),
            ("", "application/json", true),
            ("nonsense", "application/json", true),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(allows(&headers, &HeaderValue::from_static(offered)), expected, "{accept} of {offered}");
        }
        let headers = [(ACCEPT, HeaderValue::from_static("a/b")), (ACCEPT, HeaderValue::from_static("c/d"))];
        assert!(allows(&headers.into_iter().collect(), &HeaderValue::from_static("c/d")));
    }
}
