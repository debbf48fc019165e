//! The steps of a change: plan, link, store files, open databases, make first instances, migrate, publish.
//!
//! Everything before publishing is prepared against the application that ran when the change began. If a rollback is published meanwhile,
//! the change is overtaken, and what it created is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;

use super::queue::{Interruption, OperationKind, RollbackCount};
use super::refuse::{explain_mixed_up_components, refuse_lost_contractions};
use super::target::Target;
use super::{Change, ChangeError, ChangeOutcome, ChangeRequest, Control, RunningApplication};
use crate::application::{self, Artifacts, Checked, SharedParts};
use crate::state::{Cause, DiskRecord, FileStore, NewGeneration, Requester};
use watertight_component::artifact::BuildInfo;
use watertight_disk::failpoint::{CrashPoint, crash_point};
use watertight_graph::graph::AppGraph;
use watertight_graph::plan::{Plan, restart_keys};
use watertight_model::config::AppConfig;
use watertight_model::ids::{Digest, GenerationNumber, ModuleName};
use watertight_model::problem::Problems;
use watertight_openapi::compare::compare;
use watertight_openapi::format::OpenApi;
use watertight_runtime::link::Linked;
use watertight_runtime::runtime::{DrainPermit, Generation};

/// How long a rollback waits for the files on disk to be read. If that takes longer, their digests are added to the history afterwards.
const DISK_RECORD_TIMEOUT: Duration = Duration::from_millis(20);

/// The checked application that a change asks for, and its differences from the running one.
struct Planned {
    checked: Checked,
    plan: Plan,
    /// Whether the application is the same as the running one.
    is_same: bool,
}

/// A generation that is ready to be published.
struct Prepared {
    generation: Arc<Generation>,
    running: RunningApplication,
    /// The digest under which the generation's manifest and routes are stored.
    configuration: Digest,
    /// The modules whose databases were created for the generation.
    new: BTreeSet<ModuleName>,
}

/// The part of a history record that comes from the request rather than from the prepared generation.
struct HistoryEntry {
    cause: Cause,
    by: Option<Requester>,
    disk: Option<DiskRecord>,
    plan: Plan,
}

fn outcome(generation: GenerationNumber, published: bool, plan: Plan, start: Instant) -> ChangeOutcome {
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    ChangeOutcome { generation, published, plan, notes: Vec::new(), millis }
}

impl Control {
    /// Makes a dry run: reports what a change would change.
    pub(super) async fn plan_only(
        self: &Arc<Self>,
        arrival: &ChangeRequest,
        change: Change,
    ) -> Result<ChangeOutcome, ChangeError> {
        let start = Instant::now();
        let current = self.runtime().current().number;
        let is_rollback = matches!(change, Change::Rollback(_));
        let Planned { checked, plan, .. } =
            self.plan(&self.running.load_full(), arrival.previous, change, true).await?;
        // A build that ran here before has no migrations that its database lacks.
        let notes = if is_rollback {
            Vec::new()
        } else {
            self.run_blocking(move |control| control.databases.try_pending(&checked.graph, control.state())).await?
        };
        Ok(ChangeOutcome { notes, ..outcome(current, false, plan, start) })
    }

    /// Makes a swap or an apply. The caller holds the turn of changes.
    pub(super) async fn run_swap_or_apply(
        self: &Arc<Self>,
        arrival: ChangeRequest,
        change: Change,
        cause: Cause,
    ) -> Result<ChangeOutcome, ChangeError> {
        let (start, seen) = (Instant::now(), arrival.rollbacks_seen);
        let running = self.running.load_full();
        let is_apply = matches!(change, Change::Apply { .. });
        let Planned { checked, plan, is_same } = self.plan(&running, arrival.previous, change, true).await?;
        let disk = arrival.disk.await.ok().flatten();
        if is_same && !self.databases.need_republish() {
            let current = self.runtime().current().number;
            // The operator applied exactly the files on disk, and they are what runs. The next start must not see a difference.
            if let Some(disk) = disk.filter(|disk| is_apply && *disk == record_of_apply(&checked)) {
                let publishing = self.queue.publishing.lock().await;
                self.update_history(&publishing, move |history| history.record_disk(disk)).await?;
            }
            return Ok(outcome(current, false, plan, start));
        }
        crash_point(CrashPoint::ChangePlanned);
        // Checks the migrations first, because compiling may take minutes.
        let checked = self
            .run_blocking(move |control| {
                control.databases.check_pending(&checked.graph, control.state()).map(|()| checked)
            })
            .await?;
        let (checked, linked) = self.link(OperationKind::Change, seen, checked, running.clone()).await?;
        self.close_unused().await;
        let number = self.history().next();
        let prepared = self.prepare(number, checked, linked, &running, OperationKind::Change).await?;
        let place =
            match self.queue.run_unless_interrupted(OperationKind::Change, seen, self.runtime().drain_permit()).await {
                Ok(place) => place,
                Err(halt) => return self.discard(prepared, halt.into()).await,
            };
        let publishing = self.queue.publishing.lock().await;
        if self.queue.rollback_count() != seen {
            drop(publishing);
            return self.discard(prepared, Interruption::Overtaken.into()).await;
        }
        let told =
            HistoryEntry { cause, by: arrival.by, disk: disk.or_else(|| self.last_record()), plan: plan.clone() };
        self.publish(&publishing, prepared, place, told).await?;
        crash_point(CrashPoint::ChangeCurrent);
        self.prune(&publishing).await;
        Ok(outcome(number, true, plan, start))
    }

