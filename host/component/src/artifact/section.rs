//! The custom section `watertight:module`: what a component carries besides its code, so that one file is a whole module.
//!
//! It is JSON, in the outermost component only: what a component nests is another's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Parser, Payload};

use crate::shape::Shape;
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::migration::{BadNumber, Migration, check_numbers};

/// The section's name.
pub const SECTION_NAME: &str = "watertight:module";

/// The section's format. A host refuses formats that it does not know, rather than overlook what they say.
pub const FORMAT: u32 = 1;

/// How large the section may be, in bytes.
pub const MAX_SECTION_BYTES: usize = 16 << 20;

/// How many migrations a module may carry.
pub const MAX_MIGRATIONS: usize = 10_000;

/// How many characters a build id has: 48 bits of a digest tell the builds of one module apart.
pub(super) const BUILD_ID_LENGTH: usize = 12;

/// How long texts that only people read may be, in bytes: a language, a build id that other tools made.
const MAX_LABEL_BYTES: usize = 64;

/// What the section says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// [`FORMAT`].
    format: u32,
    /// What the module calls itself. The manifest's key is what counts.
    pub name: ModuleName,
    /// The language it is written in: `rust`.
    pub language: String,
    /// Tells builds apart; the same source gives the same id.
    pub build: String,
    /// In the order of application.
    pub migrations: Vec<Migration>,
    /// The documentation of the interfaces that it exports.
    pub docs: Docs,
}

/// Documentation by interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Docs(pub BTreeMap<InterfaceName, InterfaceDocs>);

/// The documentation of one interface; what has none is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceDocs {
    /// Of the interface itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<Arc<str>>,
    /// Of its functions, by the names that components give them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Arc<str>>,
    /// Of its types, by name, and of their fields, cases and flags: `draft`, `draft.lines`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, Arc<str>>,
}

/// Why the section can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// The component can't be read up to the section.
    #[error("the component's sections can't be read: {0}")]
    Unreadable(String),
    /// There are several.
    #[error("the component has it more than once")]
    Twice,
    /// It is too large.
    #[error("it has {length} bytes; at most {MAX_SECTION_BYTES} are allowed")]
    TooLarge {
        /// How many bytes it has.
        length: usize,
    },
    /// It is not the JSON that it should be.
    #[error("it is not the JSON that it should be: {0}")]
    Json(String),
    /// A newer host's `build` made it.
    #[error("it has format {found}; this host knows format {FORMAT}")]
    Format {
        /// The format that it has.
        found: u32,
    },
    /// The language or the build id is empty, too long or not printable.
    #[error("its `{key}` is not 1 to {MAX_LABEL_BYTES} printable ASCII characters")]
    Label {
        /// Which.
        key: &'static str,
    },
    /// There are too many migrations.
    #[error("it has {count} migrations; at most {MAX_MIGRATIONS} are allowed")]
    TooManyMigrations {
        /// How many there are.
        count: usize,
    },
    /// A migration's text is not what its checksum says.
    #[error("migration `{name}` is not what its checksum says: it was changed after the build")]
    Checksum {
        /// The migration's name.
        name: String,
    },
    /// Migrations are not in the order of their names, or two have one name.
    #[error("migration `{name}` stands after `{before}`, which is not the order of their names")]
    Order {
        /// The migration before.
        before: String,
        /// The migration.
        name: String,
    },
    /// A migration has no number, or one that another has or that is lower than the one before.
    #[error(transparent)]
    Number(#[from] BadNumber),
    /// A migration's name can't be a file's.
    #[error("`{name}` is no migration's name: 1 to 128 of a-z, A-Z, 0-9, `_`, `-` and `.`, then `.sql`")]
    MigrationName {
        /// The name.
        name: String,
    },
}

impl Embedded {
    /// What a build of `component` (which has no such section yet) carries. The build id follows from all of it.
    ///
    /// # Errors
    ///
    /// When the migrations or texts are not as the section wants them.
    pub fn new(
        component: &[u8],
        name: ModuleName,
        language: &str,
        migrations: Vec<Migration>,
        docs: Docs,
    ) -> Result<Self, SectionError> {
        let mut embedded =
            Self { format: FORMAT, name, language: language.to_owned(), build: String::new(), migrations, docs };
        let content = [component, &embedded.json()].concat();
        embedded.build = Digest::of(&content).hex()[..BUILD_ID_LENGTH].to_owned();
        embedded.check()?;
        Ok(embedded)
    }

