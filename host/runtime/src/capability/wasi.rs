//! The rest of WASI 0.2, which every module may import: streams that lead to the module's log, and empty implementations.
//!
//! All modules of a store share these interfaces, so only one module of a store imports them: the one with `imports_wasi`.

mod output;

use std::time::Duration;

use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{LinkOptions, cli, filesystem, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};

use super::{CapabilityLinker, StoreState};
use crate::store::{CallContext, InstanceState};
use output::{GuestOutput, StreamKind};
use watertight_model::clock;

/// Defines the interfaces of WASI that need no grant.
pub(super) fn add_to_linker(linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
    let (l, options) = (linker.linker(), LinkOptions::default());
    error::add_to_linker::<_, Resources>(l, resources)?;
    poll::add_to_linker::<_, Resources>(l, resources)?;
    streams::add_to_linker::<_, Resources>(l, resources)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, InstanceState::cli)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, InstanceState::filesystem)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, InstanceState::filesystem)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &(&options).into(), InstanceState::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, InstanceState::sockets)
}

fn resources(state: &mut InstanceState) -> &mut ResourceTable {
    state.ctx().table
}

/// Gives the functions of `wasi:io` the resource table of a store.
struct Resources;

impl HasData for Resources {
    type Data<'a> = &'a mut ResourceTable;
}

/// The WASI context of a store. It is created at the first use, because most stores never use it.
struct Wasi {
    context: WasiCtx,
    /// The output of the standard streams, if a module of the store imports WASI.
    output: Option<GuestOutput>,
}

impl StoreState for Wasi {
    fn begin_call(&mut self, call: &CallContext) {
        if let Some(output) = &self.output {
            // An unfinished line that a start function wrote is logged under the start's request id.
            output.end_call();
            output.begin_call(call);
        }
    }

    fn end_call(&mut self) -> Option<futures::future::BoxFuture<'_, wasmtime::Result<()>>> {
        if let Some(output) = &self.output {
            output.end_call();
        }
        None
    }
}

impl WasiView for InstanceState {
    /// Returns the WASI context that guests see.
    ///
    /// It has the host's clocks and random bytes. It has no files, arguments, environment variables or sockets. Input is at its end, and
    /// output goes to the module's log.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (wasi, table) = self.local_and_resources(|state| {
            let mut builder = WasiCtx::builder();
            builder.wall_clock(WallClock);
            let output = state.importer_of_wasi().map(|(_, module)| {
                let output = GuestOutput::new(module.name.clone(), state.call(), state.log_budget().clone());
                builder.stdout(output.stream(StreamKind::Stdout)).stderr(output.stream(StreamKind::Stderr));
                output
            });
            Wasi { context: builder.build(), output }
        });
        WasiCtxView { ctx: &mut wasi.context, table }
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
