//! What the door says to browsers besides answers: rules for pages of other origins, and added headers. And what it must find out of
//! requests.

use std::cmp::Reverse;
use std::sync::Arc;

use super::middleware::is_below;
use watertight_model::config::{AppConfig, CorsConfig, CorsRules, DoorConfig, HostPattern};
use watertight_model::ids::CapabilityName;

/// What the door says to browsers, for a whole application.
#[derive(Debug, Default)]
pub struct Door {
    /// The rules for pages of other origins. Those that hold for a request are before others that hold for it, too.
    cors: Vec<DoorRules>,
    /// What `[http]` says.
    pub config: DoorConfig,
    /// Whether a module may ask for the request that its call belongs to: the capability `context`.
    pub has_context: bool,
    /// Whether anything is for a host.
    has_hosts: bool,
}

/// Rules for pages of other origins.
#[derive(Debug)]
struct DoorRules {
    /// The name of the host for which the rules hold. `None` means every host.
    host: Option<HostPattern>,
    /// The path below which the rules hold.
    path: Arc<str>,
    rules: CorsRules,
}

impl Door {
    /// Creates the door of an application.
    pub(super) fn new(config: &AppConfig) -> Self {
        let rules = |one: &CorsConfig| DoorRules {
            host: one.host.clone(),
            path: one.path.value.as_str().into(),
            rules: one.rules.clone(),
        };
        let mut cors: Vec<DoorRules> = config.cors.iter().map(rules).collect();
        // Exact names, then those with `*.`, the longest first, then all hosts; among each, the longest path.
        cors.sort_by_key(|DoorRules { host, path, .. }| {
            let host = host.as_ref().map(|host| (host.suffix().is_some(), Reverse(host.as_str().len())));
            (host.is_none(), host, Reverse(path.len()))
        });
        let has_context = config.modules.values().any(|module| module.uses.contains_key(CapabilityName::CONTEXT));
        let has_hosts = config.routes.iter().any(|route| route.host.is_some())
            || config.mounts.iter().any(|mount| mount.host.is_some())
            || config.middlewares.iter().any(|middleware| middleware.host.is_some())
            || config.cors.iter().any(|cors| cors.host.is_some());
        Self { cors, config: config.door.clone(), has_context, has_hosts }
    }

    /// Whether it must be found out of a request who its client is, and for which host it is.
    pub fn needs_client(&self) -> bool {
        self.has_context || self.has_hosts || !self.config.trusted_proxies.is_empty()
    }

    /// Whether the door has rules for pages of other origins.
    pub fn has_cors(&self) -> bool {
        !self.cors.is_empty()
    }

    /// Returns the rules for a host and a path. The path must be percent-encoded only where necessary. The host must be in lower case and
    /// have no port.
    pub fn cors(&self, host: Option<&str>, path: &str) -> Option<&CorsRules> {
        let is_for = |own: &HostPattern| host.is_some_and(|host| own.matches(host));
        let holds = |rules: &&DoorRules| rules.host.as_ref().is_none_or(is_for) && is_below(&rules.path, path);
        self.cors.iter().find(holds).map(|found| &found.rules)
    }
}
