//! Notes on compartments that allow more calls at once than their engine has room for.
//!
//! Such a call is refused, as when its queue is full. It does not wait in the queue, because the module's own limit lets it in.

use std::num::NonZeroU32;

use super::{AppGraph, Compartment};
use watertight_component::profile::Profile;
use watertight_model::config::AppConfig;
use watertight_model::problem::{Code, Problem};

/// Returns a note for each compartment whose `limits.calls` needs more instances than its engine has room for.
pub fn room_notes(config: &AppConfig, graph: &AppGraph) -> Vec<Problem> {
    let instances = |one: &Compartment| {
        let shared = one.instances.shared_by().filter(|_| one.profile == Profile::Async);
        one.limits.calls.div_ceil(shared.map_or(1, NonZeroU32::get))
    };
    let crowded = graph.compartments.iter().filter(|one| instances(one) > one.profile.limits().calls);
    let note = crowded.map(|one| {
        let (name, calls, profile, room) = (&one.name, one.limits.calls, one.profile.as_str(), one.profile.limits().calls);
        let message = format!(
            "compartment `{name}` allows {calls} calls of a module at once (`limits.calls`), and its engine, `{profile}`, has room for {room} \
             instances"
        );
        let help = format!(
            "set `limits.calls` to {room} or less: further calls then wait in the queue, and are not refused at once for want of room"
        );
        let note = Problem::new(Code::Room, message).file(&config.manifest).help(help);
        match config.compartments.get(name) {
            Some(wish) => note.line(wish.line),
            None => note,
        }
    });
    note.collect()
}
