//! Units: sets of modules that must share a compartment, and the circles that calls between them would make.
//!
//! If the calls between modules have no circle, then a circle between units has only one remedy: one compartment for all of them. Once no
//! such circle is left, every unit can stand somewhere: modules that nothing else keeps apart stand in layers, so that calls never lead from
//! a layer through other compartments back to it.

use std::collections::{BTreeMap, BTreeSet};

use super::bond::PlacementConstraints;
use crate::graph::Node;
use watertight_model::ids::{CompartmentName, ModuleName};

/// Modules that must share a compartment.
#[derive(Default)]
pub(super) struct Unit<'a> {
    pub(super) modules: BTreeSet<ModuleName>,
    /// The compartment of the manifest that the modules stand in.
    pub(super) wish: Option<&'a CompartmentName>,
    /// The modules that calls tie to those that the unit began with.
    pub(super) tied: BTreeSet<ModuleName>,
    /// The modules that joined because compartments would call each other in a circle otherwise.
    pub(super) encircled: BTreeSet<ModuleName>,
}

/// A call that leads from a module through another compartment to a third module. So the first and the third can't share a compartment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// The module that calls.
    pub caller: ModuleName,
    /// The module of another compartment that is called.
    pub callee: ModuleName,
    /// The module that `callee` calls, directly or indirectly.
    pub back: ModuleName,
}

/// A layer of the units that nothing keeps apart.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) modules: BTreeSet<ModuleName>,
    /// A call that keeps the layer apart from the one before it. The first layer has none.
    pub(super) detour: Option<Detour>,
}

/// Merges units whose calls form a circle, unless the manifest places them in different compartments or no compartment can hold them.
pub(super) fn merge_circles<'a>(
    units: Vec<Unit<'a>>,
    modules: &BTreeMap<ModuleName, Node>,
    bonds: &PlacementConstraints<'_>,
) -> Vec<Unit<'a>> {
    let calls = Calls::between(&units, modules);
    let reached: Vec<BTreeSet<usize>> = (0..units.len()).map(|unit| calls.reached(unit)).collect();
    let mut groups: BTreeMap<usize, Vec<Unit<'a>>> = BTreeMap::new();
    for (at, unit) in units.into_iter().enumerate() {
        let first = reached[at].iter().find(|other| reached[**other].contains(&at));
        groups.entry(first.map_or(at, |first| at.min(*first))).or_default().push(unit);
    }
    let merged = groups.into_values().flat_map(|mut circle| {
        let all: BTreeSet<ModuleName> = circle.iter().flat_map(|unit| unit.modules.clone()).collect();
        let wishes = circle.iter().filter(|unit| unit.wish.is_some()).count();
        if circle.len() == 1 || wishes > 1 || !bonds.fit(&all) {
            return circle;
        }
        // The others join the unit that the manifest made, or else the largest one.
        circle.sort_by_key(|unit| std::cmp::Reverse((unit.wish.is_some(), unit.modules.len())));
        let mut base = circle.swap_remove(0);
        base.encircled = all.difference(&base.modules).cloned().collect();
        base.modules = all;
        vec![base]
    });
    merged.collect()
}

/// Divides the units for which `is_free` says so into layers. From a module of a layer, no calls lead through other compartments to the
/// same layer or a later one. There are as few layers as possible.
pub(super) fn layers(units: &[Unit<'_>], is_free: &[bool], modules: &BTreeMap<ModuleName, Node>) -> Vec<Layer> {
    let calls = Calls::between(units, modules);
    let levels = calls.levels(is_free);
    let homes = calls.homes(is_free, &levels);
    let count = (0..units.len()).filter(|unit| is_free[*unit]).map(|unit| homes[unit] + 1).max().unwrap_or_default();
    let mut layers: Vec<Layer> = std::iter::repeat_with(Layer::default).take(count).collect();
    for (at, unit) in units.iter().enumerate().filter(|(at, _)| is_free[*at]) {
        let layer = &mut layers[homes[at]];
        layer.modules.extend(unit.modules.iter().cloned());
        if let Some(Level { number, detour: Some(detour), .. }) = &levels[at]
            && *number == homes[at]
        {
            layer.detour.get_or_insert_with(|| detour.clone());
        }
    }
    layers
}

/// The lowest layer that a unit can have. For a unit that stands apart: the highest lowest layer of the units that it calls.
#[derive(Clone, PartialEq, Eq)]
struct Level<'m> {
    number: usize,
    /// The module whose layer decides.
    module: &'m ModuleName,
    detour: Option<Detour>,
}

