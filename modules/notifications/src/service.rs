//! The rules of notifications.

use shop_common::field::{check_key, check_text};
use shop_common::log::quoted;
use shop_common::time::timestamp;
use shop_common::{Level, Page, Paged, Platform};

use crate::model::{self, Error, Notice, Notification, Record};
use crate::template::Template;

/// The longest recipient, in bytes.
const MAX_RECIPIENT: usize = 128;

/// Notifications over a platform.
#[derive(Debug, Clone)]
pub struct Notifications<P> {
    platform: P,
}

impl<P: Platform> Notifications<P> {
    /// Notifications that are kept in the platform's database.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Renders, keeps and logs a notice. The key names it for good: the same notice again returns what it made.
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

    /// What a recipient was told, newest first.
    pub fn list(&self, recipient: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Notification>, Error> {
        check_text("recipient", recipient, MAX_RECIPIENT)?;
        let page = Page::new(limit, after)?;
        let items = model::list(&self.platform, recipient, &page)?;
        Ok(page.cut(items, |notification| &notification.id))
    }

    /// What the key names already, where the same was to be said. By its fields: the template's text may have changed since.
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
