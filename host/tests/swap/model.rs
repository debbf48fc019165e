//! Property tests of changes and restarts: random sequences, valid and invalid, are compared with a model, a list of the published
//! generations.
//!
//! Clients send requests all the time. Each answer says which builds made it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;
use serde_json::{Value, json};
use watertight_control::state::KEPT_GENERATIONS;
use watertight_model::ids::Digest;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::host::{Host, folder};
use watertight_testkit::tagged::{App, Content, back_with, build, build_that_drops, serves};
use watertight_testkit::wire::Answer;

use crate::traffic::{Ending, Traffic};

/// The number of random sequences that a test runs.
const CASES: u32 = 10;
/// The maximum number of steps of a random sequence.
const STEPS: usize = 16;
/// The number of clients that send requests all the time.
const CLIENTS: usize = 3;
/// The number of refused changes that the host remembers.
const KEPT_REFUSALS: usize = 16;

/// The fault of a build for which the host refuses it.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Truncated,
    CoreModule,
    OtherModules,
    DropsFunction,
    Traps,
}

impl Fault {
    /// Returns the name of a module, a build of the module with this fault, and the code of the expected problem. The module is `module`,
    /// unless only the other one can have the fault.
    fn build(self, module: &str) -> (&'static str, Vec<u8>, &'static str) {
        let (module, other) = if module == "front" { ("front", "back") } else { ("back", "front") };
        let whole = build(module, 0);
        match self {
            Fault::Truncated => (module, whole[..whole.len() - 7].to_vec(), "not-a-component"),
            Fault::CoreModule => (module, wat::parse_str("(module)").unwrap(), "not-a-component"),
            // `back` in place of `front` lacks the functions of the routes. `front` in place of `back` lacks those that `front` calls.
            Fault::OtherModules => (module, build(other, 0), "missing-export"),
            Fault::DropsFunction if module == "front" => (module, build_that_drops(module), "unknown-function"),
            Fault::DropsFunction => (module, build_that_drops(module), "type-mismatch"),
            Fault::Traps => ("back", back_with(0, "(func $boom unreachable) (start $boom)"), "compile"),
        }
    }
}

/// One step of a random sequence.
#[derive(Debug, Clone)]
enum Step {
    /// Swaps a module to a new build.
    Swap {
        front: bool,
    },
    /// Swaps a module to the build that runs.
    SwapSame {
        front: bool,
    },
    /// Swaps a module to its build of an earlier generation.
    SwapOlder {
        front: bool,
        which: prop::sample::Index,
    },
    Refused {
        front: bool,
        fault: Fault,
    },
    UnknownModule,
    RollBack,
    /// Rolls back to the number of an earlier generation, or to one that doesn't exist.
    RollBackTo {
        which: prop::sample::Index,
    },
    /// Changes the application on the disk.
    Edit(Edit),
    Apply {
        dry_run: bool,
    },
    /// Applies another folder, with a new build or with the one that runs.
    ApplyOther {
        new: bool,
    },
    /// Requests a swap and a rollback at the same time.
    Race,
    Restart {
        kill: bool,
        wanted: Wanted,
    },
}

/// Which application the host is told to run at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Newest,
    Published,
    Disk,
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Front,
    Back,
    Place,
    Route,
    Comment,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Truncated),
        Just(Fault::CoreModule),
        Just(Fault::OtherModules),
        Just(Fault::DropsFunction),
        Just(Fault::Traps),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![Just(Edit::Front), Just(Edit::Back), Just(Edit::Place), Just(Edit::Route), Just(Edit::Comment)]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => any::<bool>().prop_map(|front| Step::Swap { front }),
        1 => any::<bool>().prop_map(|front| Step::SwapSame { front }),
        2 => (any::<bool>(), index()).prop_map(|(front, which)| Step::SwapOlder { front, which }),
        3 => (any::<bool>(), fault()).prop_map(|(front, fault)| Step::Refused { front, fault }),
        1 => Just(Step::UnknownModule),
        3 => Just(Step::RollBack),
        3 => index().prop_map(|which| Step::RollBackTo { which }),
        4 => edit().prop_map(Step::Edit),
        3 => any::<bool>().prop_map(|dry_run| Step::Apply { dry_run }),
        2 => any::<bool>().prop_map(|new| Step::ApplyOther { new }),
        2 => Just(Step::Race),
        3 => (any::<bool>(), wanted()).prop_map(|(kill, wanted)| Step::Restart { kill, wanted }),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![3 => Just(Wanted::Newest), 1 => Just(Wanted::Published), 1 => Just(Wanted::Disk)]
}

