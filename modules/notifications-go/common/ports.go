// Package common has what the rules are written against: ports to a database, a clock, ids and a log, and the small values that every
// contract of the shop uses. In a component the ports are the host's capabilities (package component); natively, in tests, an SQLite
// file. There is no business rule here.
package common

import (
	"fmt"
	"time"
)

// Platform is all that the rules ask of what is around them.
type Platform interface {
	SQL
	// Now is the time now.
	Now() time.Time
	// NewID is a new ULID.
	NewID() string
	// Log writes one line; context says which part of the module speaks.
	Log(level Level, context, message string)
}

// SQL is a module's own database. Statements have placeholders (?1); a parameter is a string or an int64.
type SQL interface {
	// Query runs one statement that only reads.
	Query(statement string, parameters ...any) ([]Row, error)
	// Execute runs one statement that writes, durably, and returns how many rows it changed.
	Execute(statement string, parameters ...any) (uint64, error)
}

// Row is one row of an answer: a string, int64, float64, []byte or nil for each column.
type Row []any

// Texts reads a row of texts into its targets, column by column.
func (row Row) Texts(targets ...*string) error {
	if len(row) != len(targets) {
		return &SQLError{Kind: Storage, Detail: "a row has another number of columns than was asked for"}
	}
	for column, target := range targets {
		text, ok := row[column].(string)
		if !ok {
			// The value itself stays out of the log.
			return &SQLError{Kind: Storage, Detail: "a column that holds a text holds something else"}
		}
		*target = text
	}
	return nil
}

// SQLErrorKind says what kind of failure it was.
type SQLErrorKind int

// The kinds of failure.
const (
	Constraint SQLErrorKind = iota
	Syntax
	Busy
	Timeout
	TooLarge
	Closed
	Storage
)

// SQLError says why a statement failed. Its text is for the log, never for a caller.
type SQLError struct {
	Kind   SQLErrorKind
	Detail string
}

func (e *SQLError) Error() string {
	switch e.Kind {
	case Constraint:
		return "constraint " + e.Detail
	case Syntax:
		return "bad statement: " + e.Detail
	case Busy:
		return "the database is busy"
	case Timeout:
		return "the statement ran out of time"
	case TooLarge:
		return "the statement or its result is too large"
	case Closed:
		return "the transaction has ended"
	default:
		return "storage: " + e.Detail
	}
}

// IsPassing tells whether the same statement may succeed in a moment.
func (e *SQLError) IsPassing() bool {
	return e.Kind == Busy || e.Kind == Timeout
}

// Level says how much a line matters.
type Level int

// The levels.
const (
	Info Level = iota
	Warn
	Error
	Critical
)

// Timestamp writes a moment as contracts do: RFC 3339 in UTC with milliseconds.
func Timestamp(moment time.Time) string {
	return moment.UTC().Format("2006-01-02T15:04:05.000Z")
}

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
