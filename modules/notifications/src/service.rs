//! The business rules of notifications.

use shop_common::field::{check_key, check_text};
use shop_common::log::quoted;
use shop_common::time::timestamp;
use shop_common::{Level, Page, Paged, Platform};

use crate::model::{self, Error, Notice, Notification, Record};
use crate::template::Template;

/// The maximum length of a recipient's name, in bytes.
const MAX_RECIPIENT: usize = 128;

/// The notifications service, with its platform.
#[derive(Debug, Clone)]
pub struct Notifications<P> {
    platform: P,
}

impl<P: Platform> Notifications<P> {
    /// Creates the service. Notifications are stored in the platform's database.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Renders, stores and logs a notice. `key` belongs to the notice for good: a repeated call with the same notice and key returns the
    /// existing notification.
    ///
    /// # Errors
    ///
    /// A field is not valid, the key belongs to another notice, or the database fails.
    pub fn notify(&self, notice: Notice, key: &str) -> Result<Notification, Error> {
        check_text("recipient", &notice.recipient, MAX_RECIPIENT)?;
        let template = Template::find(&notice.template)?;
        let fields = template.arrange(notice.fields)?;
        check_key("deduplication-key", key)?;
        let notification = Notification {
            id: self.platform.new_id(),
            recipient: notice.recipient,
            template: notice.template,
            text: template.render(&fields),
            created_at: timestamp(self.platform.now()),
        };
        let record = Record { notification, fields: model::fields_to_column(&fields) };
        if model::insert(&self.platform, &record, key)? {
            let Notification { recipient, text, .. } = &record.notification;
            self.platform.log(Level::Info, "notifications", &format!("to {}: {text}", quoted(recipient)));
            return Ok(record.notification);
        }
        self.known(&record, key)
    }

    /// Lists the notifications of a recipient, newest first.
    ///
    /// # Errors
    ///
    /// An argument is not valid, or the database fails.
    pub fn list(&self, recipient: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Notification>, Error> {
        check_text("recipient", recipient, MAX_RECIPIENT)?;
        let page = Page::new(limit, after)?;
        let items = model::list(&self.platform, recipient, &page)?;
        Ok(page.cut(items, |notification| &notification.id))
    }

    /// Returns the stored notification with the deduplication key `key`, if it was made from the same notice. Otherwise returns an error.
    /// Compares the fields, not the rendered texts, because the template's text may have changed since.
    fn known(&self, wanted: &Record, key: &str) -> Result<Notification, Error> {
        let is_wanted = |known: &Record| {
            known.notification.recipient == wanted.notification.recipient
                && known.notification.template == wanted.notification.template
                && known.fields == wanted.fields
        };
        model::find_by_key(&self.platform, key)?
            .filter(is_wanted)
            .map(|known| known.notification)
            .ok_or_else(|| Error::Conflict("the deduplication key belongs to another notice".to_owned()))
    }
}
