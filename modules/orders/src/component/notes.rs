//! Implements the contract of notes.

use shop_common::component::Host;

use super::Component;
use crate::bindings::exports::shop::orders::notes as contract;
use crate::notes::{Error, Note, NoteChange, Notes};

impl contract::Guest for Component {
    fn get_note(id: String) -> Result<contract::Note, contract::Error> {
        Ok(Notes::new(Host::connect()).get(&id)?.into())
    }

    fn patch_note(id: String, change: contract::NoteChange) -> Result<contract::Note, contract::Error> {
        let change = NoteChange { gift: change.gift, delivery: change.delivery };
        Ok(Notes::new(Host::connect()).patch(&id, &change)?.into())
    }
}

impl From<Note> for contract::Note {
    fn from(note: Note) -> Self {
        Self { gift: note.gift, delivery: note.delivery, changed_at: note.changed_at }
    }
}

/// Converts an error for callers. A database error is logged here, and its cause is not passed on.
impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(id) => Self::NotFound(id),
            Error::Invalid(field) => Self::Invalid(field.into()),
            Error::Unavailable(reason) => Self::Unavailable(reason.to_owned()),
            Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}
