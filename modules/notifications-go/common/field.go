// Package common has the small values that every contract of the shop uses. There is no business rule here.
package common

import "fmt"

// Invalid is a field that was understood and can't be accepted.
type Invalid struct {
	// Field is the path to it in the contract's own names: fields[0].value.
	Field string
	// Reason is the rest of a sentence that the field begins.
	Reason string
}

func (e *Invalid) Error() string {
	return e.Field + " " + e.Reason
}

// maxKey is the longest idempotency or deduplication key, in bytes.
const maxKey = 128

// CheckText refuses a text that is empty or longer than max bytes.
func CheckText(field, text string, max int) error {
	switch {
	case text == "":
		return &Invalid{field, "must not be empty"}
	case len(text) > max:
		return &Invalid{field, fmt.Sprintf("must not be longer than %d bytes", max)}
	}
	return nil
}

// CheckKey refuses a key that can't name a request.
func CheckKey(field, key string) error {
	return CheckText(field, key, maxKey)
}
