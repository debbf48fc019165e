//! A test module whose functions say what they got.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::door::books::Book as Shelved;
use bindings::exports::test::door::books::{Fault, File, Guest as Books, Money, Outcome, Page, Saved, Wait};
use bindings::exports::test::door::requests::{Book, Every, Filter, Guest, Patch, Size, Upload};

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn plain(a: String, b: Option<u32>, tag: Vec<String>, size: Option<Size>) -> String {
        format!("{a:?} {b:?} {tag:?} {size:?}")
    }

    fn numbers(id: u32, n: Vec<i64>) -> String {
        format!("{id} {n:?}")
    }

    fn filtered(filter: Filter) -> String {
        let Filter { tag, page_size, size, is_new } = filter;
        format!("{tag:?} {page_size:?} {size:?} {is_new}")
    }

    fn stored(book: Book) -> String {
        let Book { title, tag, pages, size, is_new, big_id } = book;
        format!("{title:?} {tag:?} {pages:?} {size:?} {is_new} {big_id}")
    }

    fn spread(id: u32, title: String, tag: Vec<String>, is_new: Option<bool>) -> String {
        format!("{id} {title:?} {tag:?} {is_new:?}")
    }

    fn raw(payload: Vec<u8>, kind: Option<String>, signature: Option<String>) -> String {
        let sum = payload.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let start = &payload[..payload.len().min(16)];
        format!("{} {sum} {start:?} {kind:?} {signature:?}", payload.len())
    }

    fn text(text: String) -> String {
        format!("{text:?}")
    }

    fn uploaded(upload: Upload) -> String {
        let Upload { title, cover, more, back, pages } = upload;
        let file = |file: &bindings::exports::test::door::requests::File| {
            let start = String::from_utf8_lossy(&file.bytes[..file.bytes.len().min(16)]).into_owned();
            format!("{:?} {:?} {} {start:?}", file.name, file.media_type, file.bytes.len())
        };
        let more: Vec<String> = more.iter().map(file).collect();
        format!("{title:?}, {}, {more:?}, {:?}, {pages:?}", file(&cover), back.as_ref().map(file))
    }

    fn patched(patch: Patch) -> String {
        format!("{:?} {:?}", patch.note, patch.big_id)
    }

    fn patched_fields(id: u32, note: Option<Option<String>>) -> String {
        format!("{id} {note:?}")
    }

    fn returned(patch: Patch) -> Patch {
        patch
    }

    fn wide(big_id: u64) -> (u64, Vec<i64>) {
        (big_id, vec![i64::MIN, 5])
    }

    fn varied(it: Every) -> String {
        format!("{it:?}")
    }
}

fn shelved(id: String, next: Option<String>) -> Shelved {
    Shelved { id, version: 7, price: Money { minor: -1250 }, next }
}

impl Books for Component {
    fn get(id: String, next: Option<String>) -> Shelved {
        shelved(id, next)
    }

    fn save(id: String, how: String) -> Saved {
        match &*how {
            "created" => Saved::Created(shelved(id, None)),
            "unchanged" => Saved::Unchanged(shelved(id, None)),
            _ => Saved::Gone,
        }
    }

    fn touch(how: Outcome) -> Outcome {
        how
    }

    fn echo(text: Option<String>) -> Option<String> {
        text
    }

    fn text(text: String) -> String {
        text
    }

    fn bytes(length: u32) -> Vec<u8> {
        (b'a'..=b'z').cycle().take(length as usize).collect()
    }

    fn download(text: String, name: Option<String>, media_type: Option<String>) -> File {
        File { media_type, name, bytes: text.into_bytes() }
    }

    fn show(text: String, media_type: String) -> Page {
        Page { media_type, text }
    }

    fn forget(_id: String) {}

    fn replace(id: String, matches: Option<String>) -> Result<Shelved, Fault> {
        match matches.as_deref() {
            None | Some("\"7\"") => Ok(shelved(id, None)),
            Some(_) => Err(Fault::Broken),
        }
    }

    fn fail(how: String) -> Result<String, Fault> {
        Err(match &*how {
            "not" => return Ok(how),
            "busy" => Fault::Busy(Wait { seconds: 30, realm: "the \"quiet\" room".to_owned() }),
            "broken" => Fault::Broken,
            "other" => Fault::Other,
            _ => Fault::NotFound(how),
        })
    }

    fn fail_plainly(text: String) -> Result<String, String> {
        Err(text)
    }

    fn fail_with(seconds: u32) -> Result<String, Wait> {
        Err(Wait { seconds, realm: "all".to_owned() })
    }

    fn fail_mutely(fails: bool) -> Result<String, ()> {
        if fails { Err(()) } else { Ok("fine".to_owned()) }
    }
}
