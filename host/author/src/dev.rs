//! What an application is made of while its author works on it, and which of it has changed: the part of `watertight dev` that looks.
//!
//! Nothing is built, run or printed here.

mod snapshot;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::build::{Inputs, Packages, inputs};
pub use snapshot::MAX_FILES;
use snapshot::Snapshot;
pub use watch::Watcher;
use watertight_model::config::{self, AppConfig, AppFiles, ComponentSource, Overrides, SecretSource};
use watertight_model::problem::Problems;

/// Files that tools change while they build.
const LOCKS: [&str; 3] = ["Cargo.lock", "package-lock.json", "go.sum"];

/// After so many builds in a row that a file began, and during each of which it changed again, the file counts as written by its build.
pub const MAX_SELF_BUILDS: u32 = 2;

/// An application's files.
pub struct Sources {
    app: PathBuf,
    overrides: Overrides,
    packages: Packages,
    /// What each module folder is made of.
    modules: BTreeMap<PathBuf, Inputs>,
    /// What the application is made of beside those.
    application: Inputs,
    /// The manifest and the routes as they were last read without a problem.
    files: AppFiles,
    seen: Snapshot,
    /// What was there when the last build ended.
    after_build: Snapshot,
    /// The files that changed while they were being built, with the builds in a row that they began and that changed them again.
    during_builds: BTreeMap<PathBuf, u32>,
    /// The files that builds write: what a build changes of them is no news.
    generated: BTreeSet<PathBuf>,
}

/// What a look found.
#[derive(Debug)]
pub struct Look {
    /// The files that have changed.
    pub changed: Vec<PathBuf>,
    /// The module folders that these are part of, and those that the manifest names now and did not before.
    pub modules: BTreeSet<PathBuf>,
    /// The manifest and the routes; what is wrong with them.
    pub config: Result<AppConfig, Problems>,
    /// Whether there is anything to do.
    pub is_news: bool,
}

impl Sources {
    /// The sources of the application at `app`. Nothing of them was seen: to the first look all is new.
    pub fn new(app: PathBuf, overrides: Overrides) -> Self {
        Self {
            app,
            overrides,
            packages: Packages::default(),
            modules: BTreeMap::new(),
            application: Inputs::default(),
            files: AppFiles::default(),
            seen: Snapshot::default(),
            after_build: Snapshot::default(),
            during_builds: BTreeMap::new(),
            generated: BTreeSet::new(),
        }
    }

    /// Finds what has changed since the last look. Blocks.
    pub fn look(&mut self) -> Look {
        let config = config::load(&self.app, &self.overrides);
        let new_files = config.as_ref().is_ok_and(|config| config.files != self.files);
        let now = Snapshot::take(&self.all(), &self.seen);
        let mut changed = now.changed_since(&self.seen);
        for file in changed.iter().filter(|file| !now.has_same(&self.after_build, file)) {
            // Changed since the last build ended: no build wrote that.
            self.during_builds.remove(file);
            self.generated.remove(file);
        }
        let mut modules = parts_of(&self.modules, &changed);
        if new_files || changed.iter().any(|file| decides_inputs(file)) {
            if changed.iter().any(|file| file.ends_with("Cargo.toml")) {
                self.packages = Packages::default();
            }
            let before = self.modules.clone();
            self.find_inputs(config.as_ref().ok());
            modules.extend(parts_of(&self.modules, &changed));
            modules.extend(
                self.modules.iter().filter(|(folder, now)| before.get(*folder) != Some(now)).map(|(f, _)| f.clone()),
            );
            modules.retain(|folder| self.modules.contains_key(folder));
            // What is looked at for the first time was not changed; what decided that it is looked at was.
            self.seen = Snapshot::take(&self.all(), &now);
            if let (true, Ok(config)) = (changed.is_empty(), &config) {
                changed = differing(&self.files, &config.files);
            }
        } else {
            self.seen = now;
        }
        if let Ok(config) = &config {
            self.files = config.files.clone();
        }
        Look { is_news: !changed.is_empty(), changed, modules, config }
    }

