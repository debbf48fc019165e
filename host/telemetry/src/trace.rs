//! Where a request stands in its trace, as `traceparent` writes it (W3C Trace Context), in and out.
//!
//! Every request has a trace, since its id stands in log lines. Spans are made only where they are recorded; elsewhere a trace is a
//! few numbers that are handed along.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, SpanKind, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::spans::{Recorder, Span};

/// The length of a `traceparent` of version 00, in bytes.
pub const LENGTH: usize = 55;
/// What of a `tracestate` is looked at, in bytes; the standard asks for at least this much.
const MAX_STATE: usize = 512;
/// The flag that says that the caller records the trace.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that what happens now belongs to.
#[derive(Clone)]
pub struct Trace {
    id: TraceId,
    span: SpanId,
    /// There where spans are recorded.
    recording: Option<Arc<Recording>>,
}

/// What the spans of one recorded trace share.
pub(super) struct Recording {
    pub(super) recorder: Arc<Recorder>,
    pub(super) state: TraceState,
}

/// The span of a caller elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Trace {
    /// A new one that isn't recorded.
    pub fn new() -> Self {
        let ids = RandomIdGenerator::default();
        Self { id: ids.new_trace_id(), span: ids.new_span_id(), recording: None }
    }

    /// That of a request: the one that its `traceparent` tells of, or a new one. With it the request's own span, where that is
    /// recorded; `state` is its `tracestate`, asked for only then: what others keep of the trace, passed on with the spans.
    ///
    /// A `traceparent` that isn't as the standard has it counts as absent. A caller that records its trace has this part recorded too;
    /// of new traces `recorder` takes its share.
    pub fn of_request(
        given: Option<&[u8]>,
        state: impl FnOnce() -> String,
        recorder: Option<&Arc<Recorder>>,
    ) -> (Self, Option<Span>) {
        let parent = given.and_then(parse);
        let ids = RandomIdGenerator::default();
        let id = parent.map_or_else(|| ids.new_trace_id(), |parent| parent.trace);
        let mut trace = Self { id, span: ids.new_span_id(), recording: None };
        let Some(recorder) = recorder else { return (trace, None) };
        if !parent.map_or_else(|| recorder.takes(trace.id), |parent| parent.sampled) {
            return (trace, None);
        }
        let state = if parent.is_some() { read_state(&state()) } else { TraceState::NONE };
        trace.recording = Some(Arc::new(Recording { recorder: recorder.clone(), state }));
        let span = Span::new(&trace, parent.map(|parent| parent.span), SpanKind::Server, parent.is_some());
        (trace, span)
    }

    /// A span below the current one, where the trace is recorded; `name` is made only then.
    pub fn child<N: Into<std::borrow::Cow<'static, str>>>(
        &self,
        kind: SpanKind,
        name: impl FnOnce() -> N,
    ) -> Option<Span> {
        self.recording.as_ref()?;
        let below = Self { span: RandomIdGenerator::default().new_span_id(), ..self.clone() };
        let mut span = Span::new(&below, Some(self.span), kind, false)?;
        span.name(name());
        Some(span)
    }

    /// Its id, for log lines.
    pub fn id(&self) -> impl fmt::Display + use<> {
        self.id
    }

    pub(super) fn ids(&self) -> (TraceId, SpanId) {
        (self.id, self.span)
    }

    pub(super) fn recording(&self) -> Option<&Arc<Recording>> {
        self.recording.as_ref()
    }

    /// It as a `traceparent`.
    pub fn to_text(&self) -> [u8; LENGTH] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let flags = if self.recording.is_some() { SAMPLED } else { 0 };
        let mut text = *b"00-________________________________-________________-__";
        let mut write = |at: usize, bytes: &[u8]| {
            for (place, byte) in bytes.iter().enumerate() {
                text[at + 2 * place] = DIGITS[usize::from(byte >> 4)];
                text[at + 2 * place + 1] = DIGITS[usize::from(byte & 15)];
            }
        };
        write(3, &self.id.to_bytes());
        write(36, &self.span.to_bytes());
        write(53, &[flags]);
        text
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("id", &self.id).field("span", &self.span).finish_non_exhaustive()
    }
}

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hexadecimal digits; later versions than 00 may have more behind another hyphen.
fn parse(text: &[u8]) -> Option<Parent> {
    let (own, more) = text.split_at_checked(LENGTH)?;
    if own[2] != b'-' || own[35] != b'-' || own[52] != b'-' {
        return None;
    }
    let [version] = hexadecimal(&own[..2])?;
    let fits = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more[0] == b'-',
    };
    let trace = TraceId::from_bytes(hexadecimal(&own[3..35])?);
    let span = SpanId::from_bytes(hexadecimal(&own[36..52])?);
    let [flags] = hexadecimal(&own[53..])?;
    let valid = fits && trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then_some(Parent { trace, span, sampled: flags & SAMPLED != 0 })
}

/// The bytes that lower-case digits write, two each.
fn hexadecimal<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// What others keep in the trace; nothing where that can't be read.
fn read_state(text: &str) -> TraceState {
    if text.len() > MAX_STATE {
        return TraceState::NONE;
    }
    text.parse().unwrap_or(TraceState::NONE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued() {
        let parent = parse(GIVEN.as_bytes()).unwrap();
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span.to_string(), parent.sampled), ("00f067aa0ba902b7".to_owned(), true));
        let (trace, span) = Trace::of_request(Some(GIVEN.as_bytes()), String::new, None);
        assert!(span.is_none());
        assert_eq!(trace.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let out = trace.to_text();
        let out = std::str::from_utf8(&out).unwrap();
        // Its own span, and not recorded.
        assert!(out.starts_with(&GIVEN[..36]) && out.ends_with("-00") && !out.contains(&GIVEN[36..52]), "{out}");
    }

    #[test]
    fn what_is_not_as_the_standard_has_it_is_ignored() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-will-be";
        assert!(parse(later.as_bytes()).is_some(), "a later version may have more");
        let bad = [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}0"),
            &format!("{GIVEN}-more"),
            &format!("ff{}", &GIVEN[2..]),
            &format!("0x{}", &GIVEN[2..]),
            &GIVEN.to_uppercase(),
            &GIVEN.replace('-', "_"),
            &format!("cc{}.x", &GIVEN[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ];
        for text in bad {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_text_panics(text in ".{0,80}", version in 0..0xff_u8, flags in 0..=255_u8) {
            let _ = parse(text.as_bytes());
            let trace = Trace::new();
            let written = trace.to_text();
            let read = parse(&written).unwrap();
            prop_assert_eq!((read.trace, read.span, read.sampled), (trace.id, trace.span, false));
            let other = format!("{version:02x}{}{flags:02x}", std::str::from_utf8(&written[2..53]).unwrap());
            prop_assert_eq!(parse(other.as_bytes()).unwrap().sampled, flags & 1 == 1);
        }
    }
}
