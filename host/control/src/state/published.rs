//! The records in the history: what a change asked for, who asked, which files were on disk, and which files a generation consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::files::FileStore;
use watertight_component::artifact::BuildInfo;
use watertight_model::config::AppFiles;
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};

/// The most characters that the history keeps of the command that asked for a change.
const MAX_COMMAND: usize = 200;
/// The most lines that the history keeps of a generation's list of changes, and the most characters of one line.
const MAX_CHANGES: usize = 32;
const MAX_CHANGE: usize = 200;

/// The kind of a change, with its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The host started on the files on disk.
    Run,
    /// One module was replaced by another build.
    Swap {
        /// The name of the replaced module.
        module: ModuleName,
    },
    /// A whole application was applied.
    Apply,
    /// The application went back to an earlier generation.
    Rollback {
        /// The generation whose application runs again. 0 if the history keeps no earlier generation.
        to: GenerationNumber,
    },
}

impl Cause {
    /// The name of the kind, as in the history and in metrics.
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
            // Generation 0 stands for "no earlier generation", so the text names none.
            Self::Rollback { to: GenerationNumber(0) } => f.write_str(self.as_str()),
            Self::Rollback { to } => write!(f, "rollback to {to}"),
        }
    }
}

/// The client that asked for a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The address that the request came from. `None` if the host itself started the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The command or program that asked, by the name that it gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Requester {
    /// Records a client. `command` is cut to 200 characters, and its control characters are escaped.
    pub fn new(address: Option<IpAddr>, command: Option<&str>) -> Self {
        Self { address, command: command.map(|command| truncated(command, MAX_COMMAND)) }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.command, &self.address) {
            (Some(command), Some(address)) => write!(f, "{command}, from {address}"),
            (Some(command), None) => f.write_str(command),
            (None, Some(address)) => write!(f, "{address}"),
            (None, None) => f.write_str("unknown"),
        }
    }
}

/// Cuts a text to `most` characters and escapes its control characters. Appends `…` if it cuts.
fn truncated(text: &str, most: usize) -> String {
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

/// The digests of an application's files on disk. Comments and the order of keys in TOML files don't count, so that editing them doesn't
/// make the next start undo what was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The digest of the manifest, the routes and the examples.
    pub files: Digest,
    /// The digest of each module's component.
    pub components: BTreeMap<ModuleName, Digest>,
}

impl DiskRecord {
    /// Computes the record of these configuration files and components.
    pub fn new(files: &AppFiles, components: BTreeMap<ModuleName, Digest>) -> Self {
        let examples: Vec<&String> = files.examples.iter().map(|file| &file.text).collect();
        let bytes = match examples.is_empty() {
            // Applications without examples keep the digests that their histories have.
            true => serde_json::to_vec(&tables(files)),
            false => serde_json::to_vec(&(tables(files), examples)),
        };
        Self { files: Digest::of(&bytes.expect(JSON)), components }
    }

