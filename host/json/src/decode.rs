//! Decodes JSON documents to component values: walks a prepared type and reads the JSON text in step with it.
//!
//! A part of the document that doesn't fit the type is reported with its JSON pointer and skipped. A placeholder value takes its
//! position, so that one pass finds every violation. Only a syntax error or an exceeded bound ends the walk early. A value that
//! contains a placeholder never leaves this file.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::prepare::{Cases, Fields, Name, Names, Node};
use super::reader::{Kind, Reader, SyntaxError};
use super::report::{BoundExceeded, Report, Step, nearest};
use super::{MAX_ECHO, UnknownFields, Violation, clip, scalar};

/// A chosen case of a variant or result: its index in the type, and its payload.
type ChosenCase = (usize, Option<Box<Val>>);

/// The reason that decoding ended before the end of the document.
pub(super) enum DecodeStop {
    /// The text is not JSON from this position on.
    Syntax(SyntaxError),
    /// A bound on documents was exceeded, such as [`super::MAX_VALUES`]. The report already has a violation that says so.
    Bound,
}

impl From<BoundExceeded> for DecodeStop {
    fn from(_: BoundExceeded) -> Self {
        Self::Bound
    }
}

impl From<SyntaxError> for DecodeStop {
    fn from(syntax: SyntaxError) -> Self {
        Self::Syntax(syntax)
    }
}

