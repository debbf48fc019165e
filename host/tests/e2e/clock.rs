//! Tests of a host whose clock is before 1970 or after 9999, where dates can't be written. The host still serves.
//!
//! A small C library, loaded with `LD_PRELOAD`, changes the clock of the host's process only.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use watertight_testkit::client::{Raw, client, request, send};
use watertight_testkit::host::{Host, Launch, folder};

use crate::shop::{card, draft};

/// The C source of the library that changes the clock. It adds a number of seconds to the wall clock. The number is a 64-bit integer in the
/// file that the environment variable `CLOCK_OFFSET` names.
const MOVED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *offset;
__attribute__((constructor)) static void find(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(0, sizeof(long long), PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED) offset = at;
    close(file);
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int done = (int)syscall(SYS_clock_gettime, id, now);
    if (done == 0 && offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *offset;
    return done;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
"#;

fn library() -> &'static Path {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, file) = (folder.join("moved-clock.c"), folder.join("moved-clock.so"));
        fs::write(&source, MOVED_CLOCK).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&file).arg(&source).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        file
    });
    &FILE
}

/// The changeable wall clock of one host: the file with the number of seconds that is added, and the file's path.
struct Clock(fs::File, PathBuf);

impl Clock {
    fn new(folder: &Path) -> Self {
        let path = folder.join("offset");
        let clock = Self(fs::File::create(&path).unwrap(), path);
        clock.put(0);
        clock
    }

    fn put(&self, seconds: i64) {
        self.0.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn lead(&self, launch: Launch) -> Launch {
        launch.variable("LD_PRELOAD", library().to_str().unwrap()).variable("CLOCK_OFFSET", self.1.to_str().unwrap())
    }
}

/// Returns the seconds from now to 1901, to the minute before 1970, to the year 10000 and to about the year 12000. With each stands the
/// year that the host then writes in timestamps.
fn offsets() -> [(&'static str, i64); 4] {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    [("1970", -now - 2_177_452_800), ("1970", -now - 60), ("9999", 253_402_300_801 - now), ("9999", 316_000_000_000)]
}

/// Asserts that both listeners answer, with both versions of HTTP, and also on the connection `old`, which was opened before the clock
/// changed. `year` is the year that timestamps must have.
async fn served(host: &Host, old: &mut Raw, year: &str) {
    let list = request("GET", "/orders?customer=nobody", &[], b"");
    old.send(&list).answer(true).expect(200);
    let date = Raw::connect(host.listen()).send(&list).answer(true).expect(200).header("date").to_owned();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    let order = host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201);
    assert!(order.at("/created_at").starts_with(year), "{order:?}");
    host.get(&format!("/orders/{}", order.at("/id"))).await.expect(200);
    let second = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    send(second.post(host.url("/orders")).json(&draft("bob", card("tok_visa")))).await.expect(201);
    send(second.get(host.admin_url("/healthz"))).await.expect(200);
    host.admin_get("/generations").await.expect(200);
    send(client().get(host.admin_url("/metrics"))).await.expect(200);
    let log = host.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn a_host_serves_whatever_its_clock_says() {
    let place = folder();
    let clock = Clock::new(place.path());
    let host = clock.lead(Launch::shop()).start();
    let mut old = Raw::connect(host.listen());
    let this_year = &watertight_model::clock::now_text()[..4];
    served(&host, &mut old, this_year).await;
    for (year, offset) in offsets() {
        clock.put(offset);
        served(&host, &mut old, year).await;
        // hyper caches the text of a date for one second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        served(&host, &mut old, year).await;
    }
    clock.put(0);
    served(&host, &mut old, this_year).await;
}

#[tokio::test]
async fn a_host_starts_and_changes_whatever_its_clock_says() {
    for (place, (year, offset)) in offsets().into_iter().enumerate() {
        let folder = folder();
        let clock = Clock::new(folder.path());
        clock.put(offset);
        let host = clock.lead(Launch::shop()).start();
        let mut old = Raw::connect(host.listen());
        served(&host, &mut old, year).await;
        let component = fs::read(watertight_testkit::host::component("payments")).unwrap();
        let swap = client().post(host.admin_url("/modules/payments/swap")).bearer_auth(host.token());
        send(swap.header("content-type", "application/wasm").body(component)).await.expect(200);
        let to = folder.path().join(format!("backup-{place}"));
        let backup = client().post(host.admin_url("/backup")).bearer_auth(host.token()).json(&json!({ "to": to }));
        assert!(send(backup).await.expect(200).at("/at").starts_with(year));
        let published = host.admin_get("/generations").await.expect(200).body;
        assert!(published["generations"][0]["at"].as_str().unwrap().starts_with(year), "{published}");
        assert!(!host.log().contains("panicked"), "{}", host.log());
    }
}