/// The state that the host must have.
struct Model {
    /// All generations ever published, by number. The host keeps the last [`KEPT_GENERATIONS`] of them.
    published: BTreeMap<u64, Content>,
    /// The problem codes of the refused changes, in order.
    refused: Vec<&'static str>,
    disk: Content,
    /// A number in a comment of the manifest on the disk. It changes with each edit that changes the text but not its meaning.
    comment: u32,
    /// The content of the disk when the last generation was planned, or when an `apply` found it equal to the running one. Comments don't
    /// count.
    record: Content,
    next_tag: u32,
}

impl Model {
    fn current(&self) -> (u64, Content) {
        let (number, content) = self.published.last_key_value().unwrap();
        (*number, *content)
    }

    fn kept(&self) -> Vec<(u64, Content)> {
        let newest = self.published.iter().rev().take(KEPT_GENERATIONS);
        let mut kept: Vec<_> = newest.map(|(number, content)| (*number, *content)).collect();
        kept.reverse();
        kept
    }

    /// Adds a generation with this content to the model, unless the current one has it. Returns whether it did.
    fn publish(&mut self, content: Content) -> bool {
        let (number, current) = self.current();
        if content == current {
            return false;
        }
        self.published.insert(number + 1, content);
        self.record = self.disk;
        true
    }

    /// Models an `apply` of this content. Returns whether it publishes a generation.
    fn apply(&mut self, content: Content) -> bool {
        if content == self.disk {
            self.record = self.disk;
        }
        self.publish(content)
    }

    fn new_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }
}

/// The execution of one random sequence on a host and on the model.
struct SequenceTest<'a> {
    app: App,
    /// An application that no host was started with.
    other: App,
    state: PathBuf,
    host: Option<Host>,
    model: Model,
    traffic: &'a Traffic,
}

