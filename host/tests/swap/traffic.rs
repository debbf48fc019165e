//! Clients that send requests all the time while the tests change an application. They record the answers of each generation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use watertight_testkit::wire::{Answer, Connection, get};

/// The pause between two requests of a client. It leaves processor time for the host and other tests.
const PAUSE: Duration = Duration::from_millis(1);

/// The state that the clients and the test share.
#[derive(Default)]
pub(crate) struct Traffic {
    /// The host's address, if one runs, and the number of its starts and stops so far.
    host: Mutex<(Option<SocketAddr>, u64)>,
    ended: AtomicBool,
    /// The number of the generation that the last change reported as published.
    told: Mutex<u64>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The different answers that each generation has given. There should be one.
    answers: BTreeMap<u64, Vec<Value>>,
    count: u64,
    faults: Vec<String>,
}

impl Traffic {
    pub(crate) fn open(&self, address: Option<SocketAddr>) {
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        *host = (address, host.1 + 1);
    }

    fn host(&self) -> (Option<SocketAddr>, u64) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, text: String) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).faults.push(text);
    }

    /// Sends requests until the test ends.
    pub(crate) fn ask(&self) {
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
                    // A request that meets the stop of the host may fail.
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

    /// Records that a change reported this generation as published.
    pub(crate) fn tell(&self, generation: u64) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = generation;
    }

    /// Returns the number of answered requests.
    pub(crate) fn count(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Asserts that all answers so far are correct. `tags` returns the expected answer of a generation, or `None` if no such generation was
    /// published.
    pub(crate) fn check(&self, tags: impl Fn(u64) -> Option<Value>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
        for (generation, answers) in &seen.answers {
            let expected = tags(*generation);
            assert_eq!(answers.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>(), "of {generation}");
        }
    }
}

/// A guard that stops the clients when it is dropped, also when a check panics.
pub(crate) struct Ending<'a>(pub(crate) &'a Traffic);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, SeqCst);
    }
}