/// Decodes a whole document with `read` and checks that nothing follows the value. Object fields that a type doesn't have are treated as
/// `unknown` says. Returns every violation if there are any.
pub(super) fn document<'a, T>(
    bytes: &'a [u8],
    unknown: UnknownFields,
    read: impl FnOnce(&mut Decoder<'a>) -> Result<T, DecodeStop>,
) -> Result<T, Vec<Violation>> {
    let (text, broken_at) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        // The valid text before the bad byte is decoded all the same: that gives the JSON pointer of the bad byte.
        Err(error) => {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            (std::str::from_utf8(valid).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let mut decoder = Decoder { reader: Reader::new(text), report: Report::new(), unknown };
    let mut outcome = read(&mut decoder).and_then(|value| {
        decoder.reader.end()?;
        Ok(value)
    });
    if let Some(at) = broken_at {
        outcome = match outcome {
            Err(DecodeStop::Bound) => Err(DecodeStop::Bound),
            Err(DecodeStop::Syntax(syntax)) if syntax.at < at => Err(DecodeStop::Syntax(syntax)),
            _ => Err(DecodeStop::Syntax(SyntaxError { message: "a byte that is not UTF-8", at })),
        };
    }
    match outcome {
        Ok(value) => decoder.report.finish(value),
        Err(DecodeStop::Bound) => Err(decoder.report.into_violations()),
        Err(DecodeStop::Syntax(syntax)) => Err(vec![decoder.report.syntax_violation(text, syntax)]),
    }
}

/// The state of decoding one JSON document: the position in the text, and the violations found up to there.
pub(super) struct Decoder<'a> {
    reader: Reader<'a>,
    report: Report<'a>,
    unknown: UnknownFields,
}

impl<'a> Decoder<'a> {
    /// Decodes one value of the type `node`.
    pub(super) fn root(&mut self, node: &'a Node) -> Result<Val, DecodeStop> {
        let mut value = placeholder();
        self.value(node, &mut value)?;
        Ok(value)
    }

    /// Decodes one value of the type `node` and writes it to `into`, which holds a placeholder before the call. Values are written in
    /// place because moving each one out of a `Result` takes as long as reading it.
    fn value(&mut self, node: &'a Node, into: &mut Val) -> Result<(), DecodeStop> {
        let kind = self.reader.peek()?;
        match (node, kind) {
            (_, Kind::String) => match node {
                Node::Option(inner) | Node::Absent(inner) => return self.some(inner, into),
                _ => return self.string(node, into),
            },
            (Node::Integer(_) | Node::IntegerText(_) | Node::F32 | Node::F64, Kind::Number) => {
                return self.number(node, into);
            }
            (Node::Bool, Kind::Bool) => *into = Val::Bool(self.reader.boolean()?),
            (Node::Record(fields), Kind::Object) => *into = Val::Record(self.fields(fields)?),
            (Node::List(item), Kind::List) => *into = Val::List(self.list(None, |_| item)?),
            (Node::FixedList(item, length), Kind::List) => {
                *into = Val::FixedLengthList(self.list(Some(*length), |_| item)?);
            }
            (Node::Tuple(items), Kind::List) => {
                *into = Val::Tuple(self.list(Some(items.len()), |index| &items[index])?);
            }
            (Node::Option(_), Kind::Null) => {
                self.reader.null()?;
                *into = Val::Option(None);
            }
            (Node::Option(inner) | Node::Absent(inner), _) => return self.some(inner, into),
            (Node::Object(value), Kind::Object) => *into = self.object(value)?,
            (Node::Pairs(pair), Kind::List) => *into = self.pairs(&pair.0, &pair.1)?,
            (Node::Flags(names), Kind::List) => *into = self.flags(names)?,
            (Node::Variant(cases), Kind::Object) => {
                let chosen = self.case(cases)?;
                *into = chosen.map_or_else(placeholder, |(index, payload)| {
                    Val::Variant(String::from(&*cases.names.list[index].wit), payload)
                });
            }
            (Node::Result(cases), Kind::Object) => {
                let chosen = self.case(cases)?;
                *into = chosen.map_or_else(placeholder, |(index, payload)| {
                    Val::Result(if index == 0 { Ok(payload) } else { Err(payload) })
                });
            }
            _ => {
                self.refuse_kind(node)?;
                *into = placeholder();
            }
        }
        Ok(())
    }

    /// Decodes an object whose members are `fields`, and returns them in the order of the type. Reports a value that is no object.
    pub(super) fn fields_only(&mut self, fields: &'a Fields) -> Result<Vec<(String, Val)>, DecodeStop> {
        if self.reader.peek()? == Kind::Object {
            return self.fields(fields);
        }
        self.refuse_kind("an object")?;
        Ok(Vec::new())
    }

    /// Decodes the members of an object in any order, and returns them in the order of the type's fields.
    fn fields(&mut self, fields: &'a Fields) -> Result<Vec<(String, Val)>, DecodeStop> {
        let count = fields.nodes.len();
        self.report.count(count)?;
        // An empty name marks a field that was not read yet.
        let mut values: Vec<_> = std::iter::repeat_with(|| (String::new(), placeholder())).take(count).collect();
        let (mut first, mut guess) = (true, 0);
        self.reader.enter()?;
        while self.reader.next_item(b'}', &mut first)? {
            let key = self.reader.key()?;
            let Some(index) = fields.names.find_json(&key, guess) else {
                self.unknown_field(key, &fields.names)?;
                continue;
            };
            guess = index + 1;
            let (name, place) = (&fields.names.list[index], &mut values[index]);
            self.report.enter(Step::key(&name.json));
            if place.0.is_empty() {
                place.0 = String::from(&*name.wit);
                self.value(&fields.nodes[index], &mut place.1)?;
            } else {
                self.report.add_violation(format!("the field `{}` is given twice", name.json))?;
                self.reader.skip()?;
            }
            self.report.leave();
        }
        for (index, place) in values.iter_mut().enumerate().filter(|(_, place)| place.0.is_empty()) {
            let name = &fields.names.list[index];
            match fields.nodes[index].absent_value() {
                Some(value) => *place = (String::from(&*name.wit), value),
                None => self.missing_field(name)?,
            }
        }
        Ok(values)
    }

    fn missing_field(&mut self, name: &'a Name) -> Result<(), DecodeStop> {
        self.report.enter(Step::key(&name.json));
        self.report.add_violation(format!("missing field `{}`", name.json))?;
        self.report.leave();
        Ok(())
    }

    fn unknown_field(&mut self, key: Cow<'a, str>, names: &Names) -> Result<(), DecodeStop> {
        if self.unknown == UnknownFields::Ignored {
            return Ok(self.reader.skip()?);
        }
        let mut detail = format!("unknown field `{}`", clip(&key, MAX_ECHO));
        if let Some(near) = nearest(&key, names) {
            detail.push_str(&format!("; did you mean `{near}`?"));
        }
        self.report.enter(Step::Key(key));
        self.report.add_violation(detail)?;
        self.reader.skip()?;
        self.report.leave();
        Ok(())
    }

    fn some(&mut self, inner: &'a Node, into: &mut Val) -> Result<(), DecodeStop> {
        *into = Val::Option(Some(self.boxed(inner)?));
        Ok(())
    }

    fn boxed(&mut self, node: &'a Node) -> Result<Box<Val>, DecodeStop> {
        let mut value = Box::new(placeholder());
        self.value(node, &mut value)?;
        Ok(value)
    }

    fn number(&mut self, node: &'a Node, into: &mut Val) -> Result<(), DecodeStop> {
        let start = self.reader.at();
        let text = self.reader.number()?;
        let value = match node {
            Node::Integer(integer) | Node::IntegerText(integer) => integer.parse(text),
            Node::F32 => scalar::parse_f32(text),
            _ => scalar::parse_f64(text),
        };
        self.store_or_refuse(value, into, start, node)
    }

    /// Decodes a JSON string to any type that strings can stand for: strings, characters, 64-bit integers, enums, variant cases without a
    /// payload, and base64 bytes.
    fn string(&mut self, node: &'a Node, into: &mut Val) -> Result<(), DecodeStop> {
        let start = self.reader.at();
        let text = self.reader.string()?;
        let value = match node {
            Node::String => Some(Val::String(text.into_owned())),
            Node::Char => scalar::parse_char(&text),
            Node::Integer(integer) | Node::IntegerText(integer) if integer.is_wide() => integer.parse(&text),
            Node::Enum(names) => names.find_json(&text, 0).map(|index| Val::Enum((*names.list[index].wit).to_owned())),
            Node::Variant(cases) => match cases.names.find_json(&text, 0) {
                Some(index) if cases.payloads[index].is_some() => {
                    let name = &cases.names.list[index].json;
                    self.report.add_violation(format!("the case `{name}` needs a value: {{\"{name}\": …}}"))?;
                    return Ok(());
                }
                found => found.map(|index| Val::Variant((*cases.names.list[index].wit).to_owned(), None)),
            },
            Node::Bytes(length) => match STANDARD.decode(text.as_bytes()) {
                Ok(bytes) if length.is_none_or(|length| length == bytes.len()) => {
                    self.report.count(bytes.len())?;
                    let bytes = bytes.into_iter().map(Val::U8).collect();
                    Some(if length.is_some() { Val::FixedLengthList(bytes) } else { Val::List(bytes) })
                }
                _ => None,
            },
            _ => None,
        };
        self.store_or_refuse(value, into, start, node)
    }

    /// Decodes a list. `length` is the exact number of items, or `None` where the type permits any number. `item` returns the type of the
    /// item at an index below that length.
    fn list(&mut self, length: Option<usize>, item: impl Fn(usize) -> &'a Node) -> Result<Vec<Val>, DecodeStop> {
        let (mut items, mut found, mut first) = (Vec::new(), 0, true);
        self.reader.enter()?;
        self.report.enter(Step::Index(0));
        while self.reader.next_item(b']', &mut first)? {
            self.report.set_index(found);
            if length.is_some_and(|length| found >= length) {
                self.reader.skip()?;
            } else {
                self.report.count(1)?;
                items.push(placeholder());
                let last = items.len() - 1;
                self.value(item(found), &mut items[last])?;
            }
            found += 1;
        }
        self.report.leave();
        if let Some(length) = length.filter(|&length| length != found) {
            self.report.add_violation(format!("expected a list of {length} items, found {found}"))?;
        }
        Ok(items)
    }

    fn flags(&mut self, names: &'a Names) -> Result<Val, DecodeStop> {
        let mut chosen = Vec::new();
        let mut seen = vec![false; names.list.len()];
        let (mut index, mut first) = (0, true);
        self.reader.enter()?;
        self.report.enter(Step::Index(0));
        while self.reader.next_item(b']', &mut first)? {
            self.report.set_index(index);
            index += 1;
            if self.reader.peek()? != Kind::String {
                self.refuse_kind(format_args!("one of {names}"))?;
                continue;
            }
            let start = self.reader.at();
            let text = self.reader.string()?;
            match names.find_json(&text, index - 1) {
                None => self.refuse(start, format_args!("one of {names}"))?,
                Some(flag) if std::mem::replace(&mut seen[flag], true) => {
                    self.report.add_violation(format!("the flag `{text}` is given twice"))?;
                }
                Some(flag) => chosen.push(String::from(&*names.list[flag].wit)),
            }
        }
        self.report.leave();
        Ok(Val::Flags(chosen))
    }

    /// Decodes an object whose only member names one of `cases`. Returns `None` if no known case is there, which is then reported.
    fn case(&mut self, cases: &'a Cases) -> Result<Option<ChosenCase>, DecodeStop> {
        let (mut chosen, mut found, mut first) = (None, 0, true);
        self.reader.enter()?;
        while self.reader.next_item(b'}', &mut first)? {
            let key = self.reader.key()?;
            found += 1;
            if found > 1 {
                self.reader.skip()?;
                continue;
            }
            let Some(index) = cases.names.find_json(&key, 0) else {
                let detail = format!("unknown case `{}`, expected one of {}", clip(&key, MAX_ECHO), cases.names);
                self.report.enter(Step::Key(key));
                self.report.add_violation(detail)?;
                self.reader.skip()?;
                self.report.leave();
                continue;
            };
            self.report.enter(Step::key(&cases.names.list[index].json));
            chosen = Some((index, self.payload(cases.payloads[index].as_ref())?));
            self.report.leave();
        }
        if found != 1 {
            self.report
                .add_violation(format!("expected exactly one of the cases {}, found {found} members", cases.names))?;
        }
        Ok(chosen)
    }

    fn payload(&mut self, node: Option<&'a Node>) -> Result<Option<Box<Val>>, DecodeStop> {
        if let Some(node) = node {
            return self.boxed(node).map(Some);
        }
        match self.reader.peek()? {
            Kind::Null => self.reader.null()?,
            _ => self.refuse_kind("null, for a case without a value")?,
        }
        Ok(None)
    }

    fn object(&mut self, node: &'a Node) -> Result<Val, DecodeStop> {
        let (mut entries, mut first) = (Vec::new(), true);
        let mut seen = HashSet::new();
        self.reader.enter()?;
        while self.reader.next_item(b'}', &mut first)? {
            let key = self.reader.key()?;
            self.report.count(2)?;
            self.report.enter(Step::Key(key.clone()));
            if seen.insert(key.clone()) {
                let mut value = placeholder();
                self.value(node, &mut value)?;
                entries.push((Val::String(key.into_owned()), value));
            } else {
                self.report.add_violation(format!("the key `{}` is given twice", clip(&key, MAX_ECHO)))?;
                self.reader.skip()?;
            }
            self.report.leave();
        }
        Ok(Val::Map(entries))
    }

    fn pairs(&mut self, key: &'a Node, value: &'a Node) -> Result<Val, DecodeStop> {
        let mut entries: Vec<(Val, Val)> = Vec::new();
        let mut seen = HashSet::new();
        let (mut index, mut first) = (0, true);
        self.reader.enter()?;
        self.report.enter(Step::Index(0));
        while self.reader.next_item(b']', &mut first)? {
            self.report.set_index(index);
            index += 1;
            self.report.count(2)?;
            if self.reader.peek()? != Kind::List {
                self.refuse_kind("a pair of key and value")?;
                continue;
            }
            let pair = self.list(Some(2), |place| if place == 0 { key } else { value })?;
            let Ok([key, value]) = <[Val; 2]>::try_from(pair) else { continue };
            if scalar::identity(&key).is_some_and(|key| !seen.insert(key)) {
                self.report.add_violation("the key of this pair is given twice".to_owned())?;
            }
            entries.push((key, value));
        }
        self.report.leave();
        Ok(Val::Map(entries))
    }

    /// Skips a value of a JSON kind that the type doesn't accept, and reports it. `expected` says what the type accepts.
    fn refuse_kind(&mut self, expected: impl Display) -> Result<(), DecodeStop> {
        let start = self.reader.at();
        self.reader.skip()?;
        self.refuse(start, expected)
    }

    /// Writes `value` to `into`. Where `value` is `None`, reports that the text since `start` doesn't fit the type `node`.
    fn store_or_refuse(
        &mut self,
        value: Option<Val>,
        into: &mut Val,
        start: usize,
        node: &Node,
    ) -> Result<(), DecodeStop> {
        match value {
            Some(value) => *into = value,
            None => {
                self.refuse(start, node)?;
                *into = placeholder();
            }
        }
        Ok(())
    }

    /// Reports that the text since `start` doesn't fit. `expected` says what was expected there.
    fn refuse(&mut self, start: usize, expected: impl Display) -> Result<(), DecodeStop> {
        let text = self.reader.since(start);
        let found = match text.as_bytes().first() {
            Some(b'[') => "a list".to_owned(),
            Some(b'{') => "an object".to_owned(),
            _ => clip(text, MAX_ECHO),
        };
        self.report.add_violation(format!("expected {expected}, found {found}"))?;
        Ok(())
    }
}

/// Returns the placeholder for a value that was not read yet or doesn't fit.
fn placeholder() -> Val {
    Val::Tuple(Vec::new())
}