    /// Makes a rollback, ahead of every change that isn't published. Waits for no compilation, copy or drain of other changes.
    pub(super) async fn roll_back(
        self: &Arc<Self>,
        arrival: ChangeRequest,
        change: Change,
        cause: Cause,
    ) -> Result<ChangeOutcome, ChangeError> {
        let (start, seen, mut disk) = (Instant::now(), arrival.rollbacks_seen, arrival.disk);
        let running = self.running.load_full();
        // Whoever rolls back is in a hurry. A dry run says what clients notice.
        let planned = self.plan(&running, arrival.previous, change, false).await?;
        if !planned.is_same {
            crash_point(CrashPoint::ChangePlanned);
        }
        let (checked, linked) = self.link(OperationKind::Rollback, seen, planned.checked, running).await?;

        let publishing = self.queue.publishing.lock().await;
        self.queue.check(OperationKind::Rollback, seen)?;
        // Another generation may have been published since the plan was made.
        let running = self.running.load_full();
        let current = running.clone();
        let compared = self.run_blocking(move |control| {
            let (plan, is_same) = control.compare(&current, &checked)?;
            Ok((checked, plan, is_same))
        });
        let (checked, plan, is_same) = compared.await?;
        if is_same {
            self.queue.overtake();
            return Ok(outcome(self.runtime().current().number, false, plan, start));
        }
        if let Cause::Rollback { to } = &cause {
            self.find_earlier(*to)?;
        }
        let number = self.history().next();
        let prepared = self.prepare(number, checked, linked, &running, OperationKind::Rollback).await?;
        let place = self.runtime().drain_permit_now().await;
        let record = tokio::time::timeout(DISK_RECORD_TIMEOUT, &mut disk).await;
        let is_read = record.is_ok();
        let record = record.ok().and_then(|read| read.ok().flatten().or_else(|| self.last_record()));
        let told = HistoryEntry { cause, by: arrival.by, disk: record, plan: plan.clone() };
        self.publish(&publishing, prepared, place, told).await?;
        self.queue.overtake();
        crash_point(CrashPoint::ChangeCurrent);
        if !is_read {
            let control = self.clone();
            tokio::spawn(async move { control.record_disk_later(number, disk.await.ok().flatten()).await });
        }
        Ok(outcome(number, true, plan, start))
    }

    /// Returns the history's record of the files on disk for the current generation. It stands in when the disk can't be read.
    fn last_record(&self) -> Option<DiskRecord> {
        self.history().last().and_then(|last| last.disk.clone())
    }

    /// Adds the record of the files on disk to a published generation, unless another generation was published meanwhile.
    async fn record_disk_later(self: &Arc<Self>, number: GenerationNumber, disk: Option<DiskRecord>) {
        let Some(disk) = disk else { return };
        let publishing = self.queue.publishing.lock().await;
        if self.history().last().is_none_or(|last| last.number != number) {
            return;
        }
        if let Err(error) = self.update_history(&publishing, move |history| history.record_disk(disk)).await {
            tracing::error!(target: "change", %error, "the record of the files on disk can't be added to the history");
        }
    }

