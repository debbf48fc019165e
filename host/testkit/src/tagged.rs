//! An application whose answers say which builds made them. Each build has a number, its tag. The module `front` answers with its own tag
//! and the tag of the module `back`, which it calls.
//!
//! A build is assembled from text within a millisecond. Builds with different tags are different components.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use watertight_component::artifact::{Docs, ModuleSection};
use watertight_model::migration::Migration;

use crate::components::component_of;
use crate::host::{self, Host, Launch};
use crate::wire::{Answer, get, once};

const WIT: &str = "
    package tags:app@1.0.0;
    interface back { tag: func() -> u32; }
    interface front {
        /// Returns the own tag, the tag of `back`, and a moment later the tag of `back` again.
        tags: func() -> tuple<u32, u32, u32>;
        /// Does as `tags`, and computes between the two calls.
        compute: func(millis: u32) -> tuple<u32, u32, u32>;
        /// Does as `tags`, and waits between the two calls.
        wait: func(millis: u32) -> tuple<u32, u32, u32>;
        /// Does as `tags`, and takes a request body.
        take: func(number: u32) -> tuple<u32, u32, u32>;
    }
    world front-world { import wasi:clocks/monotonic-clock@0.2.6; import back; export front; }
    world back-world { export back; }
    package wasi:clocks@0.2.6 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.6.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }
    }
    package wasi:io@0.2.6 {
        interface poll { resource pollable { block: func(); } }
    }";

