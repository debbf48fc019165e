//! A test module that gives and takes streams and futures.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::feeds::feeds::{Failure, Guest, Parts};
use bindings::{wit_future, wit_stream};
use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter, spawn_local, yield_async};

/// The type that implements the component's exports.
pub(crate) struct Component;

/// The number of bytes in one write or read.
const PIECE: usize = 100_000;
/// The number of different bytes in a stream.
const CYCLE: u64 = 251;

/// Writes the bytes of a stream from `from` to `to`. Returns how many were taken.
async fn write(output: &mut StreamWriter<u8>, from: u64, to: u64) -> u64 {
    let mut at = from;
    while at < to {
        let end = to.min(at + PIECE as u64);
        let left = output.write_all((at..end).map(|number| (number % CYCLE) as u8).collect()).await;
        at = end - left.len() as u64;
        if !left.is_empty() {
            break;
        }
    }
    at - from
}

/// Reads a stream to its end, or until there are `most` bytes. Returns how many there were.
async fn count(input: &mut StreamReader<u8>, most: u64) -> u64 {
    let mut total = 0;
    while total < most {
        let room = PIECE.min((most - total) as usize);
        let (result, bytes) = input.read(Vec::with_capacity(room)).await;
        total += bytes.len() as u64;
        if result == StreamResult::Dropped {
            break;
        }
    }
    total
}

/// Defines functions that copy a stream and a future.
macro_rules! copies {
    ($($name:ident: $item:ty),*) => {
        $(async fn $name(
            mut items: StreamReader<$item>,
            value: FutureReader<$item>,
        ) -> (StreamReader<$item>, FutureReader<$item>) {
            let (mut output, copy) = wit_stream::new();
            let (later, copied) = wit_future::new(|| unreachable!());
            spawn_local(async move {
                loop {
                    // Not item by item: `next` loses items of a stream without a type.
                    let (result, some) = items.read(Vec::with_capacity(PIECE)).await;
                    if !output.write_all(some).await.is_empty() {
                        return;
                    }
                    if result == StreamResult::Dropped {
                        break;
                    }
                }
                drop(output);
                let _ = later.write(value.await).await;
            });
            (copy, copied)
        })*
    };
}

impl Guest for Component {
    async fn pass(number: FutureReader<u32>) -> u32 {
        number.await
    }

    async fn forever(until: FutureReader<u32>) {
        until.await;
    }

    async fn compute() {
        loop {
            yield_async().await;
        }
    }

    async fn fail() -> Result<u32, Failure> {
        yield_async().await;
        panic!("as it was told");
    }

    async fn bytes(count: u64) -> StreamReader<u8> {
        let (mut output, reader) = wit_stream::new();
        spawn_local(async move {
            write(&mut output, 0, count).await;
        });
        reader
    }

    async fn endless() -> (StreamReader<u8>, FutureReader<u64>) {
        let (mut output, reader) = wit_stream::new();
        let (taken, end) = wit_future::new(|| unreachable!());
        spawn_local(async move {
            let count = write(&mut output, 0, u64::MAX).await;
            let _ = taken.write(count).await;
        });
        (reader, end)
    }

    async fn breaks(count: u64) -> StreamReader<u8> {
        let (mut output, reader) = wit_stream::new();
        spawn_local(async move {
            write(&mut output, 0, count).await;
            panic!("as it was told");
        });
        reader
    }

    async fn never() -> FutureReader<u32> {
        let (writer, reader) = wit_future::new(|| unreachable!());
        spawn_local(async move {
            yield_async().await;
            std::mem::forget(writer);
            panic!("as it was told");
        });
        reader
    }

    async fn silent() -> StreamReader<u8> {
        let (output, reader) = wit_stream::new();
        std::mem::forget(output);
        reader
    }

    async fn total(mut input: StreamReader<u8>) -> u64 {
        count(&mut input, u64::MAX).await
    }

    async fn sip(mut input: StreamReader<u8>, most: u64) -> u64 {
        count(&mut input, most).await
    }

    async fn hold(input: StreamReader<u8>, until: FutureReader<u32>) {
        until.await;
        drop(input);
    }

    async fn hold_texts(inputs: Vec<StreamReader<String>>, until: FutureReader<u32>) {
        until.await;
        drop(inputs);
    }

    async fn through(input: StreamReader<u8>) -> StreamReader<u8> {
        input
    }

    fn plain_through(input: StreamReader<u8>) -> StreamReader<u8> {
        input
    }

    async fn parted(count: u64, end: Option<String>) -> Result<Parts, Failure> {
        let (mut output, bytes) = wit_stream::new();
        let (writer, reader) = match end {
            Some(text) => {
                let (writer, reader) = wit_future::new(|| unreachable!());
                (Some((writer, text)), Some(reader))
            }
            None => (None, None),
        };
        spawn_local(async move {
            write(&mut output, 0, count).await;
            drop(output);
            if let Some((writer, text)) = writer {
                let _ = writer.write(text).await;
            }
        });
        Ok(Parts { bytes, end: reader })
    }

    async fn gather(inputs: Vec<StreamReader<u8>>) -> u64 {
        let mut total = 0;
        for mut input in inputs {
            total += count(&mut input, u64::MAX).await;
        }
        total
    }

    async fn copy_char(value: FutureReader<char>) -> FutureReader<char> {
        let (later, copied) = wit_future::new(|| unreachable!());
        spawn_local(async move {
            let _ = later.write(value.await).await;
        });
        copied
    }

    copies!(
        copy_unit: (), copy_bool: bool, copy_u8: u8, copy_s8: i8, copy_u16: u16, copy_s16: i16, copy_u32: u32, copy_s32: i32,
        copy_u64: u64, copy_s64: i64, copy_f32: f32, copy_f64: f64, copy_string: String, copy_list: Vec<u8>
    );
}
