//! Any sequence of changes, good and bad, and of restarts, against a model that is a list: what was published, by number.
//!
//! Meanwhile requests never stop, and each answer says which builds made it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;
use serde_json::{Value, json};
use watertight::ids::Digest;
use watertight::state::KEPT_GENERATIONS;

use crate::admin::{Operator, published};
use crate::app::{App, Content, back_with, build, build_that_drops, serves};
use crate::host::{Host, folder};
use crate::traffic::{Ending, Traffic};
use crate::wire::Answer;

/// Sequences that are tried.
const CASES: u32 = 10;
/// Steps of one, at most.
const STEPS: usize = 16;
/// Clients that ask all the time.
const CLIENTS: usize = 3;
/// Refusals that the host remembers.
const KEPT_REFUSALS: usize = 16;

/// Why a build is refused.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Truncated,
    CoreModule,
    OtherModules,
    DropsFunction,
    Traps,
}

impl Fault {
    /// A build of `module` with it, and the code of the problem.
    fn build(self, module: &str) -> (&'static str, Vec<u8>, &'static str) {
        let (module, other) = if module == "front" { ("front", "back") } else { ("back", "front") };
        let whole = build(module, 0);
        match self {
            Fault::Truncated => (module, whole[..whole.len() - 7].to_vec(), "not-a-component"),
            Fault::CoreModule => (module, wat::parse_str("(module)").unwrap(), "not-a-component"),
            // `back` as `front` has no function for the routes, `front` as `back` none for `front`.
            Fault::OtherModules => (module, build(other, 0), "missing-export"),
            Fault::DropsFunction if module == "front" => (module, build_that_drops(module), "unknown-function"),
            Fault::DropsFunction => (module, build_that_drops(module), "type-mismatch"),
            Fault::Traps => ("back", back_with(0, "(func $boom unreachable) (start $boom)"), "compile"),
        }
    }
}

/// One step.
#[derive(Debug, Clone)]
enum Step {
    /// A build that was never seen before.
    Swap {
        front: bool,
    },
    /// The build that runs.
    SwapSame {
        front: bool,
    },
    /// A build of some generation before.
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
    /// To the number of some generation that there was, or of none.
    RollBackTo {
        which: prop::sample::Index,
    },
    /// What stands on the disk changes.
    Edit(Edit),
    Apply {
        dry_run: bool,
    },
    /// What stands elsewhere, with a build that was never seen before or the one that runs.
    ApplyOther {
        new: bool,
    },
    /// A swap and a rollback at once.
    Race,
    Restart {
        kill: bool,
        wanted: Wanted,
    },
}

/// What a start is told to run.
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

/// What the host should be.
struct Model {
    /// By number; all that ever were, of which the last [`KEPT_GENERATIONS`] are kept.
    published: BTreeMap<u64, Content>,
    /// The codes of what was refused.
    refused: Vec<&'static str>,
    disk: Content,
    /// How often the disk's text changed without changing its meaning.
    comment: u32,
    /// What stood on the disk when the last generation was planned, or was found there to be what runs; comments are no part of it.
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

    /// Publishes, unless that is what runs. Says whether it did.
    fn publish(&mut self, content: Content) -> bool {
        let (number, current) = self.current();
        if content == current {
            return false;
        }
        self.published.insert(number + 1, content);
        self.record = self.disk;
        true
    }

    /// What `apply` makes of what it is sent.
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

/// One sequence at work.
struct Story<'a> {
    app: App,
    /// An application that no host was started on.
    other: App,
    state: PathBuf,
    host: Option<Host>,
    model: Model,
    traffic: &'a Traffic,
}

impl Story<'_> {
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
                // One more than there were, and 0: neither is kept.
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
                    self.is_told(&answer, publishes);
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
                self.is_told(&answer, publishes);
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
        self.is_told(&answer, publishes);
    }

    fn rolled_back(&mut self, answer: &Answer, to: Option<Content>) {
        match to {
            None => {
                assert_eq!((answer.status, answer.codes()), (409, vec!["unknown-name"]));
                self.model.refused.push("unknown-name");
            }
            Some(content) => {
                let publishes = self.model.publish(content);
                self.is_told(answer, publishes);
            }
        }
    }

    /// Whether the answer says what the model does.
    fn is_told(&self, answer: &Answer, publishes: bool) {
        let number = self.model.current().0;
        if publishes {
            assert_eq!(published(answer), number);
            // Requests that begin from now on are answered by it, or by a later one.
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

    /// A swap and a rollback that arrive together: each is made or not, and the history says in which order.
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
                    // The generation before the one that was current when it arrived: before the swap, or after it.
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
            // A rollback that had nothing to change overtakes as well.
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
        // What was published last is resumed, unless the disk has something else than when that was planned.
        if wanted == Wanted::Disk || (wanted == Wanted::Newest && self.model.disk != self.model.record) {
            self.model.apply(self.model.disk);
        }
        self.traffic.open(Some(host.listen()));
        self.host = Some(host);
    }

    /// The host is what the model says.
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

/// A generation of the model, as the host tells it.
fn entry((number, content): (u64, Content)) -> Value {
    let digest = |module, tag| json!(Digest::of(&build(module, tag)));
    json!([number, digest("front", content.front), digest("back", content.back)])
}

fn tell(apart: bool, steps: &[Step]) {
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
    let mut story = Story { app, other, state, host: Some(host), model, traffic: &traffic };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| traffic.ask());
        }
        let _ending = Ending(&traffic);
        for step in steps {
            story.take(step);
        }
    });
    traffic.check(|number| story.model.published.get(&number).map(Content::tags));
    assert!(traffic.count() > 0, "nobody asked for anything");
}

#[test]
fn any_sequence_of_changes_is_what_the_history_says() {
    let config = Config { cases: CASES, max_shrink_iters: 24, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), STEPS / 2..=STEPS);
    TestRunner::new(config)
        .run(&(any::<bool>(), steps), |(apart, steps)| {
            tell(apart, &steps);
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
    tell(false, &steps);
}