impl SequenceTest<'_> {
    fn host(&self) -> &Host {
        self.host.as_ref().unwrap()
    }

    fn operator(&self) -> Operator {
        Operator::of(self.host())
    }

    fn take(&mut self, step: &Step) {
        let name = |front| if front { "front" } else { "back" };
        match step {
            Step::Swap { front } => {
                let tag = self.model.new_tag();
                self.swap(name(*front), tag);
            }
            Step::SwapSame { front } => self.swap(name(*front), tag_of(self.model.current().1, *front)),
            Step::SwapOlder { front, which } => {
                let all: Vec<u32> = self.model.published.values().map(|content| tag_of(*content, *front)).collect();
                self.swap(name(*front), *which.get(&all));
            }
            Step::Refused { front, fault } => {
                let (module, component, code) = fault.build(name(*front));
                let answer = self.operator().swap(module, &component).expect(409);
                assert!(answer.codes().contains(&code), "{fault:?} of {module}: {answer:?}");
                self.model.refused.push(code);
            }
            Step::UnknownModule => {
                let answer = self.operator().swap("nobody", &build("back", 0)).expect(409);
                assert_eq!(answer.codes(), ["unknown-name"]);
                self.model.refused.push("unknown-name");
            }
            Step::RollBack => {
                let kept = self.model.kept();
                let to = kept.iter().rev().nth(1).map(|(_, content)| *content);
                let answer = self.operator().rollback(None);
                self.rolled_back(&answer, to);
            }
            Step::RollBackTo { which } => {
                // The numbers include 0 and one that is too large: the host keeps neither.
                let number = which.index(self.model.published.len() + 2) as u64;
                let to = self.model.kept().into_iter().find(|(kept, _)| *kept == number).map(|(_, content)| content);
                let answer = self.operator().rollback(Some(number));
                self.rolled_back(&answer, to);
            }
            Step::Edit(edit) => self.edit(*edit),
            Step::Apply { dry_run } => {
                let answer = self.operator().apply(self.app.path(), *dry_run).expect(200);
                if *dry_run {
                    assert_eq!(answer.body["published"], false);
                } else {
                    let publishes = self.model.apply(self.model.disk);
                    self.assert_answer(&answer, publishes);
                }
            }
            Step::ApplyOther { new } => {
                let mut content = self.model.current().1;
                if *new {
                    content.front = self.model.new_tag();
                }
                self.other.write(content, 0);
                let answer = self.operator().apply(self.other.path(), false).expect(200);
                let publishes = self.model.apply(content);
                self.assert_answer(&answer, publishes);
            }
            Step::Race => self.race(),
            Step::Restart { kill, wanted } => self.restart(*kill, *wanted),
        }
        self.check();
    }

    fn swap(&mut self, module: &str, tag: u32) {
        let answer = self.operator().swap(module, &build(module, tag)).expect(200);
        let mut content = self.model.current().1;
        *(if module == "front" { &mut content.front } else { &mut content.back }) = tag;
        let publishes = self.model.publish(content);
        self.assert_answer(&answer, publishes);
    }

    fn rolled_back(&mut self, answer: &Answer, to: Option<Content>) {
        match to {
            None => {
                assert_eq!((answer.status, answer.codes()), (409, vec!["unknown-name"]));
                self.model.refused.push("unknown-name");
            }
            Some(content) => {
                let publishes = self.model.publish(content);
                self.assert_answer(answer, publishes);
            }
        }
    }

    /// Asserts that the answer to a change is what the model says. `publishes` is whether the change must publish a generation.
    fn assert_answer(&self, answer: &Answer, publishes: bool) {
        let number = self.model.current().0;
        if publishes {
            assert_eq!(published(answer), number);
            // From now on, requests are answered by this generation or by a later one.
            self.traffic.tell(number);
        } else {
            assert_eq!((answer.status, &answer.body["published"]), (200, &json!(false)), "{answer:?}");
            assert_eq!(answer.body["generation"], number);
            let plan = answer.body["plan"].as_object().unwrap();
            assert!(plan.values().all(|part| *part == json!([])), "{answer:?}");
        }
    }

    fn edit(&mut self, edit: Edit) {
        let tag = self.model.new_tag();
        let model = &mut self.model;
        match edit {
            Edit::Front => model.disk.front = tag,
            Edit::Back => model.disk.back = tag,
            Edit::Place => model.disk.apart = !model.disk.apart,
            Edit::Route => model.disk.extra = !model.disk.extra,
            Edit::Comment => model.comment += 1,
        }
        self.app.write(model.disk, model.comment);
    }

    /// Requests a swap and a rollback at the same time. Each is made or refused, and the history says in which order.
    fn race(&mut self) {
        let (tag, (number, before)) = (self.model.new_tag(), self.model.current());
        let kept = self.model.kept();
        let (one, other) = (self.operator(), self.operator());
        let component = build("back", tag);
        let swap = std::thread::spawn(move || one.swap("back", &component));
        let back = other.rollback(None);
        let swap = swap.join().unwrap();
        let told = self.operator().generations();
        let new: Vec<Value> = told["generations"].as_array().unwrap().clone();
        for one in new.into_iter().filter(|one| one["number"].as_u64() > Some(number)) {
            let content = match one["cause"].as_str().unwrap() {
                "swap" => Content { back: tag, ..self.model.current().1 },
                _ => {
                    // The rollback leads to the generation before the one that was current when it arrived: before the swap, or after it.
                    let to = one["to"].as_u64().unwrap();
                    let previous = kept.iter().rev().nth(1).map(|(number, _)| *number);
                    assert!(Some(to) == previous || to == number, "{one}");
                    assert_eq!(back.body["generation"], one["number"], "{back:?}");
                    self.model.published[&to]
                }
            };
            assert!(self.model.publish(content), "{one}");
            assert_eq!(one["number"], self.model.current().0);
            self.traffic.tell(self.model.current().0);
        }
        if swap.status == 200 {
            assert_eq!(swap.body["published"], true, "{swap:?}");
        } else {
            // A rollback that had nothing to change overtakes the swap as well.
            assert_eq!((swap.status, swap.codes()), (409, vec!["overtaken"]), "{swap:?}");
            assert_eq!(back.status, 200, "{back:?}");
            self.model.refused.push("overtaken");
        }
        if back.status == 409 {
            assert_eq!((back.codes(), kept.len()), (vec!["unknown-name"], 1), "{back:?}, {before:?}");
            self.model.refused.push("unknown-name");
        }
    }

    fn restart(&mut self, kill: bool, wanted: Wanted) {
        self.traffic.open(None);
        let mut host = self.host.take().unwrap();
        if kill {
            host.kill();
        } else {
            host.signal(Signal::TERM);
            assert!(host.wait().success(), "{}", host.log());
        }
        let launch = self.app.launch().state(&self.state);
        let host = match wanted {
            Wanted::Newest => launch,
            Wanted::Published => launch.argument("--published"),
            Wanted::Disk => launch.argument("--apply"),
        };
        let host = host.start();
        // The start resumes the last published generation, unless the disk changed since that generation was planned.
        if wanted == Wanted::Disk || (wanted == Wanted::Newest && self.model.disk != self.model.record) {
            self.model.apply(self.model.disk);
        }
        self.traffic.open(Some(host.listen()));
        self.host = Some(host);
    }

    /// Asserts that the host is in the state that the model says.
    fn check(&self) {
        let (number, content) = self.model.current();
        serves(self.host(), number, content);
        let told = self.operator().generations();
        assert_eq!(told["current"], number);
        let kept: Vec<Value> = self.model.kept().into_iter().map(entry).collect();
        let told_kept = told["generations"].as_array().unwrap().iter();
        let told_kept: Vec<Value> = told_kept
            .map(|one| json!([one["number"], one["modules"]["front"]["digest"], one["modules"]["back"]["digest"]]))
            .collect();
        assert_eq!(told_kept, kept);
        let codes = |refused: &Value| -> Vec<Value> {
            refused["problems"].as_array().unwrap().iter().map(|problem| problem["code"].clone()).collect()
        };
        let told_refused: Vec<_> = told["refused"].as_array().unwrap().iter().map(codes).collect();
        let refused = self.model.refused.iter().rev().take(KEPT_REFUSALS).rev();
        assert_eq!(told_refused.len(), refused.len());
        assert!(told_refused.iter().zip(refused).all(|(told, code)| told.contains(&json!(code))), "{told_refused:?}");
        self.traffic.check(|number| self.model.published.get(&number).map(Content::tags));
    }
}