    /// Names what differs between this record and `now`, in words for a person. `None` if nothing differs.
    pub fn describe_difference(&self, now: &Self) -> Option<String> {
        let names: BTreeSet<&ModuleName> = self.components.keys().chain(now.components.keys()).collect();
        let differs = |name: &&ModuleName| self.components.get(*name) != now.components.get(*name);
        let components: Vec<String> =
            names.into_iter().filter(differs).map(|name| format!("the component of `{name}`")).collect();
        let files = (self.files != now.files).then(|| "the manifest, a route or an example".to_owned());
        let all: Vec<String> = files.into_iter().chain(components).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Computes the digest that a history of format 1 records: one digest over configuration files and components.
pub(crate) fn digest_of_format_1(files: &AppFiles, components: &BTreeMap<ModuleName, Digest>) -> Digest {
    Digest::of(&serde_json::to_vec(&(tables(files), components)).expect(JSON))
}

const JSON: &str = "tables, texts and names are JSON";

/// Parses the files as TOML tables. A file that isn't valid TOML counts with its raw text.
fn tables(files: &AppFiles) -> Vec<Result<toml::Table, &String>> {
    let all = std::iter::once(&files.manifest).chain(&files.routes);
    all.map(|file| file.text.parse::<toml::Table>().map_err(|_| &file.text)).collect()
}

/// A generation that is about to be published, as the history records it.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// The change that made the generation.
    pub cause: Cause,
    /// The client that asked for the change, if known.
    pub by: Option<Requester>,
    /// The digest under which the generation's manifest and routes are stored.
    pub configuration: Digest,
    /// The builds of the generation's modules.
    pub modules: BTreeMap<ModuleName, BuildInfo>,
    /// The modules of the generation that have a database.
    pub databases: BTreeSet<ModuleName>,
    /// The files on disk when the change was planned, if they could be read.
    pub disk: Option<DiskRecord>,
    /// The differences from the previous generation, one per line.
    pub changes: Vec<String>,
}

impl NewGeneration {
    /// Makes the record for the history, with the list of changes cut to its limits. `at` is the time, in RFC 3339.
    pub(super) fn record(self, number: GenerationNumber, at: String) -> PublishedGeneration {
        let Self { cause, by, configuration, modules, disk, changes, .. } = self;
        let changes = changes.iter().take(MAX_CHANGES).map(|line| truncated(line, MAX_CHANGE)).collect();
        PublishedGeneration { number, at, cause, by, configuration, modules, disk, changes }
    }
}

/// The history's record of a published generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedGeneration {
    /// The number of the generation.
    pub number: GenerationNumber,
    /// The time at which the generation was published, in RFC 3339.
    pub at: String,
    /// The change that made the generation.
    #[serde(flatten)]
    pub cause: Cause,
    /// The client that asked for the change, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Requester>,
    /// The digest under which the generation's manifest and routes are stored.
    pub configuration: Digest,
    /// The builds of the generation's modules.
    pub modules: BTreeMap<ModuleName, BuildInfo>,
    /// The files on disk when the change was planned, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskRecord>,
    /// The differences from the previous generation, one per line. At most 32 lines are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

impl PublishedGeneration {
    /// Returns the stored files of the generation: paths relative to the state folder, with their digests.
    pub fn files(&self) -> BTreeMap<String, Digest> {
        let component = |build: &BuildInfo| (FileStore::component_name(&build.digest), build.digest);
        let configuration = (FileStore::configuration_name(&self.configuration), self.configuration);
        self.modules.values().map(component).chain([configuration]).collect()
    }
}

/// The history's record of a refused change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedChange {
    /// The time of the refusal, in RFC 3339.
    pub at: String,
    /// The change that was asked for.
    #[serde(flatten)]
    pub cause: Cause,
    /// The client that asked for the change, if recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Requester>,
    /// The problems that caused the refusal, as JSON objects.
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
        let by = Requester::new(Some("127.0.0.1".parse().unwrap()), Some("curl\n2026 forged"));
        assert_eq!(by.to_string(), "curl\\n2026 forged, from 127.0.0.1");
        let long = Requester::new(None, Some(&"é".repeat(1_000))).command.unwrap();
        assert_eq!(long.chars().count(), MAX_COMMAND + 1);
    }

    #[test]
    fn what_differs_on_the_disk_is_named() {
        let files = |text: &str| AppFiles {
            manifest: TextFile { path: "app.toml".into(), text: text.to_owned() },
            routes: Vec::new(),
            examples: Vec::new(),
        };
        let component = |name: &str, text: &str| (name.parse().unwrap(), Digest::of(text.as_bytes()));
        let before = DiskRecord::new(&files("a = 1 # one"), [component("one", "1"), component("two", "2")].into());
        let same = DiskRecord::new(&files("# other\na = 1"), before.components.clone());
        assert_eq!(before.describe_difference(&same), None);
        let now = DiskRecord::new(&files("a = 2"), [component("one", "1"), component("two", "3")].into());
        let words = before.describe_difference(&now).unwrap();
        assert_eq!(words, "the manifest, a route or an example, the component of `two`");
        let gone = DiskRecord { components: [component("one", "1")].into(), ..before.clone() };
        assert_eq!(before.describe_difference(&gone).unwrap(), "the component of `two`");
    }
}
