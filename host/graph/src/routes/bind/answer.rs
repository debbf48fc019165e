//! Binds what a route says of its answers to the type of the function's result.

use ::http::header::{CACHE_CONTROL, IF_MATCH, IF_NONE_MATCH, VARY};
use ::http::{HeaderName, HeaderValue, StatusCode};

use watertight_component::shape::Type;
use watertight_model::config::{Binding, LocatedValue, SuccessStatus, is_json_type};
use watertight_model::problem::{Code, list_names};

use super::super::answer::{AnswerBody, AnswerExtras, BodyForm, BoundEtag, Conditions, ResultMapping, StatusMapping};
use super::{Binder, is_bytes};

/// Statuses whose answers never have a body (RFC 9110, section 15.3).
const NO_BODY: [StatusCode; 2] = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT];

impl Binder<'_> {
    /// Binds all that the route says of its answers.
    pub(super) fn answer(&mut self) -> Option<ResultMapping> {
        let errors = self.errors();
        let success = self.success();
        let (status, body, extras) = success?;
        let takes = |header: HeaderName| {
            self.route.bindings.values().any(|at| matches!(&at.value, Binding::Header(name) if *name == header))
        };
        let conditions = Conditions {
            takes_match: takes(IF_MATCH),
            takes_none_match: takes(IF_NONE_MATCH),
            requires_match: self.route.answer.requires_match,
        };
        let parameters = std::mem::take(&mut self.values);
        Some(ResultMapping { status, body, errors: errors?, parameters, extras, conditions })
    }

    /// Binds what the route says of successes.
    pub(super) fn success(&mut self) -> Option<(StatusMapping, Option<AnswerBody>, Option<Box<AnswerExtras>>)> {
        let function = self.found.function;
        let (place, value) = match &function.result {
            Some(Type::Result { ok, .. }) => ("result.ok", ok.as_deref()),
            other => ("result", other.as_ref()),
        };
        let body = match value {
            Some(ty) => self.answer_body(place, ty).map(Some),
            None => self.no_body().then_some(None),
        };
        let extras = self.extras(value);
        let status = self.status(value, matches!(extras, Some(Some(_))));
        Some((status?, body?, extras?))
    }

    fn status(&mut self, value: Option<&Type>, has_extras: bool) -> Option<StatusMapping> {
        let route = self.route;
        let cases = match &route.status {
            SuccessStatus::One(status) => {
                if value.is_some() && NO_BODY.contains(status) && !has_extras {
                    let number = status.as_u16();
                    let message = format!("an answer of status {number} has no body, and the function returns a value");
                    self.report(Code::UnsupportedType, message, route.line).help = Some(
                        "let the route answer with another `status`, such as 200, or use the value in a table `answer`"
                            .to_owned(),
                    );
                    return None;
                }
                return Some(StatusMapping::One(*status));
            }
            SuccessStatus::ByCase(cases) => cases,
        };
        let known: Vec<(&str, bool)> = match value {
            Some(Type::Variant(variant)) => variant.body.iter().map(|case| (&*case.name, case.ty.is_some())).collect(),
            Some(Type::Enum(names)) => names.body.iter().map(|name| (&**name, false)).collect(),
            _ => {
                let message = "`status` has one for each case, and the result has no cases".to_owned();
                self.report(Code::BadBinding, message, route.line).help =
                    Some("only a variant or an enum has cases: write one status".to_owned());
                return None;
            }
        };
        let names = list_names(known.iter().map(|(name, _)| name));
        let mut is_sound = true;
        for (case, at) in cases {
            let found = known.iter().find(|(name, _)| name == case);
            let message = match found {
                None => format!("the result has no case `{case}`; it has {names}"),
                Some((_, true)) if NO_BODY.contains(&at.value) && !has_extras => {
                    format!(
                        "an answer of status {} has no body, and the case `{case}` carries a value",
                        at.value.as_u16()
                    )
                }
                Some(_) => continue,
            };
            self.report(Code::BadBinding, message, at.line);
            is_sound = false;
        }
        for (name, _) in known.iter().filter(|(name, _)| !cases.contains_key(*name)) {
            let message = format!("the case `{name}` of the result has no status");
            self.report(Code::BadBinding, message, route.line).help = Some(format!("add `{name} = …` to `status`"));
            is_sound = false;
        }
        let status = |(case, at): (&String, &LocatedValue<StatusCode>)| (case.clone(), at.value);
        is_sound.then(|| StatusMapping::ByCase(cases.iter().map(status).collect()))
    }

    /// Reports keys that say something of the body of a function that returns no value. Returns whether there are none.
    fn no_body(&mut self) -> bool {
        let answer = &self.route.answer;
        let keys = [
            ("body", answer.body.as_ref().map(|at| at.line)),
            ("type", answer.media_type.as_ref().map(|at| at.line)),
            ("filename", answer.filename.as_ref().map(|at| at.line)),
        ];
        let given: Vec<(&str, u32)> = keys.into_iter().filter_map(|(key, line)| Some((key, line?))).collect();
        for (key, line) in &given {
            self.report(
                Code::UnsupportedType,
                format!("`{key}` is for a body, and the function returns no value"),
                *line,
            );
        }
        given.is_empty()
    }

    fn answer_body(&mut self, place: &str, whole: &Type) -> Option<AnswerBody> {
        let config = &self.route.answer;
        let (field, ty, place) = match &config.body {
            None => (None, whole, place.to_owned()),
            Some(name) => {
                let Type::Record(record) = whole else {
                    let message = format!("`body` names a field of the result, which is `{whole}` and no record");
                    self.report(Code::BadBinding, message, name.line);
                    return None;
                };
                let Some(index) = record.body.iter().position(|field| *field.name == **name) else {
                    let known = list_names(record.body.iter().map(|field| &field.name));
                    let message = format!("the result has no field `{}`; it has {known}", name.value);
                    self.report(Code::BadBinding, message, name.line);
                    return None;
                };
                (Some(index), &record.body[index].ty, format!("{place}.{}", name.value))
            }
        };
        let is_plain = config.media_type.is_some() || config.body.is_some();
        let (form, default) = match ty {
            Type::String if is_plain => (BodyForm::Text, "text/plain; charset=utf-8"),
            ty if is_plain && is_bytes(ty) => (BodyForm::Bytes, "application/octet-stream"),
            ty => (BodyForm::Json(self.codec(&place, ty)?), "application/json"),
        };
        let default = HeaderValue::from_static(default);
        let Some(template) = &config.media_type else {
            return Some(AnswerBody { field, form, media_type: default, said_type: None });
        };
        let fixed = template.fixed();
        if matches!(form, BodyForm::Json(_)) && !fixed.is_some_and(is_json_type) {
            let message = format!("a body of the type `{}` is a `string` or a `list<u8>`, not `{ty}`", template.value);
            self.report(Code::UnsupportedType, message, template.line).help =
                Some("name the field that is the body by `body`; all other values are JSON".to_owned());
            return None;
        }
        if let Some(text) = fixed {
            let media_type = HeaderValue::from_str(text).unwrap_or(default);
            return Some(AnswerBody { field, form, media_type, said_type: None });
        }
        let said_type = self.template(template, Some(whole))?;
        Some(AnswerBody { field, form, media_type: default, said_type: Some(said_type) })
    }

    /// Binds what a success says beside its body. `value` is the type of the result.
    fn extras(&mut self, value: Option<&Type>) -> Option<Option<Box<AnswerExtras>>> {
        let config = &self.route.answer;
        let headers = self.header_templates(&config.headers, value);
        let filename = config.filename.as_ref().map(|template| self.template(template, value));
        let cookies = config.cookies.iter().map(|cookie| {
            let template = LocatedValue { value: cookie.value.value.clone(), line: cookie.line };
            Some((cookie.value.clone(), self.template(&template, value)?))
        });
        let cookies: Vec<_> = cookies.collect();
        let etag = config.etag.as_ref().map(|etag| {
            let template = etag.value.value.clone().map(|value| LocatedValue { value, line: etag.line });
            let template = template.map(|template| self.template(&template, value));
            let value = match template {
                Some(bound) => Some(bound?),
                None => None,
            };
            Some(BoundEtag { value, is_weak: etag.value.is_weak })
        });
        let mut fixed: Vec<(HeaderName, HeaderValue)> = Vec::new();
        fixed.extend(config.cache.clone().map(|value| (CACHE_CONTROL, value)));
        let vary: Vec<&str> = config.vary.iter().map(HeaderName::as_str).collect();
        if let Ok(vary) = HeaderValue::from_str(&vary.join(", "))
            && !vary.is_empty()
        {
            fixed.push((VARY, vary));
        }
        let headers = headers?;
        let filename = filename.map_or(Some(None), |bound| bound.map(Some))?;
        let cookies: Vec<_> = cookies.into_iter().collect::<Option<_>>()?;
        let etag = etag.map_or(Some(None), |bound| bound.map(Some))?;
        let is_empty = headers.is_empty() && fixed.is_empty() && filename.is_none() && cookies.is_empty();
        if is_empty && etag.is_none() {
            return Some(None);
        }
        Some(Some(Box::new(AnswerExtras { headers, fixed, filename, cookies, etag })))
    }
}
