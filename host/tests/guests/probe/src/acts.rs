//! Functions that change or damage the module's instance.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::Write;

use crate::Component;
use crate::bindings::exports::test::probe::acts::Guest;
use crate::bindings::wasi::clocks::wall_clock;
use crate::bindings::wasi::logging::logging::{Level, log};
use crate::bindings::watertight::lifecycle::failure::{Place, report};

/// The size of a page of WebAssembly's linear memory, in bytes.
const PAGE: usize = 64 << 10;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static TAKEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the processor busy for this number of milliseconds.
pub(crate) fn wait(milliseconds: u32) {
    let now = || {
        let now = wall_clock::now();
        now.seconds * 1_000 + u64::from(now.nanoseconds) / 1_000_000
    };
    let end = now() + u64::from(milliseconds);
    while now() < end {}
}

#[inline(never)]
fn fail_deep_inside(message: &str) {
    panic!("{message}");
}

impl Guest for Component {
    fn count() -> u32 {
        CALLS.with(|calls| {
            calls.set(calls.get() + 1);
            calls.get()
        })
    }

    fn trap() {
        panic!("as asked for");
    }

    fn fail(message: String) {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|place| Place {
                file: place.file().to_owned(),
                line: place.line(),
                column: place.column(),
            });
            report(panic.payload_as_str().unwrap_or_default(), place.as_ref());
        }));
        fail_deep_inside(&message);
    }

    fn echo(number: f64) -> f64 {
        number
    }

    fn spin() {
        loop {
            black_box(());
        }
    }

    fn recurse() -> u64 {
        #[inline(never)]
        fn deeper(depth: u64) -> u64 {
            let frame = black_box([depth; 64]);
            // The stack overflows long before.
            if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[(depth % 64) as usize] }
        }
        deeper(black_box(0))
    }

    fn take_memory(mebibytes: u32) -> u32 {
        TAKEN.with_borrow_mut(|taken| {
            for _ in 0..mebibytes {
                let mut block = vec![0u8; 1 << 20];
                block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
                taken.push(black_box(block));
            }
            taken.len() as u32
        })
    }

    fn text(bytes: u32) -> String {
        "x".repeat(bytes as usize)
    }

    fn not_a_number() -> f64 {
        f64::NAN
    }

    fn wait(milliseconds: u32) -> String {
        wait(milliseconds);
        "waited".to_owned()
    }

    fn log(message: String) {
        log(Level::Info, "probe", &message);
    }

    fn print(text: String, to_error: bool) {
        // Without WASI, the output is lost.
        let _ = if to_error {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }

    fn surroundings() -> Vec<String> {
        vec![
            format!("{} arguments", std::env::args().count()),
            format!("{} variables", std::env::vars().count()),
            format!("file: {}", std::fs::read("/etc/hostname").is_ok()),
            format!("folder: {}", std::fs::read_dir(".").is_ok()),
            format!("connection: {}", std::net::TcpStream::connect("127.0.0.1:1").is_ok()),
        ]
    }
}
