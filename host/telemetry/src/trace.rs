//! The position of a request in its trace, read from and written to `traceparent` (W3C Trace Context).
//!
//! Every request has a trace, because log lines contain its id. Spans exist only in recorded traces. A trace that is not
//! recorded is a few numbers.

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::recorder::Recorder;

/// The length of a `traceparent` of version 00, in bytes.
pub const TRACEPARENT_LENGTH: usize = 55;
/// The longest accepted `tracestate`, in bytes. The standard requires that at least 512 bytes are accepted.
const MAX_STATE: usize = 512;
/// The flag of a `traceparent` that says that the caller records the trace.
const SAMPLED: u8 = 1;

/// A trace, and the current span in it.
#[derive(Clone)]
pub struct Trace {
    id: TraceId,
    span: SpanId,
    /// What all spans of the trace share. `None` if the trace is not recorded.
    recording: Option<Arc<Recording>>,
}

/// The state that all spans of one recorded trace share.
pub(super) struct Recording {
    pub(super) recorder: Arc<Recorder>,
    pub(super) state: TraceState,
}

/// The caller's span in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Trace {
    /// Creates a trace that is not recorded.
    pub fn new() -> Self {
        let ids = RandomIdGenerator::default();
        Self { id: ids.new_trace_id(), span: ids.new_span_id(), recording: None }
    }

    /// Continues the trace of a request, or begins a new one. `given` is the request's `traceparent`, and `state` returns its `tracestate`.
    /// `recorder` decides whether the trace is recorded; without one it is not. Returns the trace, and the caller's span if the trace is
    /// continued.
    pub(super) fn continue_or_begin(
        given: Option<&[u8]>,
        state: impl FnOnce() -> String,
        recorder: Option<&Arc<Recorder>>,
    ) -> (Self, Option<SpanId>) {
        let parent = given.and_then(parse);
        let ids = RandomIdGenerator::default();
        let id = parent.map_or_else(|| ids.new_trace_id(), |parent| parent.trace);
        let mut trace = Self { id, span: ids.new_span_id(), recording: None };
        let caller = parent.map(|parent| parent.span);
        let Some(recorder) = recorder else { return (trace, caller) };
        if parent.map_or_else(|| recorder.is_sampled(trace.id), |parent| parent.sampled) {
            let state = if parent.is_some() { read_state(&state()) } else { TraceState::NONE };
            trace.recording = Some(Arc::new(Recording { recorder: recorder.clone(), state }));
        }
        (trace, caller)
    }

    /// Returns this trace with a new span id as its current one, for a child of the current span.
    pub(super) fn below(&self) -> Self {
        Self { span: RandomIdGenerator::default().new_span_id(), ..self.clone() }
    }

    /// Returns the id of the trace, for log lines.
    pub fn id(&self) -> impl fmt::Display + use<> {
        self.id
    }

    pub(super) fn ids(&self) -> (TraceId, SpanId) {
        (self.id, self.span)
    }

    pub(super) fn recording(&self) -> Option<&Arc<Recording>> {
        self.recording.as_ref()
    }

    /// Formats the trace and its current span as a `traceparent`.
    pub fn to_traceparent(&self) -> [u8; TRACEPARENT_LENGTH] {
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

/// Parses a `traceparent`: `VERSION-TRACE-SPAN-FLAGS` in lower-case hexadecimal. Versions later than 00 may have more text after another
/// hyphen. Returns `None` for any other text.
fn parse(text: &[u8]) -> Option<Parent> {
    let (own, more) = text.split_at_checked(TRACEPARENT_LENGTH)?;
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

/// Decodes lower-case hexadecimal digits, two for each byte. Returns `None` for any other text.
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

/// Parses a `tracestate`. A text that is not valid or longer than 512 bytes counts as empty.
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
        let out = trace.to_traceparent();
        let out = std::str::from_utf8(&out).unwrap();
        // The trace has its own span and is not recorded.
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
            let written = trace.to_traceparent();
            let read = parse(&written).unwrap();
            prop_assert_eq!((read.trace, read.span, read.sampled), (trace.id, trace.span, false));
            let other = format!("{version:02x}{}{flags:02x}", std::str::from_utf8(&written[2..53]).unwrap());
            prop_assert_eq!(parse(other.as_bytes()).unwrap().sampled, flags & 1 == 1);
        }
    }
}
