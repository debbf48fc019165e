// Package notifications tells customers what happened, each thing once.
//
// The rules are here, the texts in template.go, the types and the SQL in model.go; the packages below component make it a component.
// The rules know no host and no HTTP. The same module in Rust stands in ../notifications: both must pass wit/notifications/suite.
package notifications

import (
	"fmt"
	"strings"
	"unicode"

	"shop/notifications/common"
)

// maxRecipient is the longest recipient, in bytes.
const maxRecipient = 128

// Notifications are kept in the platform's database.
type Notifications struct {
	platform common.Platform
}

// New makes notifications over a platform.
func New(platform common.Platform) Notifications {
	return Notifications{platform}
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
			ID:        n.platform.NewID(),
			Recipient: notice.Recipient,
			Template:  notice.Template,
			Text:      template.render(fields),
			CreatedAt: common.Timestamp(n.platform.Now()),
		},
		fields: fieldsToColumn(fields),
	}
	isNew, err := insert(n.platform, wanted, key)
	if err != nil {
		return Notification{}, fromSQL(err)
	}
	if !isNew {
		return n.known(wanted, key)
	}
	n.platform.Log(common.Info, "notifications", fmt.Sprintf("to %s: %s", quoted(wanted.Recipient), wanted.Text))
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
	items, err := list(n.platform, recipient, page)
	if err != nil {
		return none, fromSQL(err)
	}
	return common.Cut(page, items, func(item Notification) string { return item.ID }), nil
}

// known is what the key names already, where the same was to be said. By its fields: the template's text may have changed since.
func (n Notifications) known(wanted record, key string) (Notification, error) {
	known, err := findByKey(n.platform, key)
	if err != nil {
		return Notification{}, fromSQL(err)
	}
	if known == nil || known.Recipient != wanted.Recipient || known.Template != wanted.Template || known.fields != wanted.fields {
		return Notification{}, &ConflictError{"the deduplication key belongs to another notice"}
	}
	return known.Notification, nil
}

// quoted is a text in quotes, as every build's log has it: one piece of one line, whatever it holds.
func quoted(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, char := range text {
		switch {
		case char == '"' || char == '\\':
			out.WriteRune('\\')
			out.WriteRune(char)
		case char == '\t':
			out.WriteString(`\t`)
		case char == '\r':
			out.WriteString(`\r`)
		case char == '\n':
			out.WriteString(`\n`)
		case unicode.IsControl(char), hides(char):
			fmt.Fprintf(&out, `\u{%x}`, char)
		default:
			out.WriteRune(char)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// hides tells whether a character ends a line, or hides or turns what stands after it.
func hides(char rune) bool {
	return char >= 0x200b && char <= 0x200f || char >= 0x2028 && char <= 0x202e || char >= 0x2066 && char <= 0x2069 || char == 0xfeff
}
