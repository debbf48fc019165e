//! Notes on compartments that allow more calls at once than their engine has room for.
//!
//! Such a call is refused, as when its queue is full. It does not wait in the queue, because the module's own limit lets it in.

use super::AppGraph;
use watertight_model::config::AppConfig;
use watertight_model::problem::{Code, Problem};

/// Returns a note for each compartment whose `limits.calls` exceeds the number of calls that its engine has room for.
pub fn room_notes(config: &AppConfig, graph: &AppGraph) -> Vec<Problem> {
    let crowded = graph.compartments.iter().filter(|one| one.limits.calls > one.profile.limits().calls);
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