    /// Notes what a build changed; `look` is what began it. What tools changed of files that are theirs is not news, nor what a build
    /// writes into its own sources. Returns the files that count as written by their builds from now on.
    ///
    /// A file that its author saves during a build looks the same once: so one more build follows, and the file is passed by only when that
    /// build changes it again, and so on [`MAX_SELF_BUILDS`] times. Saved while nothing is built, it is the author's again.
    pub fn built(&mut self, look: &Look) -> Vec<PathBuf> {
        let now = Snapshot::take(&self.all(), &self.seen);
        let changed: BTreeSet<_> = now.changed_since(&self.seen).into_iter().filter(|file| !is_lock(file)).collect();
        let by_itself = look.changed.iter().all(|file| self.during_builds.contains_key(file));
        let mut during = BTreeMap::new();
        let mut found = Vec::new();
        for file in changed.iter().filter(|file| !self.generated.contains(*file)) {
            let before = self.during_builds.get(file).filter(|_| by_itself && look.changed.contains(file));
            let builds = before.map_or(0, |builds| builds + 1);
            if builds >= MAX_SELF_BUILDS {
                found.push(file.clone());
            } else {
                during.insert(file.clone(), builds);
            }
        }
        self.generated.extend(found.iter().cloned());
        self.during_builds = during;
        let is_generated = |path: &Path| is_lock(path) || self.generated.contains(path);
        self.seen.adopt(&now, is_generated);
        self.after_build = now;
        found
    }

    /// What Cargo has said of packages.
    pub fn packages(&self) -> &Packages {
        &self.packages
    }

    /// The folders to watch, with the number that tells one from another of its name.
    pub fn folders(&self) -> &BTreeMap<PathBuf, u64> {
        self.seen.folders()
    }

    /// Whether there are more than [`MAX_FILES`].
    pub fn are_too_many(&self) -> bool {
        self.seen.is_cut_off()
    }

    /// A file's path for people: from the workspace, or as it is.
    pub fn short<'a>(&self, file: &'a Path, config: &AppConfig) -> &'a Path {
        file.strip_prefix(&config.workspace).or_else(|_| file.strip_prefix(&config.root)).unwrap_or(file)
    }

    fn all(&self) -> Inputs {
        let mut all = self.application.clone();
        for module in self.modules.values() {
            all.folders.extend(module.folders.iter().cloned());
            all.files.extend(module.files.iter().cloned());
        }
        all
    }

    /// Finds what everything is made of. Without a configuration the modules are those that were there before.
    fn find_inputs(&mut self, config: Option<&AppConfig>) {
        let Some(config) = config else { return };
        let (mut folders, mut files) = (BTreeSet::new(), BTreeSet::from([config.manifest.clone()]));
        files.extend(config.files.routes.iter().map(|route| route.path.clone()));
        for module in config.modules.values() {
            match &module.component.value {
                ComponentSource::Folder { folder, .. } => drop(folders.insert(folder.clone())),
                ComponentSource::File(file) => drop(files.insert(file.clone())),
            }
            let secrets = module.secrets.values().filter_map(|secret| match &secret.value {
                SecretSource::File(file) => Some(file.clone()),
                SecretSource::Variable(_) => None,
            });
            files.extend(secrets);
        }
        self.application = Inputs { folders: BTreeSet::new(), files };
        self.modules = folders
            .into_iter()
            .map(|folder| (folder.clone(), inputs(&folder, &config.workspace, &mut self.packages)))
            .collect();
    }
}

/// The files that are in one and not, or with another text, in the other.
fn differing(before: &AppFiles, now: &AppFiles) -> Vec<PathBuf> {
    let all = |files: &AppFiles| -> Vec<_> { std::iter::once(&files.manifest).chain(&files.routes).cloned().collect() };
    let (before, now) = (all(before), all(now));
    let new = now.iter().filter(|file| !before.contains(file));
    let gone = before.iter().filter(|file| now.iter().all(|now| now.path != file.path));
    // Before the first look there was a manifest without a name.
    new.chain(gone).map(|file| file.path.clone()).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// The modules that any of these files is part of.
fn parts_of(modules: &BTreeMap<PathBuf, Inputs>, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let has = |inputs: &Inputs| {
        files
            .iter()
            .any(|file| inputs.files.contains(file) || inputs.folders.iter().any(|folder| file.starts_with(folder)))
    };
    modules.iter().filter(|(_, inputs)| has(inputs)).map(|(folder, _)| folder.clone()).collect()
}

fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| LOCKS.iter().any(|lock| name == *lock))
}

/// Whether a file decides what modules are made of.
fn decides_inputs(file: &Path) -> bool {
    is_toml(file) || file.extension().is_some_and(|extension| extension == "wit")
}

fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

#[cfg(test)]
mod tests;
