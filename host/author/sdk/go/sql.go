package guest

import (
	"errors"
	"fmt"
)

// maxBegins is how often Transaction asks for the database's writer before it reports Busy.
const maxBegins = 3

// Statements run on a module's database, outside of or within a transaction. They have placeholders (?1). A parameter is nil, a bool, an
// int, int64, int32 or uint32, a float64, a string or a []byte; or a pointer to a string, int64 or float64, nil for null.
type Statements interface {
	// Query runs one statement that only reads.
	Query(statement string, parameters ...any) ([]Row, error)
	// Execute runs one statement that writes, and returns how many rows it changed. Outside of a transaction the changes are durable
	// then.
	Execute(statement string, parameters ...any) (uint64, error)
}

// Database is a module's own.
type Database interface {
	Statements
	// Begin opens a write transaction. It holds the database's only writer. Function Transaction also ends it.
	Begin() (Tx, error)
}

// Tx is a write transaction: either all of its statements take effect, or none.
type Tx interface {
	Statements
	// Commit makes the changes durable.
	Commit() error
	// Rollback undoes them. It does nothing after Commit.
	Rollback()
}

// Transaction runs work in a write transaction. It commits if work returns nil, and rolls back if work returns an error or panics. If the
// writer is busy, it is asked for up to three times; work runs at most once.
func Transaction(database Database, work func(Tx) error) error {
	tx, err := database.Begin()
	for begins := 1; begins < maxBegins && IsKind(err, Busy); begins++ {
		tx, err = database.Begin()
	}
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// All is all rows of a query as values of T. fields returns pointers to the fields of one T, in the order of the columns.
func All[T any](statements Statements, fields func(*T) []any, statement string, parameters ...any) ([]T, error) {
	rows, err := statements.Query(statement, parameters...)
	if err != nil {
		return nil, err
	}
	found := make([]T, len(rows))
	for index, row := range rows {
		if err := row.Scan(fields(&found[index])...); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// First is the first row of a query as a T; nil if there is no row.
func First[T any](statements Statements, fields func(*T) []any, statement string, parameters ...any) (*T, error) {
	found, err := All(statements, fields, statement, parameters...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// Column is the fields function for rows of one column.
func Column[T any](value *T) []any {
	return []any{value}
}

// Row is one row of an answer: nil, an int64, a float64, a string or a []byte for each column.
type Row []any

// Scan reads the columns into targets: pointers to string, int64, int, uint32, bool, float64 or []byte; or to pointers to string, int64 or
// float64, which become nil for null; or a ColumnScanner.
func (row Row) Scan(targets ...any) error {
	if len(row) != len(targets) {
		return &SQLError{Kind: Storage, Detail: fmt.Sprintf("a row has %d columns and not %d", len(row), len(targets))}
	}
	for column, target := range targets {
		if !scan(row[column], target) {
			// The value itself stays out of the log.
			return &SQLError{Kind: Storage, Detail: fmt.Sprintf("column %d doesn't fit a %T", column+1, target)}
		}
	}
	return nil
}

// ColumnScanner is a type that reads itself from a column, such as an enum that is stored as a text. It tells whether the value fits.
type ColumnScanner interface {
	ScanColumn(value any) bool
}

func scan(value, target any) bool {
	switch target := target.(type) {
	case *string:
		return set(value, target)
	case *int64:
		return set(value, target)
	case *float64:
		return set(value, target)
	case *[]byte:
		return set(value, target)
	case *int:
		integer, ok := value.(int64)
		*target = int(integer)
		return ok && int64(*target) == integer
	case *uint32:
		integer, ok := value.(int64)
		*target = uint32(integer)
		return ok && int64(*target) == integer
	case *bool:
		integer, ok := value.(int64)
		*target = integer == 1
		return ok && (integer == 0 || integer == 1)
	case **string:
		return setNullable(value, target)
	case **int64:
		return setNullable(value, target)
	case **float64:
		return setNullable(value, target)
	case *any:
		*target = value
		return true
	case ColumnScanner:
		return target.ScanColumn(value)
	default:
		return false
	}
}

func set[T any](value any, target *T) bool {
	found, ok := value.(T)
	*target = found
	return ok
}

func setNullable[T any](value any, target **T) bool {
	*target = nil
	if value == nil {
		return true
	}
	found, ok := value.(T)
	*target = &found
	return ok
}

// Values makes values of SQL from parameters: nil, int64, float64, string or []byte each. It panics for any other type.
func Values(parameters []any) []any {
	values := make([]any, len(parameters))
	for index, parameter := range parameters {
		values[index] = value(parameter)
	}
	return values
}

func value(parameter any) any {
	switch parameter := parameter.(type) {
	case nil, int64, float64, string, []byte:
		return parameter
	case int:
		return int64(parameter)
	case int32:
		return int64(parameter)
	case uint32:
		return int64(parameter)
	case bool:
		if parameter {
			return int64(1)
		}
		return int64(0)
	case *string:
		return nullable(parameter)
	case *int64:
		return nullable(parameter)
	case *float64:
		return nullable(parameter)
	default:
		panic(fmt.Sprintf("a parameter of type %T", parameter))
	}
}

func nullable[T any](parameter *T) any {
	if parameter == nil {
		return nil
	}
	return *parameter
}

// SQLErrorKind says what kind of failure it was.
type SQLErrorKind int

// The kinds of failure.
const (
	// Constraint: the statement would violate one.
	Constraint SQLErrorKind = iota
	// Syntax: the statement or its parameters are not valid.
	Syntax
	// Busy: too many callers wait for the writer, or this call has an open transaction.
	Busy
	// Timeout: the statement ran out of time.
	Timeout
	// TooLarge: the statement or its result exceeds a limit.
	TooLarge
	// Closed: the transaction has ended.
	Closed
	// Storage: the database failed, or a column holds what the module doesn't write.
	Storage
)

// SQLError says why a statement failed. Its text is for the log, never for a caller.
type SQLError struct {
	Kind SQLErrorKind
	// Constraint is the kind of the violated constraint: Unique, ForeignKey, NotNull, Check or Other.
	Constraint string
	Detail     string
}

func (e *SQLError) Error() string {
	switch e.Kind {
	case Constraint:
		return "constraint " + e.Constraint + ": " + e.Detail
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

// IsTemporary tells whether the same statement may succeed in a moment.
func (e *SQLError) IsTemporary() bool {
	return e.Kind == Busy || e.Kind == Timeout
}

// IsDuplicate tells whether the statement would violate a unique constraint.
func (e *SQLError) IsDuplicate() bool {
	return e.Kind == Constraint && e.Constraint == "Unique"
}

// IsKind tells whether an error is an SQLError of a kind.
func IsKind(err error, kind SQLErrorKind) bool {
	var cause *SQLError
	return errors.As(err, &cause) && cause.Kind == kind
}
