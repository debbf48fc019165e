//! The setups in which the end-to-end tests run an application: in which compartments its modules stand, in which language one of them is
//! written, and whether one of them owns its routes.

use std::fs;
use std::path::Path;

use crate::app::App;
use crate::host::{Launch, component, copy_with_builds};

/// How the modules of an application are distributed over compartments, if its manifest does not say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The host's default: pure modules share a compartment.
    Together,
    /// Each module has a compartment of its own.
    Apart,
    /// The first module by name has a compartment of its own. All other modules share one.
    Mixed,
}

impl Placement {
    /// Returns the manifest's tables of compartments for this placement. `modules` are the names of the modules, sorted.
    fn compartments(self, modules: &[String]) -> String {
        let (apart, together) = match (self, modules) {
            (Self::Apart, modules) => (modules, &[][..]),
            (Self::Mixed, [_, _, ..]) => modules.split_at(1),
            _ => return String::new(),
        };
        let alone = apart.iter().map(|module| format!("[compartments.{module}-alone]\nmodules = [{module:?}]\n"));
        let others = if together.is_empty() {
            String::new()
        } else {
            format!("[compartments.others]\nmodules = {together:?}\n")
        };
        alone.collect::<String>() + &others
    }

    /// Adds this placement to the manifest of the application in `folder`. Modules that the manifest itself places stay there.
    fn apply(self, folder: &Path) {
        let file = folder.join("app.toml");
        let text = fs::read_to_string(&file).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let compartments = manifest.get("compartments").and_then(toml::Value::as_table);
        let placed: Vec<&str> = compartments
            .into_iter()
            .flat_map(toml::Table::values)
            .flat_map(|compartment| compartment["modules"].as_array().unwrap())
            .map(|module| module.as_str().unwrap())
            .collect();
        let modules = manifest["modules"].as_table().unwrap().keys();
        let mut names: Vec<String> = modules.filter(|name| !placed.contains(&name.as_str())).cloned().collect();
        names.sort();
        fs::write(&file, format!("{text}\n{}", self.compartments(&names))).unwrap();
    }
}

/// A setup of the shop, or of another application with several modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub placement: Placement,
    /// The name of the component that the shop runs as its module of notifications.
    notifications: &'static str,
    /// The name of the component that the shop runs as its module of orders.
    orders: &'static str,
    /// The name of the component that the shop runs as its module of payments.
    payments: &'static str,
}

impl Setup {
    /// The setup of the shop's own manifest: all modules share a compartment, and all are written in Rust.
    pub const TOGETHER: Self =
        Self { placement: Placement::Together, notifications: "notifications", orders: "orders", payments: "payments" };
    /// Each module has a compartment of its own.
    pub const APART: Self = Self { placement: Placement::Apart, ..Self::TOGETHER };
    /// The first module by name has a compartment of its own.
    pub const MIXED: Self = Self { placement: Placement::Mixed, ..Self::TOGETHER };
    /// The shop's module of notifications is written in Go.
    pub const GO: Self = Self { notifications: "notifications-go", ..Self::TOGETHER };
    /// The shop's module of notifications is written in JavaScript.
    pub const JAVASCRIPT: Self = Self { notifications: "notifications-js", ..Self::TOGETHER };
    /// The shop's modules of notifications and of payments are written in Python.
    pub const PYTHON: Self = Self { notifications: "notifications-py", payments: "payments-py", ..Self::TOGETHER };
    /// The shop's module of orders owns its routes, as a handler of `wasi:http` 0.2.
    pub const OWNED: Self = Self { orders: "orders-http", ..Self::TOGETHER };
    /// The shop's module of orders owns its routes, as a handler of `wasi:http` 0.3. The host gives it a compartment of its own.
    pub const OWNED_P3: Self = Self { orders: "orders-http-p3", ..Self::TOGETHER };

    /// Returns whether the shop's module of orders owns its routes.
    pub fn owns_routes(self) -> bool {
        matches!(self, Self::OWNED | Self::OWNED_P3)
    }

    /// Returns the name of the component that the shop runs as its module of orders.
    pub fn orders(self) -> &'static str {
        self.orders
    }

    /// Creates the settings for starting a host with the shop in this setup.
    pub fn shop(self) -> Launch {
        if self == Self::TOGETHER { Launch::shop() } else { Launch::copy(self.shop_with("").into_folder()) }
    }

    /// Creates a copy of the shop in this setup. `settings` is appended to the copy's manifest.
    ///
    /// # Panics
    ///
    /// If a component of the shop was not built, or if `settings` puts modules into compartments.
    pub fn shop_with(self, settings: &str) -> App {
        let builds = [("notifications", self.notifications), ("orders", self.orders), ("payments", self.payments)];
        builds.iter().for_each(|(_, build)| drop(component(build)));
        self.place(App::of(copy_with_builds(&builds, settings)))
    }

    /// Puts the modules of another application than the shop into the compartments of this setup.
    ///
    /// # Panics
    ///
    /// If the application's manifest puts the modules into compartments itself.
    pub fn place(self, app: App) -> App {
        self.placement.apply(app.path());
        app
    }
}
