//! What the door says to browsers besides answers: rules for pages of other origins, and added headers. And what it must find out of requests.

use std::sync::Arc;

use super::middleware::is_below;
use watertight_model::config::{AppConfig, CorsRules, DoorConfig};
use watertight_model::ids::CapabilityName;

/// What the door says to browsers, for a whole application.
#[derive(Debug, Default)]
pub struct Door {
    /// The rules for pages of other origins, each with the path below which they hold. The longest path stands first.
    cors: Vec<(Arc<str>, CorsRules)>,
    /// What `[http]` says.
    pub config: DoorConfig,
    /// Whether a module may ask for the request that its call belongs to: the capability `context`.
    pub has_context: bool,
}

impl Door {
    /// Creates the door of an application.
    pub(super) fn new(config: &AppConfig) -> Self {
        let mut cors: Vec<(Arc<str>, CorsRules)> =
            config.cors.iter().map(|one| (one.path.value.as_str().into(), one.rules.clone())).collect();
        cors.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let has_context = config.modules.values().any(|module| module.uses.contains_key(CapabilityName::CONTEXT));
        Self { cors, config: config.door.clone(), has_context }
    }

    /// Whether the door has rules for pages of other origins.
    pub fn has_cors(&self) -> bool {
        !self.cors.is_empty()
    }

    /// Returns the rules for a path. The path must be percent-encoded only where necessary.
    pub fn cors(&self, path: &str) -> Option<&CorsRules> {
        self.cors.iter().find(|(prefix, _)| is_below(prefix, path)).map(|(_, rules)| rules)
    }
}
