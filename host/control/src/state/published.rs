//! What the history records of one change: what was asked for and by whom, what stood on the disk, and what a generation is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use watertight_component::artifact::Build;
use watertight_model::config::AppFiles;
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};

/// The most characters that are kept of the command that asked for a change.
const MAX_COMMAND: usize = 200;
/// The most lines that are kept of what a change changed, and the most characters of one.
const MAX_CHANGES: usize = 32;
const MAX_CHANGE: usize = 200;

/// What a change was asked for as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// A start of the host, on what stood on the disk.
    Run,
    /// Another build of one module.
    Swap {
        /// The module.
        module: ModuleName,
    },
    /// A whole application.
    Apply,
    /// Going back.
    Rollback {
        /// To what this generation ran.
        to: GenerationNumber,
    },
}

impl Cause {
    /// The word for its kind.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Swap { .. } => "swap",
            Self::Apply => "apply",
            Self::Rollback { .. } => "rollback",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run | Self::Apply => f.write_str(self.as_str()),
            Self::Swap { module } => write!(f, "swap of {module}"),
            // There was none to go back to.
            Self::Rollback { to: GenerationNumber(0) } => f.write_str(self.as_str()),
            Self::Rollback { to } => write!(f, "rollback to {to}"),
        }
    }
}

/// Who asked for a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The address that the request came from; none for the host's own start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The command or program that asked, as it names itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Asker {
    /// Whoever asked from `address` with `command`, which is cut to 200 characters; control characters are escaped.
    pub fn new(address: Option<IpAddr>, command: Option<&str>) -> Self {
        Self { address, command: command.map(|command| clipped(command, MAX_COMMAND)) }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.command, &self.address) {
            (Some(command), Some(address)) => write!(f, "{command}, from {address}"),
            (Some(command), None) => f.write_str(command),
            (None, Some(address)) => write!(f, "{address}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

/// The text on one line, with a mark where it was cut.
fn clipped(text: &str, most: usize) -> String {
    let mut clipped: String = text.chars().take(most).flat_map(escaped).collect();
    if text.chars().nth(most).is_some() {
        clipped.push('…');
    }
    clipped
}

fn escaped(char: char) -> impl Iterator<Item = char> {
    let (plain, escape) = if char.is_control() { (None, Some(char.escape_default())) } else { (Some(char), None) };
    plain.into_iter().chain(escape.into_iter().flatten())
}

/// What stands on the disk of an application: digests of its configuration and of each component. Comments and the order of keys are no
/// part of it: who edits those doesn't want a start to undo what was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDisk {
    /// The digest of the manifest and the routes.
    pub files: Digest,
    /// The digest of each module's component.
    pub components: BTreeMap<ModuleName, Digest>,
}

impl OnDisk {
    /// The record of these files and components.
    pub fn new(files: &AppFiles, components: BTreeMap<ModuleName, Digest>) -> Self {
        Self { files: Digest::of(&serde_json::to_vec(&tables(files)).expect(JSON)), components }
    }

    /// What of `now` is different from this record, in words; none where nothing is.
    pub fn difference(&self, now: &Self) -> Option<String> {
        let names: BTreeSet<&ModuleName> = self.components.keys().chain(now.components.keys()).collect();
        let differs = |name: &&ModuleName| self.components.get(*name) != now.components.get(*name);
        let components: Vec<String> =
            names.into_iter().filter(differs).map(|name| format!("the component of `{name}`")).collect();
        let files = (self.files != now.files).then(|| "the manifest or a route".to_owned());
        let all: Vec<String> = files.into_iter().chain(components).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// What the histories of format 1 have of files and components: one digest of both.
pub(crate) fn digest_of_format_1(files: &AppFiles, components: &BTreeMap<ModuleName, Digest>) -> Digest {
    Digest::of(&serde_json::to_vec(&(tables(files), components)).expect(JSON))
}

const JSON: &str = "tables, texts and names are JSON";

/// The files as tables. They were read as TOML before; what isn't counts as it is written.
fn tables(files: &AppFiles) -> Vec<Result<toml::Table, &String>> {
    let all = std::iter::once(&files.manifest).chain(&files.routes);
    all.map(|file| file.text.parse::<toml::Table>().map_err(|_| &file.text)).collect()
}

/// What is recorded of a generation when it is published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What was asked for.
    pub cause: Cause,
    /// Who asked.
    pub by: Option<Asker>,
    /// The digest that the manifest and routes are kept under.
    pub configuration: Digest,
    /// Its modules.
    pub modules: BTreeMap<ModuleName, Build>,
    /// Its modules that have a database.
    pub databases: BTreeSet<ModuleName>,
    /// What stood on the disk when the change was planned, where that is known.
    pub disk: Option<OnDisk>,
    /// What it changed, one line each.
    pub changes: Vec<String>,
}

impl Publication {
    /// The record of it, bounded.
    pub(super) fn record(self, number: GenerationNumber, at: String) -> Published {
        let Self { cause, by, configuration, modules, disk, changes, .. } = self;
        let changes = changes.iter().take(MAX_CHANGES).map(|line| clipped(line, MAX_CHANGE)).collect();
        Published { number, at, cause, by, configuration, modules, disk, changes }
    }
}

/// A published generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number.
    pub number: GenerationNumber,
    /// When it was published, RFC 3339.
    pub at: String,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
    /// Who asked for it, where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// Its manifest and routes.
    pub configuration: Digest,
    /// Its modules.
    pub modules: BTreeMap<ModuleName, Build>,
    /// What stood on the disk when it was planned, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<OnDisk>,
    /// What it changed, one line each; no more than 32 of them are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

impl Published {
    /// The files that it is made of, by their names within the state folder.
    pub fn files(&self) -> BTreeMap<String, Digest> {
        let component = |build: &Build| (Kept::component_name(&build.digest), build.digest);
        let configuration = (Kept::configuration_name(&self.configuration), self.configuration);
        self.modules.values().map(component).chain([configuration]).collect()
    }
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When, RFC 3339.
    pub at: String,
    /// What was asked for.
    #[serde(flatten)]
    pub cause: Cause,
    /// Who asked for it, where that was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// Why it was refused.
    pub problems: Vec<serde_json::Value>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use watertight_model::config::TextFile;

    #[test]
    fn going_back_where_there_is_nothing_names_no_generation() {
        let told = |to| Cause::Rollback { to: GenerationNumber(to) }.to_string();
        assert_eq!((told(0), told(2)), ("rollback".to_owned(), "rollback to 2".to_owned()));
    }

    #[test]
    fn an_asker_is_one_short_line() {
        let by = Asker::new(Some("127.0.0.1".parse().unwrap()), Some("curl\n2026 forged"));
        assert_eq!(by.to_string(), "curl\\n2026 forged, from 127.0.0.1");
        let long = Asker::new(None, Some(&"é".repeat(1_000))).command.unwrap();
        assert_eq!(long.chars().count(), MAX_COMMAND + 1);
    }

    #[test]
    fn what_differs_on_the_disk_is_named() {
        let files = |text: &str| AppFiles {
            manifest: TextFile { path: "app.toml".into(), text: text.to_owned() },
            routes: Vec::new(),
        };
        let component = |name: &str, text: &str| (name.parse().unwrap(), Digest::of(text.as_bytes()));
        let before = OnDisk::new(&files("a = 1 # one"), [component("one", "1"), component("two", "2")].into());
        let same = OnDisk::new(&files("# other\na = 1"), before.components.clone());
        assert_eq!(before.difference(&same), None);
        let now = OnDisk::new(&files("a = 2"), [component("one", "1"), component("two", "3")].into());
        let words = before.difference(&now).unwrap();
        assert_eq!(words, "the manifest or a route, the component of `two`");
        let gone = OnDisk { components: [component("one", "1")].into(), ..before.clone() };
        assert_eq!(before.difference(&gone).unwrap(), "the component of `two`");
    }
}
