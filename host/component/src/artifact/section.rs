//! Reads and writes the custom section `watertight:module`, which makes one file a whole module: it holds migrations and documentation.
//!
//! The section is JSON and stands in the outermost component. Sections of nested components are ignored, because they belong to other modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Parser, Payload};

use crate::shape::Shape;
use watertight_model::ids::{Digest, InterfaceName, ModuleName};
use watertight_model::migration::{BadNumber, Migration, check_numbers};

/// Name of the custom section that `watertight build` adds to a component.
pub const SECTION_NAME: &str = "watertight:module";

/// Version of the format of the section `watertight:module`. A host refuses every other version, so that it never overlooks what it doesn't
/// know.
pub const FORMAT: u32 = 1;

/// Greatest size of the section `watertight:module`, in bytes.
pub const MAX_SECTION_BYTES: usize = 16 << 20;

/// Greatest number of migrations in one module.
pub const MAX_MIGRATIONS: usize = 10_000;

/// Number of characters of a build id. Its 48 bits of a digest are enough to tell the builds of one module apart.
pub(super) const BUILD_ID_LENGTH: usize = 12;

/// Greatest length in bytes of a text in the section that only people read: the language, and a build id from another tool.
const MAX_LABEL_BYTES: usize = 64;

/// The content of the section `watertight:module`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSection {
    /// The version of the section's format: [`FORMAT`].
    format: u32,
    /// The name that the module gives itself. The host uses the module's key in the manifest instead.
    pub name: ModuleName,
    /// The language that the module is written in: `rust`.
    pub language: String,
    /// The id of the build. The same source gives the same id.
    pub build: String,
    /// The module's migrations in the order of application.
    pub migrations: Vec<Migration>,
    /// The documentation of the interfaces that the module exports, and of those whose types they use.
    pub docs: Docs,
}

/// The documentation of a module's exports, by interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Docs(pub BTreeMap<InterfaceName, InterfaceDocs>);

/// The documentation of one interface. Items without documentation are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceDocs {
    /// The documentation of the interface itself. `None` means that it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docs: Option<Arc<str>>,
    /// The documentation of the functions, by the names that components give them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Arc<str>>,
    /// The documentation of the types and of their fields, cases and flags, by name: `draft`, `draft.lines`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, Arc<str>>,
}

/// The reason that the section `watertight:module` of a component can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// The component's bytes can't be parsed as far as the section.
    #[error("the component's sections can't be read: {0}")]
    Unreadable(String),
    /// The component has several sections named `watertight:module`.
    #[error("the component has the section `{SECTION_NAME}` more than once")]
    Twice,
    /// The section is larger than [`MAX_SECTION_BYTES`].
    #[error("the section `{SECTION_NAME}` has {length} bytes; at most {MAX_SECTION_BYTES} are allowed")]
    TooLarge {
        /// The size of the section, in bytes.
        length: usize,
    },
    /// The section is not JSON, or its JSON has another structure than [`ModuleSection`].
    #[error("the section `{SECTION_NAME}` is not JSON of the expected structure: {0}")]
    Json(String),
    /// The section has another version of the format: another release of the host made it.
    #[error("the section `{SECTION_NAME}` has format {found}; this host knows format {FORMAT}")]
    Format {
        /// The version of the format that the section has.
        found: u32,
    },
    /// The language or the build id is empty, too long or not printable.
    #[error("`{key}` in the section `{SECTION_NAME}` is not 1 to {MAX_LABEL_BYTES} printable ASCII characters")]
    Label {
        /// The key in the section: `language` or `build`.
        key: &'static str,
    },
    /// The module has more than [`MAX_MIGRATIONS`] migrations.
    #[error("the section `{SECTION_NAME}` has {count} migrations; at most {MAX_MIGRATIONS} are allowed")]
    TooManyMigrations {
        /// The number of migrations that the section has.
        count: usize,
    },
    /// The checksum of a migration doesn't match the migration's SQL text.
    #[error("the text of migration `{name}` doesn't match its checksum: the migration was changed after the build")]
    Checksum {
        /// The name of the migration.
        name: String,
    },
    /// A migration has a zero byte. SQLite would pass over all that follows it.
    #[error("migration `{name}` has a zero byte, where SQLite would stop reading")]
    ZeroByte {
        /// The name of the migration.
        name: String,
    },
    /// Two migrations have the same name.
    #[error("there are two migrations with the name `{name}`")]
    SameName {
        /// The name of the migrations.
        name: String,
    },
    /// The migrations are not sorted by name.
    #[error("migration `{name}` stands after `{before}`, but migrations must be in the order of their names")]
    Order {
        /// The name of the migration that stands before the one that is out of order.
        before: String,
        /// The name of the migration that is out of order.
        name: String,
    },
    /// A migration has no number, the number of another one, or a lower number than the one before.
    #[error(transparent)]
    Number(#[from] BadNumber),
    /// A migration's name doesn't have the form of a file name that ends with `.sql`.
    #[error("`{name}` is not a valid migration name: write 1 to 128 of a-z, A-Z, 0-9, `_`, `-` and `.`, then `.sql`")]
    MigrationName {
        /// The name of the migration.
        name: String,
    },
}

impl ModuleSection {
    /// Makes the section for a build of `component`, which must not have the section yet. The build id is derived from the component and
    /// from everything in the section.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if the migrations, their number or the texts are not as the section requires.
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
    /// [`SectionError::TooLarge`] if the section exceeds [`MAX_SECTION_BYTES`].
    pub fn append_to(&self, component: &mut Vec<u8>) -> Result<(), SectionError> {
        let json = self.json();
        if json.len() > MAX_SECTION_BYTES {
            return Err(SectionError::TooLarge { length: json.len() });
        }
        CustomSection { name: SECTION_NAME.into(), data: json.into() }.append_to_component(component);
        Ok(())
    }

    /// Finds the section in `component` and checks it. Returns `None` if the component has none.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if the component has several sections of this name, or one that is too large, malformed, of another format or
    /// inconsistent.
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
        // The format is checked first: a section of another format may have other keys.
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
            if migration.sql.contains('\0') {
                return Err(SectionError::ZeroByte { name: name() });
            }
        }
        for pair in self.migrations.windows(2) {
            if pair[0].name == pair[1].name {
                return Err(SectionError::SameName { name: pair[0].name.clone() });
            }
            if pair[0].name > pair[1].name {
                return Err(SectionError::Order { before: pair[0].name.clone(), name: pair[1].name.clone() });
            }
        }
        check_numbers(self.migrations.iter().map(|migration| migration.name.as_str()))?;
        Ok(())
    }

    /// Serializes the section. The same content always gives the same text, because the maps are ordered.
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
    /// Adds the documentation in the section to the exports of `shape`. Documentation of interfaces and functions that the shape doesn't
    /// have is dropped.
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