fn tag_of(content: Content, front: bool) -> u32 {
    if front { content.front } else { content.back }
}

/// Returns a generation of the model in the form in which the host reports it.
fn entry((number, content): (u64, Content)) -> Value {
    let digest = |module, tag| json!(Digest::of(&build(module, tag)));
    json!([number, digest("front", content.front), digest("back", content.back)])
}

fn run_steps(apart: bool, steps: &[Step]) {
    let first = Content::first(apart);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = app.launch().state(&state).start();
    let traffic = Traffic::default();
    traffic.open(Some(host.listen()));
    let model = Model {
        published: [(1, first)].into(),
        refused: Vec::new(),
        disk: first,
        comment: 0,
        record: first,
        next_tag: 1000,
    };
    let other = App::new(first, "");
    let mut test = SequenceTest { app, other, state, host: Some(host), model, traffic: &traffic };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| traffic.ask());
        }
        let _ending = Ending(&traffic);
        for step in steps {
            test.take(step);
        }
    });
    traffic.check(|number| test.model.published.get(&number).map(Content::tags));
    assert!(traffic.count() > 0, "the clients sent no request");
}

#[test]
fn any_sequence_of_changes_is_what_the_history_says() {
    let config = Config { cases: CASES, max_shrink_iters: 24, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), STEPS / 2..=STEPS);
    TestRunner::new(config)
        .run(&(any::<bool>(), steps), |(apart, steps)| {
            run_steps(apart, &steps);
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_oldest_generations_are_forgotten() {
    let new = Step::Swap { front: true };
    let swaps = std::iter::repeat_n(new, KEPT_GENERATIONS + 3);
    let steps: Vec<Step> =
        swaps.chain([Step::Restart { kill: true, wanted: Wanted::Newest }, Step::RollBack, Step::RollBack]).collect();
    run_steps(false, &steps);
}
