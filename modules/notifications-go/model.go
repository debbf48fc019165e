package notifications

import (
	"errors"
	"strings"

	"shop/notifications/common"
	"watertight/guest"
)

// Field is a value for one of a template's places.
type Field struct {
	Name  string
	Value string
}

// Notice is what somebody is to be told.
type Notice struct {
	Recipient string
	// Template is the template's name.
	Template string
	// Fields has a value for each of its places.
	Fields []Field
}

// Notification is a notice that was rendered and kept.
type Notification struct {
	// ID is a ULID.
	ID        string
	Recipient string
	Template  string
	// Text is as rendered.
	Text      string
	CreatedAt string
}

// A request is refused with a *common.Invalid or with one of these.
type (
	// ConflictError says that the key belongs to another notice.
	ConflictError struct{ Reason string }
	// UnavailableError says that the database doesn't answer now.
	UnavailableError struct{ Reason string }
	// StorageError says that the database failed. Its cause is for the log, never for a caller.
	StorageError struct{ Cause error }
)

func (e *ConflictError) Error() string    { return "conflict: " + e.Reason }
func (e *UnavailableError) Error() string { return "unavailable: " + e.Reason }
func (e *StorageError) Error() string     { return "the database failed" }
func (e *StorageError) Unwrap() error     { return e.Cause }

// fromSQL tells what passes from what doesn't.
func fromSQL(err error) error {
	var cause *guest.SQLError
	if errors.As(err, &cause) && cause.IsTemporary() {
		return &UnavailableError{"the database is busy"}
	}
	return &StorageError{err}
}

// record is a notification with the fields that it was rendered from, in one text: see fieldsToColumn.
type record struct {
	Notification
	fields string
}

const columns = "id, recipient, template, text, created_at, fields"

func (r *record) targets() []any {
	return []any{&r.ID, &r.Recipient, &r.Template, &r.Text, &r.CreatedAt, &r.fields}
}

// insert keeps a notification under its key. It returns false, and keeps nothing, where the key names one already.
func insert(sql guest.Statements, kept record, key string) (bool, error) {
	changed, err := sql.Execute(`insert into notifications (id, recipient, template, text, created_at, fields, deduplication_key)
		values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		on conflict (deduplication_key) do nothing`,
		kept.ID, kept.Recipient, kept.Template, kept.Text, kept.CreatedAt, kept.fields, key)
	return changed == 1, err
}

// findByKey is the notification that this key names; nil where it names none.
func findByKey(sql guest.Statements, key string) (*record, error) {
	return guest.First(sql, (*record).targets, "select "+columns+" from notifications where deduplication_key = ?1", key)
}

// list is what a recipient was told, newest first: as much as the page has to fetch.
func list(sql guest.Statements, recipient string, page common.Page) ([]Notification, error) {
	records, err := guest.All(sql, (*record).targets,
		"select "+columns+" from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3",
		recipient, page.Before, page.Fetch())
	items := make([]Notification, len(records))
	for index, record := range records {
		items[index] = record.Notification
	}
	return items, err
}

// fieldsToColumn makes one text of arranged fields. Two lists of fields give the same only where they are the same: no value has a
// line break.
func fieldsToColumn(fields []Field) string {
	var column strings.Builder
	for _, field := range fields {
		column.WriteString(field.Name + "=" + field.Value + "\n")
	}
	return column.String()
}
