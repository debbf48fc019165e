//! Implements the exported contract with the service. It contains no business rules.

use shop_common::component::Host;

use crate::bindings::exports::shop::notifications::notifications as contract;
use crate::model::{Error, Field, Notice, Notification};
use crate::service::Notifications;

/// The type that implements the component's exports.
pub(crate) struct Component;

fn notifications() -> Notifications<Host> {
    Notifications::new(Host::connect())
}

impl contract::Guest for Component {
    fn notify(notice: contract::Notice, deduplication_key: String) -> Result<contract::Notification, contract::Error> {
        Ok(notifications().notify(notice.into(), &deduplication_key)?.into())
    }

    fn list_notifications(
        recipient: String,
        limit: Option<u32>,
        after: Option<String>,
    ) -> Result<contract::NotificationPage, contract::Error> {
        let page = notifications().list(&recipient, limit, after.as_deref())?;
        Ok(contract::NotificationPage { items: page.items.into_iter().map(Into::into).collect(), next: page.next })
    }
}

impl From<contract::Notice> for Notice {
    fn from(notice: contract::Notice) -> Self {
        let fields = notice.fields.into_iter().map(|field| Field { name: field.name, value: field.value });
        Self { recipient: notice.recipient, template: notice.template, fields: fields.collect() }
    }
}

impl From<Notification> for contract::Notification {
    fn from(notification: Notification) -> Self {
        Self {
            id: notification.id,
            recipient: notification.recipient,
            template: notification.template,
            text: notification.text,
            created_at: notification.created_at,
        }
    }
}

/// Converts an error for callers. A database error is logged here, and its cause is not passed on.
impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(field) => Self::Invalid(field.into()),
            Error::Conflict(reason) => Self::Conflict(reason),
            Error::Unavailable(reason) => Self::Unavailable(reason),
            Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}