const FRONT: &str = r#"
(module
  (import "wasi:clocks/monotonic-clock@0.2.6" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.6" "[resource-drop]pollable" (func $drop (param i32)))
  (import "tags:app/back@1.0.0" "tag" (func $tag (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func $begin
    (i32.store (i32.const 16) (i32.const {tag}))
    (i32.store (i32.const 20) (call $tag)))
  (func $end (result i32)
    (i32.store (i32.const 24) (call $tag))
    (i32.const 16))
  (func $nanoseconds (param $millis i32) (result i64)
    (i64.mul (i64.extend_i32_u (local.get $millis)) (i64.const 1000000)))
  (func (export "tags:app/front@1.0.0#tags") (result i32) (call $begin) (call $end))
  (func (export "tags:app/front@1.0.0#take") (param i32) (result i32) (call $begin) (call $end))
  (func (export "tags:app/front@1.0.0#compute") (param $millis i32) (result i32)
    (local $until i64) (local $rounds i32)
    (call $begin)
    (local.set $until (i64.add (call $now) (call $nanoseconds (local.get $millis))))
    (loop $outer
      (local.set $rounds (i32.const 100000))
      (loop $inner
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $inner (local.get $rounds)))
      (br_if $outer (i64.lt_u (call $now) (local.get $until))))
    (call $end))
  (func (export "tags:app/front@1.0.0#wait") (param $millis i32) (result i32)
    (local $pollable i32)
    (call $begin)
    (local.set $pollable (call $subscribe (call $nanoseconds (local.get $millis))))
    (call $block (local.get $pollable))
    (call $drop (local.get $pollable))
    (call $end))
  {more})
"#;

const BACK: &str = r#"
(module
  (func (export "tags:app/back@1.0.0#tag") (result i32) (i32.const {tag}))
  {more})
"#;

const ROUTES: &str = r#"
[[route]]
method = "GET"
path   = "/tags"
call   = "front/front.tags"

[[route]]
method = "GET"
path   = "/compute"
call   = "front/front.compute"

[[route]]
method = "GET"
path   = "/wait"
call   = "front/front.wait"

[[route]]
method = "POST"
path   = "/take"
call   = "front/front.take"
body   = "number"
"#;

/// The text of the optional route `/extra`.
const EXTRA: &str = "\n[[route]]\nmethod = \"GET\"\npath = \"/extra\"\ncall = \"front/front.tags\"\n";

fn core(text: &str, tag: u32, more: &str) -> String {
    text.replace("{tag}", &tag.to_string()).replace("{more}", more)
}

/// Returns a build of the module `front` whose tag is `tag`.
pub fn front(tag: u32) -> Vec<u8> {
    component_of(WIT, "front-world", &core(FRONT, tag, ""))
}

/// Returns a build of the module `back` whose tag is `tag`.
pub fn back(tag: u32) -> Vec<u8> {
    component_of(WIT, "back-world", &core(BACK, tag, ""))
}

/// Returns a build of `front` or `back` whose tag is `tag`.
pub fn build(module: &str, tag: u32) -> Vec<u8> {
    if module == "front" { front(tag) } else { back(tag) }
}

/// Returns a build of the module `back` with the text `more` added to its core module.
pub fn back_with(tag: u32, more: &str) -> Vec<u8> {
    component_of(WIT, "back-world", &core(BACK, tag, more))
}

/// Returns a build that lacks the function that a route or a module uses: `tags` of `front` or `tag` of `back` is renamed to `other`.
pub fn build_that_drops(module: &str) -> Vec<u8> {
    let (world, text, function) = match module {
        "front" => ("front-world", FRONT, "tags"),
        _ => ("back-world", BACK, "tag"),
    };
    let wit = match module {
        "front" => WIT.replacen("tags: func()", "other: func()", 1),
        _ => WIT.replacen("tag: func()", "other: func()", 1),
    };
    let exported = |function| format!("tags:app/{module}@1.0.0#{function}\"");
    component_of(&wit, world, &core(text, 0, "").replace(&exported(function), &exported("other")))
}

/// Adds migrations, each a name and its SQL, to a component of the module `module`.
pub fn with_migrations(mut component: Vec<u8>, module: &str, migrations: &[(&str, &str)]) -> Vec<u8> {
    let migrations = migrations.iter().map(|(name, sql)| Migration::new((*name).to_owned(), (*sql).to_owned()));
    let section = ModuleSection::new(&component, module.parse().unwrap(), "wat", migrations.collect(), Docs::default());
    section.unwrap().append_to(&mut component).unwrap();
    component
}

/// The parts of the application that tests vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub front: u32,
    pub back: u32,
    /// Whether each module has a compartment of its own.
    pub apart: bool,
    /// Whether the application has the route `/extra`.
    pub extra: bool,
}

impl Content {
    /// Returns the content that tests start with: the builds with the tags 1 and 2.
    pub fn first(apart: bool) -> Self {
        Self { front: 1, back: 2, apart, extra: false }
    }

    /// Returns the answer that the functions of `front` give with this content.
    pub fn tags(&self) -> serde_json::Value {
        serde_json::json!([self.front, self.back, self.back])
    }
}

/// An application in a temporary folder.
pub struct App {
    folder: TempDir,
    settings: String,
}

impl App {
    /// Creates the application. `settings` is appended to its manifest.
    pub fn new(content: Content, settings: &str) -> Self {
        let app = Self { folder: host::folder(), settings: settings.to_owned() };
        fs::create_dir(app.path().join("routes")).unwrap();
        app.write(content, 0);
        app
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the application in the folder. The number `comment` is written as a comment, which changes the manifest's text but not its
    /// meaning.
    pub fn write(&self, content: Content, comment: u32) {
        let compartments = if content.apart {
            "[compartments.one]\nmodules = [\"front\"]\n[compartments.two]\nmodules = [\"back\"]\n"
        } else {
            "[compartments.both]\nmodules = [\"front\", \"back\"]\n"
        };
        let manifest = format!(
            "# edit {comment}\n[app]\nname = \"tags\"\nroutes = [\"routes/*.toml\"]\n\
             [modules.front]\ncomponent = \"front.wasm\"\ncalls = [\"back\"]\nuses = [\"clocks\"]\n\
             [modules.back]\ncomponent = \"back.wasm\"\nuses = [\"sql\"]\n{compartments}{}\n",
            self.settings
        );
        fs::write(self.path().join("app.toml"), manifest).unwrap();
        let extra = if content.extra { EXTRA } else { "" };
        fs::write(self.path().join("routes/tags.toml"), format!("{ROUTES}{extra}")).unwrap();
        fs::write(self.path().join("front.wasm"), front(content.front)).unwrap();
        fs::write(self.path().join("back.wasm"), back(content.back)).unwrap();
    }

    pub fn launch(&self) -> Launch {
        Launch::app(self.path())
    }
}

/// Sends a `GET` request to the data listener, and returns the answer.
pub fn ask(host: &Host, path: &str) -> Answer {
    once(host.listen(), &get(path)).unwrap()
}

/// Asserts that the host serves this content, and that the generation with this number does so.
#[track_caller]
pub fn serves(host: &Host, generation: u64, content: Content) {
    let answer = ask(host, "/tags").expect(200);
    assert_eq!((answer.generation(), &answer.body), (generation, &content.tags()));
    assert_eq!(ask(host, "/extra").status, if content.extra { 200 } else { 404 });
}
