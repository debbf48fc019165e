//! Any sequence of changes, good and bad, and of restarts, against a model that is a list: what was published, by number.
//!
//! Meanwhile requests never stop, and each answer says which builds made it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;
use serde_json::{Value, json};
use watertight::ids::Digest;
use watertight::state::KEPT_GENERATIONS;

use crate::admin::{Operator, published};
use crate::app::{App, Content, back_with, build, build_that_drops, serves};
use crate::host::{Host, folder};
use crate::wire::{Answer, Connection, get};

/// Sequences that are tried.
const CASES: u32 = 10;
/// Steps of one, at most.
const STEPS: usize = 16;
/// Clients that ask all the time.
const CLIENTS: usize = 3;
/// Between two requests of one: the machine does other things, too.
const PAUSE: Duration = Duration::from_millis(1);
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
    Restart {
        kill: bool,
    },
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
        2 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ]
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
    /// What stood on the disk at the last `run` or `apply`; comments are no part of it.
    origin: Content,
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
        true
    }

    fn new_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }
}

/// What the clients know.
#[derive(Default)]
struct Traffic {
    /// Where the host listens, and how often it was started or stopped before.
    host: Mutex<(Option<SocketAddr>, u64)>,
    ended: AtomicBool,
    /// The generation that the last change was told to have published.
    told: Mutex<u64>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// What each generation answered.
    answers: BTreeMap<u64, Vec<Value>>,
    count: u64,
    faults: Vec<String>,
}

impl Traffic {
    fn open(&self, address: Option<SocketAddr>) {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        *host = (address, host.1 + 1);
    }

    fn host(&self) -> (Option<SocketAddr>, u64) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, text: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).faults.push(text);
    }

    /// Asks all the time.
    fn ask(&self) {
        let mut connection: Option<(Connection, u64)> = None;
        let mut last = 0;
        while !self.ended.load(SeqCst) {
            std::thread::sleep(PAUSE);
            let (Some(address), version) = self.host() else { continue };
            if connection.as_ref().is_none_or(|(_, opened)| *opened != version) {
                connection = Connection::open(address).ok().map(|connection| (connection, version));
                last = 0;
            }
            let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = match &mut connection {
                Some((connection, _)) => connection.exchange(&get("/tags")),
                None => Err(std::io::ErrorKind::ConnectionRefused.into()),
            };
            match answer {
                Ok(answer) => self.note(&answer, told.max(last), &mut last),
                Err(error) => {
                    connection = None;
                    // Who asks while the host goes down gets no answer.
                    if self.host().1 == version {
                        self.fault(format!("a request failed: {error}"));
                    }
                }
            }
        }
    }

    fn note(&self, answer: &Answer, at_least: u64, last: &mut u64) {
        if answer.status != 200 {
            return self.fault(format!("{answer:?}"));
        }
        let generation = answer.generation();
        if generation < at_least {
            self.fault(format!("generation {generation} answered after {at_least} was told"));
        }
        *last = generation;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        let answers = seen.answers.entry(generation).or_default();
        if !answers.contains(&answer.body) {
            answers.push(answer.body.clone());
        }
    }

    /// Checks everything that was answered so far.
    fn check(&self, model: &Model) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
        for (generation, answers) in &seen.answers {
            let expected = model.published.get(generation).map(Content::tags);
            assert_eq!(answers.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "of {generation}");
        }
    }
}

/// Ends the clients, also where a check fails.
struct Ending<'a>(&'a Traffic);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, SeqCst);
    }
}

/// One sequence at work.
struct Story<'a> {
    app: App,
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
                    self.model.origin = self.model.disk;
                    let publishes = self.model.publish(self.model.disk);
                    self.is_told(&answer, publishes);
                }
            }
            Step::Restart { kill } => self.restart(*kill),
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
            *self.traffic.told.lock().unwrap_or_else(PoisonError::into_inner) = number;
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

    fn restart(&mut self, kill: bool) {
        self.traffic.open(None);
        let mut host = self.host.take().unwrap();
        if kill {
            host.kill();
        } else {
            host.signal(Signal::TERM);
            assert!(host.wait().success(), "{}", host.log());
        }
        let host = self.app.launch().state(&self.state).start();
        // What was published last is resumed, unless the disk has changed since the last `run` or `apply`.
        if self.model.disk != self.model.origin {
            self.model.origin = self.model.disk;
            self.model.publish(self.model.disk);
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
        self.traffic.check(&self.model);
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
        origin: first,
        next_tag: 1000,
    };
    let mut story = Story { app, state, host: Some(host), model, traffic: &traffic };
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| traffic.ask());
        }
        let _ending = Ending(&traffic);
        for step in steps {
            story.take(step);
        }
    });
    traffic.check(&story.model);
    let seen = traffic.seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(seen.count > 0, "nobody asked for anything");
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
    let steps: Vec<Step> = swaps.chain([Step::Restart { kill: true }, Step::RollBack, Step::RollBack]).collect();
    tell(false, &steps);
}
