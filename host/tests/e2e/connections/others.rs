//! Clients that send requests to a host while others attack it. Each request must be answered, whatever the attackers do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use watertight_testkit::app::guest;
use watertight_testkit::client::{Raw, request};
use watertight_testkit::host::Host;

/// The clients that do not attack, each of which repeats one request on connections of its own, and optionally an operator.
pub(super) struct Others {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<usize>>,
}

impl Others {
    pub(super) fn of(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (listen, admin) = (host.listen(), host.admin());
        let ask = |address: SocketAddr, path: &'static str, anew: bool| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut count, mut connection) = (0, None);
                while !stop.load(Ordering::Relaxed) {
                    let mut raw = connection.take().unwrap_or_else(|| Raw::connect(address));
                    raw.send(request("GET", path, &[], b"")).answer(true).expect(200);
                    connection = (!anew).then_some(raw);
                    count += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                count
            })
        };
        let threads = vec![
            ask(listen, "/text?bytes=100", false),
            ask(listen, "/text?bytes=100", true),
            ask(admin, "/healthz", true),
        ];
        Self { stop, threads }
    }

    /// Starts the clients, and an operator who rolls the application back again and again.
    pub(super) async fn with_operator(host: &Host) -> Self {
        let marked = [std::fs::read(guest("probe")).unwrap(), vec![0, 6, 4, b'm', b'a', b'r', b'k', 1]].concat();
        host.swap("a", marked, "").await.expect(200);
        let mut others = Self::of(host);
        let (stop, admin) = (others.stop.clone(), host.admin());
        let token = format!("Authorization: Bearer {}", host.token());
        others.threads.push(std::thread::spawn(move || {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                Raw::connect(admin).send(request("POST", "/rollback", &[&token], b"")).answer(true).expect(200);
                count += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            count
        }));
        others
    }

    /// Stops the clients. Panics unless each client was answered with 200 more than three times.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let count = thread.join().expect("another client was not answered");
            assert!(count > 3, "another client was answered {count} times only");
        }
    }
}
