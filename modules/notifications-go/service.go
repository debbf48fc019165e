// Package notifications tells customers what happened, each thing once.
//
// The rules are here, the texts in template.go, the types and the SQL in model.go; the packages below component make it a component.
// The rules know no host and no HTTP. The same module in Rust stands in ../notifications: both must pass wit/notifications/suite.
package notifications

import (
	"fmt"
	"log/slog"
	"time"

	"shop/notifications/common"
	"watertight/guest"
)

// maxRecipient is the longest recipient, in bytes.
const maxRecipient = 128

// Notifications are kept in a database.
type Notifications struct {
	database guest.Database
	log      *slog.Logger
	newID    func() string
}

// New makes notifications over a database and a log.
func New(database guest.Database, log *slog.Logger) Notifications {
	return Notifications{database, log, guest.NewID}
}

// Notify renders, keeps and logs a notice. The key names it for good: the same notice again returns what it made.
func (n Notifications) Notify(notice Notice, key string) (Notification, error) {
	if err := common.CheckText("recipient", notice.Recipient, maxRecipient); err != nil {
		return Notification{}, err
	}
	template, err := findTemplate(notice.Template)
	if err != nil {
		return Notification{}, err
	}
	fields, err := template.arrange(notice.Fields)
	if err != nil {
		return Notification{}, err
	}
	if err := common.CheckKey("deduplication-key", key); err != nil {
		return Notification{}, err
	}
	wanted := record{
		Notification: Notification{
			ID:        n.newID(),
			Recipient: notice.Recipient,
			Template:  notice.Template,
			Text:      template.render(fields),
			CreatedAt: guest.Timestamp(time.Now()),
		},
		fields: fieldsToColumn(fields),
	}
	isNew, err := insert(n.database, wanted, key)
	if err != nil {
		return Notification{}, fromSQL(err)
	}
	if !isNew {
		return n.known(wanted, key)
	}
	n.log.Info(fmt.Sprintf("to %s: %s", guest.Quoted(wanted.Recipient), wanted.Text))
	return wanted.Notification, nil
}

// List is what a recipient was told, newest first.
func (n Notifications) List(recipient string, limit *uint32, after *string) (common.Paged[Notification], error) {
	none := common.Paged[Notification]{}
	if err := common.CheckText("recipient", recipient, maxRecipient); err != nil {
		return none, err
	}
	page, err := common.NewPage(limit, after)
	if err != nil {
		return none, err
	}
	items, err := list(n.database, recipient, page)
	if err != nil {
		return none, fromSQL(err)
	}
	return common.Cut(page, items, func(item Notification) string { return item.ID }), nil
}

// known is what the key names already, where the same was to be said. By its fields: the template's text may have changed since.
func (n Notifications) known(wanted record, key string) (Notification, error) {
	known, err := findByKey(n.database, key)
	if err != nil {
		return Notification{}, fromSQL(err)
	}
	if known == nil || known.Recipient != wanted.Recipient || known.Template != wanted.Template || known.fields != wanted.fields {
		return Notification{}, &ConflictError{"the deduplication key belongs to another notice"}
	}
	return known.Notification, nil
}