    /// Appends the section to a component that has none.
    ///
    /// # Errors
    ///
    /// When it would be too large.
    pub fn append_to(&self, component: &mut Vec<u8>) -> Result<(), SectionError> {
        let json = self.json();
        if json.len() > MAX_SECTION_BYTES {
            return Err(SectionError::TooLarge { length: json.len() });
        }
        CustomSection { name: SECTION_NAME.into(), data: json.into() }.append_to_component(component);
        Ok(())
    }

    /// The section of `component`, checked; `None` where it has none.
    ///
    /// # Errors
    ///
    /// When there are several, or the one is too large, not well-formed, of another format, or not consistent.
    pub fn find(component: &[u8]) -> Result<Option<Self>, SectionError> {
        match find_bytes(component)? {
            Some(json) => Self::parse(json).map(Some),
            None => Ok(None),
        }
    }

    fn parse(json: &[u8]) -> Result<Self, SectionError> {
        if json.len() > MAX_SECTION_BYTES {
            return Err(SectionError::TooLarge { length: json.len() });
        }
        let invalid = |error: serde_json::Error| SectionError::Json(error.to_string());
        // The format first: another one may well have other keys.
        let found = serde_json::from_slice::<FormatOnly>(json).map_err(invalid)?.format;
        if found != FORMAT {
            return Err(SectionError::Format { found });
        }
        let embedded: Self = serde_json::from_slice(json).map_err(invalid)?;
        embedded.check()?;
        Ok(embedded)
    }

    fn check(&self) -> Result<(), SectionError> {
        for (key, text) in [("language", &self.language), ("build", &self.build)] {
            if text.is_empty() || text.len() > MAX_LABEL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(SectionError::Label { key });
            }
        }
        if self.migrations.len() > MAX_MIGRATIONS {
            return Err(SectionError::TooManyMigrations { count: self.migrations.len() });
        }
        for migration in &self.migrations {
            let name = || migration.name.clone();
            if !is_migration_name(&migration.name) {
                return Err(SectionError::MigrationName { name: name() });
            }
            if !migration.is_intact() {
                return Err(SectionError::Checksum { name: name() });
            }
        }
        for pair in self.migrations.windows(2) {
            if pair[0].name >= pair[1].name {
                return Err(SectionError::Order { before: pair[0].name.clone(), name: pair[1].name.clone() });
            }
        }
        check_numbers(self.migrations.iter().map(|migration| migration.name.as_str()))?;
        Ok(())
    }

    /// The same text for the same content: maps are ordered.
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps keyed by strings always have a JSON form")
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

fn is_migration_name(name: &str) -> bool {
    name.strip_suffix(".sql").is_some_and(|stem| {
        (1..=128).contains(&stem.len())
            && !stem.starts_with('.')
            && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    })
}

fn find_bytes(component: &[u8]) -> Result<Option<&[u8]>, SectionError> {
    let mut nested = 0_usize;
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| SectionError::Unreadable(error.to_string()))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => nested += 1,
            Payload::End(_) => nested = nested.saturating_sub(1),
            Payload::CustomSection(section) if nested == 0 && section.name() == SECTION_NAME => {
                found.push(section.data());
            }
            _ => {}
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [json] => Ok(Some(json)),
        _ => Err(SectionError::Twice),
    }
}

impl Docs {
    /// Puts the documentation where the shape has its exports; what the shape doesn't have is left out.
    pub(super) fn fill(&self, shape: &mut Shape) {
        for (name, docs) in &self.0 {
            let Some(interface) = shape.exports.get_mut(name) else { continue };
            interface.docs.clone_from(&docs.docs);
            for (name, text) in &docs.functions {
                if let Some(function) = interface.functions.get_mut(name) {
                    function.docs = Some(text.clone());
                }
            }
        }
    }
}
