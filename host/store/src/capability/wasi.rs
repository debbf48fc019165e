//! The rest of WASI 0.2 and 0.3, which every module may import: streams that lead to the module's log, and empty implementations.
//!
//! Interfaces that define resources are shared by all modules of a store. The functions of the others receive the identity of the module
//! that calls.

mod output;

use std::time::Duration;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliNamed, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemNamed, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::named_imports::wasi as named;
use wasmtime_wasi::p2::bindings::{LinkOptions, cli, clocks, filesystem, sockets};
use wasmtime_wasi::p3::bindings::named_imports::wasi as named_p3;
use wasmtime_wasi::p3::bindings::{
    cli as cli_p3, clocks as clocks_p3, filesystem as filesystem_p3, sockets as sockets_p3,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{HostWallClock, NamedId, WasiCtx, WasiCtxView, WasiNamedView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};

use super::{CapabilityLinker, StoreState};
use crate::{CallContext, InstanceState, ModuleIndex, TaskId, module_index};
use output::{GuestOutput, StreamKind};
use watertight_model::clock;

/// Defines interfaces of WASI whose functions receive the identity of the calling module. `$data` is the type by which Wasmtime's
/// implementation finds its context in the state of a store, and each `$interface` a module that `bindgen!` generated.
macro_rules! add_named {
    ($linker:expr, $data:ty, $($($interface:ident)::+),+) => {{
        let (linker, component, module) = $linker.named();
        $($($interface)::+::add_to_linker::<InstanceState, $data>(
            linker,
            component,
            |import| Ok(wasmtime_wasi::NamedId(usize::from(module(import)?.0))),
            |state| wasmtime_wasi::WasiCtxNamedView(state),
        )?;)+
    }};
}
pub(super) use add_named;

/// Returns the module whose import Wasmtime was given as `id` by [`add_named`].
pub(super) fn module_of(id: NamedId) -> ModuleIndex {
    module_index(id.0)
}

/// Defines the interfaces of WASI that need no grant.
pub(super) fn add_to_linker(linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
    add_p2(linker)?;
    add_p3(linker)
}

/// Defines the interfaces of WASI 0.3. Those with `async func` or streams need an engine with concurrency.
fn add_p3(linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
    add_named!(
        linker,
        WasiCliNamed<InstanceState>,
        named_p3::cli::environment,
        named_p3::cli::exit,
        named_p3::cli::terminal_stdin,
        named_p3::cli::terminal_stdout,
        named_p3::cli::terminal_stderr
    );
    let l = linker.linker();
    cli_p3::terminal_input::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
    cli_p3::terminal_output::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
    if linker.has_concurrency() {
        add_named!(
            linker,
            WasiCliNamed<InstanceState>,
            named_p3::cli::stdin,
            named_p3::cli::stdout,
            named_p3::cli::stderr
        );
        add_named!(linker, WasiFilesystemNamed<InstanceState>, named_p3::filesystem::preopens);
        let l = linker.linker();
        clocks_p3::system_clock::add_to_linker::<_, WasiClocks>(l, WasiClocksView::clocks)?;
        filesystem_p3::types::add_to_linker::<_, WasiFilesystem>(l, WasiFilesystemView::filesystem)?;
        sockets_p3::types::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
        sockets_p3::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    }
    Ok(())
}

/// Defines the interfaces of WASI 0.2.
fn add_p2(linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
    add_named!(
        linker,
        WasiCliNamed<InstanceState>,
        named::cli::environment,
        named::cli::exit,
        named::cli::stdin,
        named::cli::stdout,
        named::cli::stderr,
        named::cli::terminal_stdin,
        named::cli::terminal_stdout,
        named::cli::terminal_stderr
    );
    add_named!(linker, WasiFilesystemNamed<InstanceState>, named::filesystem::preopens);
    let (l, options) = (linker.linker(), LinkOptions::default());
    // Shared interfaces use types of the clocks, so a composed component imports the clocks without a name too. No module can call these.
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, WasiClocksView::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, WasiClocksView::clocks)?;
    error::add_to_linker::<_, Resources>(l, resources)?;
    poll::add_to_linker::<_, Resources>(l, resources)?;
    streams::add_to_linker::<_, Resources>(l, resources)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, WasiCliView::cli)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, WasiFilesystemView::filesystem)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &(&options).into(), WasiSocketsView::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, WasiSocketsView::sockets)
}

fn resources(state: &mut InstanceState) -> &mut ResourceTable {
    state.resources_mut()
}

/// Gives the functions of `wasi:io` the resource table of a store.
struct Resources;

impl HasData for Resources {
    type Data<'a> = &'a mut ResourceTable;
}

/// The WASI context of a module in a store. It is created at the first use, because most stores never use one.
struct ModuleWasi {
    context: WasiCtx,
    output: GuestOutput,
}

impl StoreState for ModuleWasi {
    fn begin_call(&mut self, call: &CallContext) {
        // An unfinished line that a start function wrote is logged under the start's request id.
        self.output.end_call();
        self.output.begin_call(call);
    }

    fn end_call(&mut self) -> Option<futures::future::BoxFuture<'static, wasmtime::Result<()>>> {
        self.output.end_call();
        None
    }

    fn end_task(&mut self, task: TaskId) {
        self.output.end_task(task);
    }
}

impl WasiNamedView for InstanceState {
    /// Returns the WASI context of a module.
    ///
    /// It has the host's clocks and random bytes. It has no files, arguments, environment variables or sockets. Input is at its end, and
    /// output goes to the module's log.
    fn ctx(&mut self, id: NamedId) -> WasiCtxView<'_> {
        let module = module_of(id);
        let (wasi, table) = self.lasting_local_of(Some(module), |state| {
            let output = GuestOutput::new(state, module);
            let mut builder = WasiCtx::builder();
            builder.wall_clock(WallClock);
            builder.stdout(output.stream(StreamKind::Stdout)).stderr(output.stream(StreamKind::Stderr));
            ModuleWasi { context: builder.build(), output }
        });
        WasiCtxView { ctx: &mut wasi.context, table }
    }
}

/// The WASI context behind the interfaces that all modules of a store share. It allows nothing.
struct SharedWasi(WasiCtx);

impl StoreState for SharedWasi {}

impl WasiView for InstanceState {
    /// Returns the context behind the interfaces that all modules share.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.lasting_local_of(None, |_| SharedWasi(WasiCtx::builder().build()));
        WasiCtxView { ctx: &mut wasi.0, table }
    }
}

/// The wall clock of WASI. Wasmtime's own panics if the machine's clock is before 1970.
struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        clock::since_1970()
    }
}