    /// Checks the application that a change asks for, and compares it with the running one. `for_clients` says whether the plan tells what
    /// clients notice.
    async fn plan(
        self: &Arc<Self>,
        running: &Arc<RunningApplication>,
        previous: GenerationNumber,
        change: Change,
        for_clients: bool,
    ) -> Result<Planned, Problems> {
        let running = running.clone();
        self.run_blocking(move |control| {
            let is_swap = matches!(change, Change::Swap { .. });
            let Target { config, artifacts } = control.target(&running, previous, change)?;
            // In development, the database is recreated instead.
            if !control.state().is_for_development() {
                refuse_lost_contractions(&running.graph, &artifacts)?;
            }
            let checked = application::check_with(config, &artifacts)
                .map_err(|problems| explain_mixed_up_components(problems, &running.graph, &artifacts, is_swap))?;
            let (mut plan, is_same) = control.compare(&running, &checked)?;
            if for_clients && !is_same {
                let generation = control.runtime().current();
                let old = OpenApi::new(&generation.graph, &generation.routes);
                plan.clients = compare(&old, &OpenApi::new(&checked.graph, &checked.routes));
            }
            Ok(Planned { checked, plan, is_same })
        })
        .await
    }

    /// Compares an application with the running one, and tells whether they are the same. Refuses one that lacks a contraction that the
    /// running application has applied. Blocks.
    fn compare(&self, running: &RunningApplication, checked: &Checked) -> Result<(Plan, bool), Problems> {
        if !self.state().is_for_development() {
            refuse_lost_contractions(&running.graph, &artifacts(checked))?;
        }
        let mut plan = Plan::new(running.side(), checked.side());
        let is_same = plan.is_empty();
        application::retain_pending(&mut plan, self.state().path());
        // Settings that need a restart keep the values from the start of the process, whatever was applied since.
        plan.restart = restart_keys(&self.start_config, &checked.config);
        Ok((plan, is_same))
    }

    /// Links an application. Reuses linked code of the running one. If the change is overtaken or the host stops, ends the compilation.
    async fn link(
        self: &Arc<Self>,
        kind: OperationKind,
        rollbacks_seen: RollbackCount,
        checked: Checked,
        running: Arc<RunningApplication>,
    ) -> Result<(Checked, Vec<Linked>), ChangeError> {
        let end = CancellationToken::new();
        let _ends_it = end.clone().drop_guard();
        let work = self.run_blocking(move |control| {
            let compiler = control.compiler.with_cancellation(end);
            // If the code is no longer in the cache, a rollback compiles with priority.
            let compiler = if kind == OperationKind::Rollback { compiler.with_host_priority() } else { compiler };
            // Keeps the code that a rollback needs in the cache, however much is compiled and refused.
            compiler.mark_used(running.code().chain(&running.previous_code));
            let linked = application::link_all(&checked.graph, &compiler, &control.capabilities, &running.linked)?;
            crash_point(CrashPoint::ChangeLinked);
            Ok((checked, linked))
        });
        let linked = self.queue.run_unless_interrupted(kind, rollbacks_seen, work).await?;
        if linked.is_err() && self.compiler.engines().is_stopping() {
            return Err(ChangeError::Stopping);
        }
        Ok(linked?)
    }

    /// Closes the databases of modules that no generation has any more.
    async fn close_unused(&self) {
        let unused = {
            // A rollback holds this lock while it opens the databases that its generation needs.
            let _publishing = self.queue.publishing.lock().await;
            // A backup copies these databases.
            if self.queue.is_backing_up() {
                return;
            }
            self.databases.take_unused(&self.runtime().modules_with_data())
        };
        for database in unused {
            database.close().await;
        }
    }