/// A call from one unit to another.
struct Call<'m> {
    caller: &'m ModuleName,
    callee: &'m ModuleName,
    to: usize,
}

/// The calls between units. Each entry has the calls of one unit.
struct Calls<'m>(Vec<Vec<Call<'m>>>);

impl<'m> Calls<'m> {
    fn between(units: &[Unit<'_>], modules: &'m BTreeMap<ModuleName, Node>) -> Self {
        let of = units.iter().enumerate().flat_map(|(at, unit)| unit.modules.iter().map(move |module| (module, at)));
        let of: BTreeMap<&ModuleName, usize> = of.collect();
        let mut calls: Vec<Vec<Call<'m>>> = std::iter::repeat_with(Vec::new).take(units.len()).collect();
        for (caller, node) in modules {
            for provider in node.calls.values() {
                let callee = &provider.module;
                if let (Some(&from), Some(&to)) = (of.get(caller), of.get(callee))
                    && from != to
                {
                    calls[from].push(Call { caller, callee, to });
                }
            }
        }
        Self(calls)
    }

    /// Returns the units that calls lead to from `start`.
    fn reached(&self, start: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(unit) = open.pop() {
            open.extend(self.0[unit].iter().map(|call| call.to).filter(|to| reached.insert(*to)));
        }
        reached
    }

    /// Returns the level of each unit. `None` for a unit that stands apart and from which no call leads to a free one.
    fn levels(&self, is_free: &[bool]) -> Vec<Option<Level<'m>>> {
        let mut levels: Vec<Option<Level<'m>>> = vec![None; self.0.len()];
        // Each round settles at least one unit. A circle that the manifest makes never settles, so the rounds are bounded.
        for _ in 0..self.0.len() {
            let next: Vec<_> = (0..self.0.len()).map(|unit| self.level(unit, is_free, &levels)).collect();
            if std::mem::replace(&mut levels, next) == levels {
                break;
            }
        }
        levels
    }

    fn level(&self, unit: usize, is_free: &[bool], levels: &[Option<Level<'m>>]) -> Option<Level<'m>> {
        let mut highest: Option<Level<'m>> = None;
        for Call { caller, callee, to } in &self.0[unit] {
            let level = match (&levels[*to], is_free[unit], is_free[*to]) {
                (None, _, true) => Level { number: 0, module: callee, detour: None },
                (None, _, false) => continue,
                (Some(level), true, false) => {
                    let (caller, callee) = ((*caller).clone(), (*callee).clone());
                    let detour = Detour { caller, callee, back: level.module.clone() };
                    Level { number: level.number + 1, module: level.module, detour: Some(detour) }
                }
                (Some(level), _, true) => Level { module: callee, ..level.clone() },
                (Some(level), false, false) => level.clone(),
            };
            if highest.as_ref().is_none_or(|highest| highest.number < level.number) {
                highest = Some(level);
            }
        }
        highest
    }

    /// Returns the layer of each free unit. It is the unit's own level, or a later layer if all its callers stand there: calls within a
    /// compartment are cheapest.
    fn homes(&self, is_free: &[bool], levels: &[Option<Level<'m>>]) -> Vec<usize> {
        let own: Vec<usize> = levels.iter().map(|level| level.as_ref().map_or(0, |level| level.number)).collect();
        let mut homes = own.clone();
        for _ in 0..homes.len() {
            let mut first: Vec<Option<usize>> = vec![None; homes.len()];
            for (from, calls) in self.0.iter().enumerate() {
                for call in calls {
                    let limit = if is_free[from] { homes[from] } else { own[call.to] };
                    first[call.to] = Some(first[call.to].map_or(limit, |first| first.min(limit)));
                }
            }
            let next: Vec<usize> = (0..homes.len()).map(|unit| first[unit].unwrap_or(own[unit])).collect();
            if std::mem::replace(&mut homes, next) == homes {
                break;
            }
        }
        homes
    }
}
