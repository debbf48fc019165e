//! Innocent modules beside hostile ones, and clients that ask them all the time. Each of their requests must be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use watertight_testkit::app::{guest, handler_p3};
use watertight_testkit::host::Host;

use crate::VERSIONS;
use crate::client::{ask, read, start};

/// The time between the answer to a neighbour's request and its next request.
const PAUSE: Duration = Duration::from_millis(10);

/// The routes of the neighbours: a central route, a handler of WASI 0.2 and one of 0.3.
pub(crate) const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/quiet/route"
call = "quiet-route/acts.echo"

[[mount]]
path = "/quiet/two"
module = "quiet-two"

[[mount]]
path = "/quiet/three"
module = "quiet-three"
strip = true
"#;

/// What the neighbours are asked.
const REQUESTS: [&str; 3] = ["/quiet/route?number=7", "/quiet/two/hello", "/quiet/three/hello"];

/// Returns the text of the manifest for the neighbours, each with its own module in a compartment of its own.
pub(crate) fn manifest() -> String {
    let (probe, serves, three) = (guest("probe"), guest("serves"), handler_p3());
    let mut text = format!(
        "[modules.quiet-route]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [modules.quiet-two]\ncomponent = {serves:?}\ncalls = [\"quiet-route\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.quiet-three]\ncomponent = {three:?}\nuses = [\"clocks\"]\n"
    );
    for module in ["quiet-route", "quiet-two", "quiet-three"] {
        text += &format!("[compartments.{module}]\nmodules = [\"{module}\"]\n");
    }
    text
}

/// The clients that ask the neighbours.
pub(crate) struct Neighbours {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Duration>>>,
}

impl Neighbours {
    /// Begins to ask the neighbours.
    pub(crate) fn ask(host: &Host) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), host.listen());
        let client = |(place, path): (usize, &'static str)| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Relaxed) {
                    let version = VERSIONS[(place + times.len()) % 2];
                    let begun = Instant::now();
                    let request = start(version, "GET", path).body(Default::default()).unwrap();
                    read(ask(address, version, request).await).await.expect(200);
                    times.push(begun.elapsed());
                    tokio::time::sleep(PAUSE).await;
                }
                times
            })
        };
        let clients = REQUESTS.into_iter().enumerate().map(client).collect();
        Self { stop, clients }
    }

    /// Stops asking. Returns a line for the report: the number of answers, and the time in which 99 of 100 came.
    ///
    /// # Panics
    ///
    /// If one of the requests had no answer, or another one than it should have.
    pub(crate) async fn stop(self) -> String {
        self.stop.store(true, Relaxed);
        let mut times = Vec::new();
        for client in self.clients {
            times.extend(client.await.expect("a neighbour was not answered"));
        }
        times.sort();
        format!("{} answers, p50 {:?}, p99 {:?}", times.len(), times[times.len() / 2], times[times.len() * 99 / 100])
    }
}
