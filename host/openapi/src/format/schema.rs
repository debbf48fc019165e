//! Schemas: the keywords of JSON Schema 2020-12 that the host writes.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The place of named schemas in a document.
const NAMED: &str = "#/components/schemas/";

/// A kind of JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are JSON's own")]
pub enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// The keyword `type`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kinds {
    /// One kind of value.
    One(Kind),
    /// Any of these kinds.
    Any(Vec<Kind>),
}

/// The keyword `additionalProperties`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Additional {
    /// Whether there may be others.
    Allowed(bool),
    /// What the others are like.
    These(Box<Schema>),
}

/// A schema: which JSON values are meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are JSON Schema's own")]
pub struct Schema {
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Kinds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    #[serde(rename = "const", skip_serializing_if = "Option::is_none")]
    pub constant: Option<String>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Schema>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_items: Vec<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unique_items: bool,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub properties: IndexMap<String, Schema>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_properties: Option<Additional>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Schema>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Schema>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all_of: Vec<Schema>,
}

impl Schema {
    /// Creates the schema of all values of a kind.
    pub fn of(kind: Kind) -> Self {
        Self { kinds: Some(Kinds::One(kind)), ..Self::default() }
    }

    /// Creates a reference to a named schema of the same document.
    pub fn named(name: &str) -> Self {
        Self { reference: Some(format!("{NAMED}{name}")), ..Self::default() }
    }

    /// Creates the schema of one text.
    pub fn constant(text: impl Into<String>) -> Self {
        Self { constant: Some(text.into()), ..Self::of(Kind::String) }
    }

    /// Creates the schema of a list of `items`.
    pub fn list(items: Self) -> Self {
        Self { items: Some(Box::new(items)), ..Self::of(Kind::Array) }
    }

    /// Returns the name of the schema that this one refers to. `None` if it is no reference.
    pub fn target(&self) -> Option<&str> {
        self.reference.as_deref()?.strip_prefix(NAMED)
    }

    /// Sets the description, if there is one.
    #[must_use]
    pub fn described(mut self, text: Option<impl Into<String>>) -> Self {
        self.description = text.map(Into::into).or(self.description);
        self
    }

    /// Adds `null` to the values.
    #[must_use]
    pub fn or_null(self) -> Self {
        let is_plain = self.constant.is_none() && self.names.is_empty() && self.one_of.is_empty();
        match self.kinds {
            Some(Kinds::One(kind)) if is_plain => Self { kinds: Some(Kinds::Any(vec![kind, Kind::Null])), ..self },
            _ => Self { one_of: vec![self, Self::of(Kind::Null)], ..Self::default() },
        }
    }

    /// Calls `change` for this schema and all schemas within it. Documents of the host nest as far as types do: 60 deep.
    pub fn for_each(&mut self, change: &mut dyn FnMut(&mut Self)) {
        change(self);
        let lists = [&mut self.prefix_items, &mut self.one_of, &mut self.any_of, &mut self.all_of];
        lists.into_iter().flatten().for_each(|inner| inner.for_each(change));
        self.items.iter_mut().for_each(|inner| inner.for_each(change));
        self.properties.values_mut().for_each(|inner| inner.for_each(change));
        if let Some(Additional::These(inner)) = &mut self.additional_properties {
            inner.for_each(change);
        }
    }
}
