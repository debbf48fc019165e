//! The room of engines: notes on compartments that allow more calls at once than their engine has room for, and faults where more instances
//! shall be kept than can be.
//!
//! A call for which there is no room is refused, as when its queue is full. It does not wait in the queue, because the module's own limit lets
//! it in.

use std::num::NonZeroU32;

use super::{AppGraph, Compartment};
use watertight_component::profile::Profile;
use watertight_model::config::{AppConfig, InstanceMode};
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
        at(config, one, Problem::new(Code::Room, message).help(help))
    });
    note.collect()
}

/// The number of generations that keep warm instances at the same time: the current one, and the one that is about to take its place.
const WARM_GENERATIONS: u64 = 2;

/// Returns a problem for each compartment whose `instances.warm` asks for instances that can't be kept, or that no call could use.
pub fn warm_faults(config: &AppConfig, graph: &AppGraph) -> Vec<Problem> {
    let in_engine = |profile: Profile| -> u64 {
        let others = graph.compartments.iter().filter(|one| one.profile == profile);
        others.map(|one| u64::from(one.instances.warm)).sum()
    };
    let fault = |one: &Compartment| {
        let (name, warm, room) = (&one.name, one.instances.warm, one.profile.limits().calls);
        let usable = u64::from(one.limits.calls) * one.modules.len() as u64;
        let kept = in_engine(one.profile);
        let (why, help) = if one.instances.mode == InstanceMode::Fresh {
            (
                "with `mode = \"fresh\"`, no instance is kept for the next call".to_owned(),
                "leave `instances.warm` out, or set it to 0 for this compartment".to_owned(),
            )
        } else if u64::from(warm) > usable {
            (
                format!("its modules have at most {usable} calls at once (`limits.calls`)"),
                format!("set `instances.warm` to {usable} or less"),
            )
        } else if kept * WARM_GENERATIONS > u64::from(room) {
            let profile = one.profile.as_str();
            (
                format!(
                    "the compartments of the engine `{profile}` keep {kept}, twice as many during a swap, and it has room for {room}"
                ),
                format!("lower `instances.warm` until the sum is {} or less", u64::from(room) / WARM_GENERATIONS),
            )
        } else {
            return None;
        };
        let message = format!("compartment `{name}` can't keep {warm} warm instances (`instances.warm`): {why}");
        Some(at(config, one, Problem::new(Code::BadValue, message).help(help)))
    };
    graph.compartments.iter().filter(|one| one.instances.warm > 0).filter_map(fault).collect()
}

/// Adds the place of a compartment's table in the manifest to a problem.
fn at(config: &AppConfig, compartment: &Compartment, problem: Problem) -> Problem {
    let problem = problem.file(&config.manifest);
    match config.compartments.get(&compartment.name) {
        Some(wish) => problem.line(wish.line),
        None => problem,
    }
}
