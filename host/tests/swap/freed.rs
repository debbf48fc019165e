//! Tests, with counts from within the host's process, that Wasmtime's pools and the runtime hold no more resources after many changes of
//! the application than after few.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use watertight_component::profile::Profile;
use watertight_control::application::Host;
use watertight_control::control::{Change, Control, StartPlan, StartSource};
use watertight_control::state::StateFolder;
use watertight_engine::Engines;
use watertight_model::config::{self, Overrides};
use watertight_runtime::runtime::Generation;
use watertight_store::CallContext;
use watertight_testkit::admin::Operator;
use watertight_testkit::host::folder;
use watertight_testkit::tagged::{App, Content, build, build_that_drops, serves};

/// The numbers of generations and of Wasmtime's objects that the process holds.
#[derive(Debug, PartialEq, Eq)]
struct Resources {
    generations: usize,
    stores: u64,
    core_instances: u64,
    memories: usize,
}

struct CountedControl {
    control: Arc<Control>,
    engines: Engines,
    /// Every generation that was ever current, without keeping it alive.
    all: Vec<Weak<Generation>>,
}

impl CountedControl {
    fn start(app: &App, state: &std::path::Path) -> Self {
        let config = config::load(app.path(), &Overrides::default()).unwrap();
        let state = StateFolder::open(state).unwrap();
        let initial =
            StartPlan::find(config, app.path().to_owned(), &Overrides::default(), state, StartSource::Newest).unwrap();
        let engines = Engines::new();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
        let host = Host { engines: engines.clone(), ..Host::with_program(program) };
        let control = tokio::task::block_in_place(|| initial.start(&host).unwrap());
        Self { control: Arc::new(control), engines, all: Vec::new() }
    }

    /// Swaps a module to a build that is refused, then to a new build, and calls the new generation. `number` selects the module and the
    /// build.
    async fn swap(&mut self, number: u32) {
        let module = if number.is_multiple_of(2) { "front" } else { "back" };
        let swap = |component: Vec<u8>| Change::Swap { module: module.parse().unwrap(), component: component.into() };
        self.control.change(swap(build_that_drops(module)), false).await.unwrap_err();
        assert!(self.control.change(swap(build(module, 5000 + number)), false).await.unwrap().published);
        let generation = self.control.runtime().current();
        let target = generation.target(&"front".parse().unwrap(), &"tags:app/front@1.0.0".parse().unwrap(), "tags");
        let call = CallContext::new("test".into(), Instant::now() + Duration::from_secs(10));
        generation.call(target.unwrap(), &[], call).await.unwrap();
        self.all.push(Arc::downgrade(&generation));
    }

    fn held(&self) -> Resources {
        let metrics = self.engines.get(Profile::Reuse).unwrap().pooling_allocator_metrics().unwrap();
        Resources {
            generations: self.all.iter().filter(|generation| generation.strong_count() > 0).count(),
            stores: metrics.component_instances(),
            core_instances: metrics.core_instances(),
            memories: metrics.memories(),
        }
    }
}

#[test]
fn after_many_swaps_as_much_is_held_as_after_few() {
    const FEW: u32 = 3;
    const MANY: u32 = 25;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for apart in [false, true] {
        let app = App::new(Content::first(apart), "");
        let folder = folder();
        runtime.block_on(async {
            let mut counted = CountedControl::start(&app, &folder.path().join("state"));
            for number in 0..FEW {
                counted.swap(number).await;
            }
            // The expected resources: one generation with a warm instance of each compartment.
            let expected = Resources { generations: 1, ..counted.settled().await };
            assert!((1..=2).contains(&expected.stores), "{expected:?}");
            for number in FEW..MANY {
                counted.swap(number).await;
            }
            assert_eq!(counted.settled().await, expected);
            counted.control.close().await;
        });
    }
}

impl CountedControl {
    /// Waits until no generation drains. Returns the resources that are held then.
    async fn settled(&self) -> Resources {
        let start = Instant::now();
        while !self.control.runtime().draining().is_empty() || self.held().generations > 1 {
            assert!(start.elapsed() < Duration::from_secs(30), "still held after 30 s: {:?}", self.held());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last handle of a generation is dropped a moment before its resources are.
        let mut held = self.held();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.held();
            if now == held {
                return now;
            }
            held = now;
        }
    }
}

#[test]
fn the_database_of_a_module_that_is_gone_is_closed_and_opened_again_when_it_is_back() {
    const NAMES: usize = 12;
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let files = || std::fs::read_dir(format!("/proc/{}/fd", host.process())).unwrap().count();
    let more = |names: &[String]| {
        let modules: String = names
            .iter()
            .map(|name| format!("[modules.{name}]\ncomponent = \"back.wasm\"\nuses = [\"sql\"]\n"))
            .collect();
        let manifest = std::fs::read_to_string(app.path().join("app.toml")).unwrap();
        let plain = manifest.split("[modules.new").next().unwrap();
        std::fs::write(app.path().join("app.toml"), format!("{plain}{modules}")).unwrap();
        operator.apply(app.path(), false).expect(200);
    };
    // Each round uses new names, so that no cached file is reused.
    more(&["new-first".to_owned()]);
    let before = files();
    for letter in ('a'..).take(NAMES) {
        more(&[format!("new-{letter}")]);
    }
    // Two more generations may not be freed yet.
    let few = 3 * 12;
    assert!(files() <= before + few, "{before} files were open, then {}", files());
    more(&["new-first".to_owned(), "new-a".to_owned()]);
    serves(&host, NAMES as u64 + 3, Content::first(true));
}
