//! Paging of lists. A page begins after the last id of the previous page, so all pages cost the same.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use crate::field::Invalid;
use crate::ids::is_ulid;

/// The number of items of a page if the caller sets no limit.
const DEFAULT_LIMIT: u32 = 20;
/// The maximum number of items of a page.
const MAX_LIMIT: u32 = 100;
/// A text that sorts after every ULID.
const END: &str = "~";

/// A request for a part of a list, newest first.
#[derive(Debug)]
pub struct Page {
    before: String,
    limit: u32,
}

/// A part of a list, with the cursor of the next part.
#[derive(Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<String>,
}

impl Page {
    /// Validates the `limit` and `after` of a contract's list function.
    ///
    /// # Errors
    ///
    /// The limit is out of range, or the cursor is not one that a page returned.
    pub fn new(limit: Option<u32>, after: Option<&str>) -> Result<Self, Invalid> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Invalid::new("limit", format!("must be between 1 and {MAX_LIMIT}")));
        }
        let before = match after {
            None => END.to_owned(),
            Some(cursor) => decode(cursor).ok_or_else(|| Invalid::new("after", "must be a cursor that a page had"))?,
        };
        Ok(Self { before, limit })
    }

    /// Returns the text before which the ids of the page's items sort.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// Returns the number of items to fetch from the database: one more than the page shows, which tells whether there is a next page.
    pub fn fetch(&self) -> u32 {
        self.limit + 1
    }

    /// Builds the page from the fetched items. `id` returns the id of an item.
    pub fn cut<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> &str) -> Paged<T> {
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        let next = items.last().filter(|_| more).map(|last| BASE64.encode(id(last)));
        Paged { items, next }
    }
}

fn decode(cursor: &str) -> Option<String> {
    let id = String::from_utf8(BASE64.decode(cursor).ok()?).ok()?;
    is_ulid(&id).then_some(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let ids = ["01ARYZ6S41ZZZZZZZZZZZZZZZ2", "01ARYZ6S41ZZZZZZZZZZZZZZZ1"];
        let first = Page::new(Some(1), None).unwrap();
        assert_eq!((first.before(), first.fetch()), ("~", 2));
        let cut = first.cut(ids.to_vec(), |id| id);
        assert_eq!(cut.items, [ids[0]]);
        let second = Page::new(Some(1), cut.next.as_deref()).unwrap();
        assert_eq!(second.before(), ids[0]);
        assert_eq!(second.cut(vec![ids[1]], |id| id), Paged { items: vec![ids[1]], next: None });
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        for limit in [0, 101, u32::MAX] {
            assert_eq!(Page::new(Some(limit), None).unwrap_err().field, "limit");
        }
        for cursor in ["", "x", "fg", "é", "MDFBUllaNlM0MQ"] {
            assert_eq!(Page::new(None, Some(cursor)).unwrap_err().field, "after", "{cursor}");
        }
        assert_eq!(Page::new(None, None).unwrap().fetch(), 21);
    }
}