    /// Prepares a generation: stores its files, opens its databases, makes a first instance of each compartment, and migrates. On failure,
    /// removes the databases that it created.
    async fn prepare(
        self: &Arc<Self>,
        number: GenerationNumber,
        checked: Checked,
        linked: Vec<Linked>,
        before: &RunningApplication,
        kind: OperationKind,
    ) -> Result<Prepared, Problems> {
        let (checked, configuration, (new, opened)) = self
            .run_blocking(move |control| {
                let history = control.history();
                let configuration = keep(history.files(), &checked.graph, &checked.config)?;
                crash_point(CrashPoint::ChangeKept);
                control.databases.recreate_edited(&checked.graph, control.state())?;
                let opened = control.databases.open_while_serving(&checked.graph, control.state(), history.databases());
                crash_point(CrashPoint::ChangeOpened);
                Ok((checked, configuration, opened))
            })
            .await?;
        let running = RunningApplication::new(&checked, &linked, Some(before));
        let made = async {
            opened?;
            let graph = checked.graph.clone();
            let parts = SharedParts {
                databases: &self.databases,
                admissions: &self.admissions,
                capabilities: &self.capabilities,
                telemetry: &self.telemetry,
            };
            let generation = application::assemble(number, checked, linked, parts)?;
            let current = self.runtime().current();
            match kind {
                OperationKind::Rollback => generation.warm_up_again(&current).await?,
                _ => generation.warm_up(Some(&current)).await?,
            }
            drop(current);
            crash_point(CrashPoint::ChangeWarm);
            // A rollback need not wait for a database's writer if it has nothing to migrate.
            let known = (kind == OperationKind::Rollback).then_some(&before.graph);
            self.databases.migrate(&graph, known).await?;
            crash_point(CrashPoint::ChangeMigrated);
            Ok(generation)
        };
        match made.await {
            Ok(generation) => Ok(Prepared { generation, running, configuration, new }),
            Err(problems) => {
                self.databases.remove_new(&new, self.state()).await;
                Err(problems)
            }
        }
    }

    /// Removes the databases that were created for a prepared generation, and returns `error`.
    async fn discard<T>(&self, prepared: Prepared, error: ChangeError) -> Result<T, ChangeError> {
        let Prepared { generation, new, .. } = prepared;
        drop(generation);
        self.databases.remove_new(&new, self.state()).await;
        Err(error)
    }

    /// Publishes a generation: first in the history, then for requests.
    async fn publish(
        self: &Arc<Self>,
        publishing: &MutexGuard<'_, ()>,
        prepared: Prepared,
        permit: DrainPermit,
        entry: HistoryEntry,
    ) -> Result<(), ChangeError> {
        let Prepared { generation, running, configuration, new } = prepared;
        let publication = publication(&running.graph, configuration, entry);
        // A restart serves the generation once the history has it, so requests may run on it, too.
        if let Err(error) = self.update_history(publishing, move |history| history.publish(publication)).await {
            drop(generation);
            // If the history may have the generation nevertheless, the databases stay. The next start decides by their marks.
            if !error.is_uncertain {
                self.databases.remove_new(&new, self.state()).await;
            }
            return Err(error.into());
        }
        crash_point(CrashPoint::ChangePublished);
        self.runtime().publish(generation, permit);
        self.running.store(Arc::new(running));
        self.databases.clear_republish();
        self.databases.mark_published(&new, self.state());
        Ok(())
    }
}

/// Makes the history's record of a generation, still without the record of the files on disk and the list of changes.
pub(super) fn record(graph: &AppGraph, configuration: Digest, cause: Cause, by: Option<Requester>) -> NewGeneration {
    let databases = graph.modules_with_database().map(|(name, _)| name.clone()).collect();
    let (modules, changes) = (builds(graph), Vec::new());
    NewGeneration { cause, by, configuration, modules, databases, disk: None, changes }
}

fn publication(graph: &AppGraph, configuration: Digest, entry: HistoryEntry) -> NewGeneration {
    let HistoryEntry { cause, by, disk, plan } = entry;
    let changes = plan.to_string().lines().map(str::to_owned).collect();
    NewGeneration { disk, changes, ..record(graph, configuration, cause, by) }
}

/// Returns the record of an applied application's files, as if they were on disk.
fn record_of_apply(checked: &Checked) -> DiskRecord {
    let digests = checked.graph.modules.iter().map(|(name, node)| (name.clone(), node.artifact.digest)).collect();
    DiskRecord::new(&checked.config.files, digests)
}

fn artifacts(checked: &Checked) -> Artifacts {
    checked.graph.modules.iter().map(|(name, node)| (name.clone(), node.artifact.clone())).collect()
}

/// Stores all components and the configuration of a generation durably in `files`. Returns the digest of the configuration.
pub(super) fn keep(files: &FileStore, graph: &AppGraph, config: &AppConfig) -> Result<Digest, Problems> {
    for node in graph.modules.values() {
        files.store_component(&node.artifact)?;
    }
    Ok(files.store_configuration(&config.files)?)
}

/// Returns the builds of a graph's modules.
fn builds(graph: &AppGraph) -> BTreeMap<ModuleName, BuildInfo> {
    graph.modules.iter().map(|(name, node)| (name.clone(), BuildInfo::from(&*node.artifact))).collect()
}
