//! A test module that exchanges streams and futures with another one.
#![cfg(target_arch = "wasm32")]

mod bindings;

use std::pin::pin;

use bindings::exports::test::drinks::drinks::Guest;
use bindings::test::feeds::feeds::{self, Failure};
use bindings::test::hands::hands;
use bindings::{wit_future, wit_stream};
use futures::future::{Either, join, join_all, select};
use wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter, spawn_local, yield_async};

/// The type that implements the component's exports.
pub(crate) struct Component;

/// The number of bytes in one write or read.
const PIECE: usize = 100_000;
/// The number of different bytes in a stream.
const CYCLE: u64 = 251;

impl Guest for Component {
    async fn run(name: String, number: u64) -> Result<String, String> {
        match name.as_str() {
            "beside" => beside().await,
            "cancel" => cancel().await,
            "compute" => {
                join(feeds::compute(), feeds::compute()).await;
            }
            "fail" => match feeds::fail().await {
                Ok(number) => return Ok(number.to_string()),
                Err(Failure::Unavailable(why)) => return Err(why),
            },
            "forever" => feeds::forever(never()).await,
            "bytes" => return read(feeds::bytes(number).await).await,
            "breaks" => return read(feeds::breaks(number).await).await,
            "never" => return Ok(feeds::never().await.await.to_string()),
            "silent" => return read(feeds::silent().await).await,
            "drop" => return drop_early(number).await,
            "total" => return Ok(feeds::total(written(number)).await.to_string()),
            "sip" => return sip(number).await,
            "hold" => feeds::hold(written(number), never()).await,
            "hold-texts" => hold_texts(number).await,
            "through" => return read(feeds::through(feeds::through(written(number)).await).await).await,
            "plain-through" => return read(feeds::plain_through(written(number))).await,
            "relay" => return Ok(feeds::total(feeds::bytes(number).await).await.to_string()),
            "bytes-on" => return read(hands::bytes(number).await).await,
            "total-on" => return Ok(hands::total(written(number)).await.to_string()),
            "through-on" => return read(hands::through(written(number)).await).await,
            "leave" => std::mem::forget(feeds::endless().await),
            "slow" => return slow(number).await,
            "parted" => return parted(number).await,
            "gather" => {
                let inputs = (0..number).map(|_| written(10)).collect();
                return Ok(feeds::gather(inputs).await.to_string());
            }
            "many" => return many(number).await,
            "types" => return types(number).await,
            other => return Err(format!("there is no `{other}`")),
        }
        Ok(String::new())
    }
}

/// Reads a stream to its end. Returns how many bytes there were, or an error if they are not the right ones.
async fn read(mut input: StreamReader<u8>) -> Result<String, String> {
    let mut total = 0;
    loop {
        let (result, bytes) = input.read(Vec::with_capacity(PIECE)).await;
        for byte in bytes {
            if u64::from(byte) != total % CYCLE {
                return Err(format!("byte {total} is {byte}"));
            }
            total += 1;
        }
        if result == StreamResult::Dropped {
            return Ok(total.to_string());
        }
    }
}

/// Reads so many bytes, in pieces with pauses between them. Returns how many there were.
async fn slow(count: u64) -> Result<String, String> {
    let mut input = feeds::bytes(count).await;
    let mut total = 0;
    loop {
        let (result, bytes) = input.read(Vec::with_capacity(PIECE)).await;
        total += bytes.len();
        if result == StreamResult::Dropped {
            return Ok(total.to_string());
        }
        for _ in 0..10 {
            yield_async().await;
        }
    }
}

/// Writes so many bytes. Returns how many were taken.
async fn write(mut output: StreamWriter<u8>, count: u64) -> u64 {
    let mut at = 0;
    while at < count {
        let end = count.min(at + PIECE as u64);
        let left = output.write_all((at..end).map(|number| (number % CYCLE) as u8).collect()).await;
        at = end - left.len() as u64;
        if !left.is_empty() {
            break;
        }
    }
    at
}

/// Returns a stream of so many bytes.
fn written(count: u64) -> StreamReader<u8> {
    let (output, reader) = wit_stream::new();
    spawn_local(async move {
        write(output, count).await;
    });
    reader
}

/// Lets a call run while another one reads a stream.
async fn beside() {
    let (mut output, reader) = wit_stream::new();
    let during = async move {
        // More than waits between two compartments: the first call is reading.
        assert!(output.write_all(vec![0; 10 * PIECE]).await.is_empty());
        let (number, wait) = wit_future::new(|| 0);
        let (passed, _) = join(feeds::pass(wait), number.write(3)).await;
        drop(output);
        passed
    };
    assert_eq!(join(feeds::total(reader), during).await, (10 * PIECE as u64, 3));
}

/// Cancels a call that reads a stream.
async fn cancel() {
    let (mut output, reader) = wit_stream::new();
    {
        let (call, writing) = (pin!(feeds::total(reader)), pin!(output.write_all(vec![0; 10 * PIECE])));
        let Either::Right((left, _)) = select(call, writing).await else { panic!("the call has returned") };
        // More than waits between two compartments: the call is reading.
        assert!(left.is_empty());
    }
    while output.write_all(vec![0; PIECE]).await.is_empty() {}
}

