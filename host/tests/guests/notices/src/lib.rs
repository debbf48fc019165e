//! A test module that replaces the shop's notifications. Its configuration value `how` selects the failure of each call: `trap`, `spin`, or
//! `eat` (memory).
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::shop::notifications::notifications::{Error, Guest, Notice, Notification, NotificationPage};
use bindings::wasi::config::store;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn notify(_: Notice, _: String) -> Result<Notification, Error> {
        let how = store::get("how").expect("values in memory are there");
        match how.as_deref() {
            Some("spin") => loop {
                std::hint::spin_loop();
            },
            Some("eat") => {
                let mut taken = Vec::new();
                loop {
                    taken.push(vec![1_u8; 1 << 20]);
                }
            }
            _ => panic!("a secret of the inside"),
        }
    }

    fn list_notifications(_: String, _: Option<u32>, _: Option<String>) -> Result<NotificationPage, Error> {
        Ok(NotificationPage { items: Vec::new(), next: None })
    }
}
