//! The operator of a host. Each command is a process of its own, as when people run it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;
use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent};
use wasm_encoder::{CodeSection, Component, Instruction};
use wasmparser::{FunctionBody, Parser};
use watertight_control::state::{StateFolder, read_token};

use crate::builds::with_build_id;
use crate::paths::{binary, repository};

/// The names of the shop's modules.
pub const MODULES: [&str; 3] = ["orders", "payments", "notifications"];

/// The operator of a host, who has its admin token.
pub struct Operator {
    admin: SocketAddr,
    token: String,
    /// The folder into which component files of new builds are written.
    folder: PathBuf,
    /// The number of builds that were made so far.
    builds: i32,
}

/// The result of a change that the operator made to the host's application.
#[derive(Debug, Clone, Copy)]
pub struct ChangeTimes {
    pub generation: u64,
    /// The duration of the operator's command, in milliseconds.
    pub millis: f64,
    /// The duration of the change that the host reports, in milliseconds.
    pub millis_inside: f64,
}

impl Operator {
    /// Creates the operator of the host that runs on the state folder `state`.
    pub fn new(state: &Path) -> anyhow::Result<Self> {
        let host = StateFolder::running_host(state).context("the host says where it is")?;
        let token = read_token(state)?.context("the state folder has a token")?;
        Ok(Self { admin: host.admin, token, folder: state.to_owned(), builds: 0 })
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<(f64, Output)> {
        let start = Instant::now();
        let mut command = Command::new(binary());
        command.args(arguments).arg("--json").arg("--admin").arg(self.admin.to_string());
        let output = command.env("WATERTIGHT_ADMIN_TOKEN", &self.token).output()?;
        Ok((start.elapsed().as_secs_f64() * 1e3, output))
    }

    fn change(&self, arguments: &[&str]) -> anyhow::Result<ChangeTimes> {
        let (millis, output) = self.run(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(told["published"] == true, "{arguments:?} changed nothing: {told}");
        let generation = told["generation"].as_u64().context("a generation has a number")?;
        Ok(ChangeTimes { generation, millis, millis_inside: told["millis"].as_f64().unwrap_or_default() })
    }

    /// Replaces a module by a new build that has the build id `id`.
    pub fn swap(&mut self, module: &str, id: &str) -> anyhow::Result<ChangeTimes> {
        let built = std::fs::read(repository().join("target/components").join(module).with_extension("wasm"))?;
        let file = self.folder.join("next.wasm");
        self.builds += 1;
        std::fs::write(&file, with_other_code(&with_build_id(&built, id), self.builds)?)?;
        self.change(&["swap", module, &file.to_string_lossy()])
    }

    /// Rolls back to the previous generation.
    pub fn roll_back(&self) -> anyhow::Result<ChangeTimes> {
        self.change(&["rollback"])
    }

    /// Replaces the host's application by the one at `app` on the disk.
    pub fn apply(&self, app: &Path) -> anyhow::Result<ChangeTimes> {
        self.change(&["apply", &app.to_string_lossy()])
    }

    /// Returns the address of the host's admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Uploads a build of `payments` without any of its functions. Returns after how many milliseconds the host refused it.
    pub fn refused(&self) -> anyhow::Result<f64> {
        let file = repository().join("target/components/notifications.wasm");
        let (millis, output) = self.run(&["swap", "payments", &file.to_string_lossy()])?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(1), "it was not refused: {told}");
        let what = "the component given for module `payments` exports the interfaces of module `notifications`";
        ensure!(told.contains(what), "nobody is told what it is: {told}");
        Ok(millis)
    }
}

/// Changes every function of a component, so that the host finds none of them already compiled: each now begins with a number that
/// is dropped again. A real build changes only some functions.
fn with_other_code(component: &[u8], number: i32) -> anyhow::Result<Vec<u8>> {
    struct Changed(i32);

    impl Reencode for Changed {
        type Error = std::convert::Infallible;

        fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error> {
            let mut function = self.new_function_with_parsed_locals(&body)?;
            function.instruction(&Instruction::I32Const(self.0)).instruction(&Instruction::Drop);
            let mut operators = body.get_operators_reader()?;
            while !operators.eof() {
                function.instruction(&self.parse_instruction(&mut operators)?);
            }
            code.function(&function);
            Ok(())
        }
    }

    impl ReencodeComponent for Changed {}

    let mut changed = Component::new();
    let parsed = Changed(number).parse_component(&mut changed, Parser::new(0), component);
    parsed.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(changed.finish())
}