/// Returns a future that is never written.
fn never() -> FutureReader<u32> {
    let (writer, reader) = wit_future::new(|| 0);
    std::mem::forget(writer);
    reader
}

/// Reads some bytes of an endless stream and drops it. Returns how many bytes the other had written by then.
async fn drop_early(count: u64) -> Result<String, String> {
    let (mut input, taken) = feeds::endless().await;
    let mut total = 0;
    while total < count {
        let (_, bytes) = input.read(Vec::with_capacity(PIECE.min((count - total) as usize))).await;
        total += bytes.len() as u64;
    }
    // Others go on meanwhile: the writer must not get far.
    for _ in 0..1_000 {
        yield_async().await;
    }
    drop(input);
    Ok(taken.await.to_string())
}

/// Writes to a reader that soon drops the stream. Returns how many bytes were taken.
async fn sip(count: u64) -> Result<String, String> {
    let (output, reader) = wit_stream::new();
    let (sipped, taken) = join(feeds::sip(reader, count), write(output, u64::MAX)).await;
    assert_eq!(sipped, count);
    Ok(taken.to_string())
}

/// Writes a text of so many bytes to each of 100 streams that nobody reads.
async fn hold_texts(length: u64) {
    let text = "x".repeat(length as usize);
    let streams = (0..100).map(|_| {
        let (mut output, reader) = wit_stream::new();
        let text = text.clone();
        spawn_local(async move {
            output.write_one(text).await;
        });
        reader
    });
    feeds::hold_texts(streams.collect(), never()).await;
}

async fn parted(count: u64) -> Result<String, String> {
    let failed = |Failure::Unavailable(why)| why;
    let none = feeds::parted(count, None).await.map_err(failed)?;
    assert!(none.end.is_none());
    let first = read(none.bytes).await?;
    let some = feeds::parted(count, Some("end".to_owned())).await.map_err(failed)?;
    let second = read(some.bytes).await?;
    let end = some.end.expect("it was asked for").await;
    Ok(format!("{first} {second} {end}"))
}

/// Has so many streams open at once.
async fn many(count: u64) -> Result<String, String> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(feeds::through(written(1)).await);
    }
    let read = join_all(open.into_iter().map(read)).await;
    read.into_iter().collect::<Result<Vec<_>, _>>().map(|read| read.len().to_string())
}

/// Sends values there and back, as a stream and as a future.
macro_rules! round_trip {
    ($copy:path, $values:expr) => {{
        let values = $values;
        let last = values.last().expect("there are values").clone();
        let (mut output, items) = wit_stream::new();
        let (later, value) = wit_future::new(|| unreachable!());
        let sent = values.clone();
        spawn_local(async move {
            let left = output.write_all(sent).await;
            assert!(left.is_empty(), "{}", left.len());
            drop(output);
            let _ = later.write(last).await;
        });
        let (copied, later) = $copy(items, value).await;
        let (copied, later) = (copied.collect().await, later.await);
        if copied != values || Some(&later) != values.last() {
            return Err(format!("{}: {} of {} values", stringify!($copy), copied.len(), values.len()));
        }
    }};
}

/// Sends values of one type there and back.
async fn types(number: u64) -> Result<String, String> {
    match number {
        0 => round_trip!(feeds::copy_unit, vec![(); 1000]),
        1 => round_trip!(feeds::copy_bool, vec![true, false, true]),
        2 => round_trip!(feeds::copy_u8, vec![0_u8, 1, u8::MAX]),
        3 => round_trip!(feeds::copy_s8, vec![0_i8, i8::MIN, i8::MAX]),
        4 => round_trip!(feeds::copy_u16, vec![0_u16, 1, u16::MAX]),
        5 => round_trip!(feeds::copy_s16, vec![0_i16, i16::MIN, i16::MAX]),
        6 => round_trip!(feeds::copy_u32, (0..40_000_u32).collect::<Vec<_>>()),
        7 => round_trip!(feeds::copy_s32, vec![0_i32, i32::MIN, i32::MAX]),
        8 => round_trip!(feeds::copy_u64, vec![0_u64, 1, u64::MAX]),
        9 => round_trip!(feeds::copy_s64, vec![0_i64, i64::MIN, i64::MAX]),
        10 => round_trip!(feeds::copy_f32, vec![0.5_f32, f32::MIN, f32::INFINITY]),
        11 => round_trip!(feeds::copy_f64, vec![0.5_f64, f64::MIN, f64::INFINITY]),
        12 => {
            let (crab, value) = wit_future::new(|| unreachable!());
            let copied = feeds::copy_char(value).await;
            assert_eq!(join(crab.write('🦀'), copied.into_future()).await.1, '🦀');
        }
        13 => round_trip!(feeds::copy_string, ["", "tea", "grüße", &"x".repeat(200_000)].map(str::to_owned).to_vec()),
        14 => round_trip!(feeds::copy_list, vec![vec![], vec![1_u8, 2], vec![7; 300_000]]),
        other => return Err(format!("there is no type {other}")),
    }
    Ok(String::new())
}
