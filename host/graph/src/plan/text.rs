//! Writes plans as text: one line for each change.

use std::fmt;

use super::{
    Change, CompartmentChange, DoorChange, GrantChange, MiddlewareChange, ModuleChange, MountChange, Plan, RouteChange,
    SettingChange,
};
use watertight_component::artifact::BuildInfo;
use watertight_model::ids::ModuleName;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Added => "+",
            Change::Removed => "-",
            Change::Changed => "~",
        })
    }
}

impl fmt::Display for ModuleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} module {}", self.change, self.name)?;
        let text = |build: &BuildInfo| match &build.language {
            Some(language) => format!("{} ({language})", build.build),
            None => build.build.clone(),
        };
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from.digest == to.digest => {
                write!(f, ", build {}: other grants or configuration", text(to))?;
            }
            (Some(from), Some(to)) => write!(f, ", build {} in place of {}", text(to), text(from))?,
            (None, Some(build)) | (Some(build), None) => write!(f, ", build {}", text(build))?,
            (None, None) => {}
        }
        for GrantChange { change, key, name } in &self.grants {
            write!(f, "\n    {change} {key} {name}")?;
        }
        for key in &self.settings {
            write!(f, "\n    ~ {key}")?;
        }
        self.migrations.iter().try_for_each(|migration| write!(f, "\n    migration {migration}"))
    }
}

/// Writes one line for each change.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        for module in &self.modules {
            writeln!(f, "{module}")?;
        }
        for CompartmentChange { name, change, modules, settings } in &self.compartments {
            let modules: Vec<&str> = modules.iter().map(ModuleName::as_str).collect();
            match change {
                Change::Removed => writeln!(f, "{change} compartment {name}")?,
                _ => writeln!(f, "{change} compartment {name}, linked: {}", modules.join(", "))?,
            }
            for SettingChange { key, from, to } in settings {
                writeln!(f, "    {key} {to} in place of {from}")?;
            }
        }
        let name = |host: &Option<String>| host.clone().unwrap_or_default();
        for RouteChange { method, host, path, change, call } in &self.routes {
            writeln!(f, "{change} route {method} {}{path}, answered by {call}", name(host))?;
        }
        for MountChange { host, path, change, module } in &self.mounts {
            writeln!(f, "{change} mount {}{path}, answered by {module}", name(host))?;
        }
        for MiddlewareChange { host, path, module, change } in &self.middlewares {
            writeln!(f, "{change} middleware {module} of {}{path}", name(host))?;
        }
        for DoorChange { what, change } in &self.door {
            writeln!(f, "{change} {what}")?;
        }
        write!(f, "{}", self.clients)?;
        for key in &self.restart {
            writeln!(f, "  `{key}` takes effect at the next start of the host")?;
        }
        Ok(())
    }
}
