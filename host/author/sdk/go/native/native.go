// Package native has a module's database for native tests, over database/sql. The test brings the driver:
//
//	import _ "modernc.org/sqlite"
//
//	database, err := native.Open("sqlite", filepath.Join(t.TempDir(), "db"), "migrations")
package native

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"watertight/guest"
)

// Database is a guest.Database over a file.
type Database struct {
	// SQL is the database itself, for what a test does past the module.
	SQL *sql.DB
}

var _ guest.Database = Database{}

// Open makes a new database in a file, with the migrations of a folder in the order of their names.
func Open(driver, file, migrations string) (Database, error) {
	database, err := sql.Open(driver, file)
	if err != nil {
		return Database{}, err
	}
	files, err := filepath.Glob(filepath.Join(migrations, "*.sql"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no migrations in %s", migrations)
	}
	for _, file := range files {
		var text []byte
		if err == nil {
			text, err = os.ReadFile(file)
		}
		if err == nil {
			_, err = database.Exec(string(text))
		}
	}
	if err != nil {
		return Database{}, errors.Join(err, database.Close())
	}
	return Database{database}, nil
}

// Query runs one statement that only reads.
func (d Database) Query(statement string, parameters ...any) ([]guest.Row, error) {
	rows, err := d.SQL.Query(statement, guest.Values(parameters)...)
	return read(rows, err)
}

// Execute runs one statement that writes.
func (d Database) Execute(statement string, parameters ...any) (uint64, error) {
	return changed(d.SQL.Exec(statement, guest.Values(parameters)...))
}

// Begin opens a transaction.
func (d Database) Begin() (guest.Tx, error) {
	begun, err := d.SQL.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, failure(err)
	}
	return tx{begun}, nil
}

type tx struct{ tx *sql.Tx }

func (t tx) Query(statement string, parameters ...any) ([]guest.Row, error) {
	rows, err := t.tx.Query(statement, guest.Values(parameters)...)
	return read(rows, err)
}

func (t tx) Execute(statement string, parameters ...any) (uint64, error) {
	return changed(t.tx.Exec(statement, guest.Values(parameters)...))
}

func (t tx) Commit() error { return failure(t.tx.Commit()) }

func (t tx) Rollback() { _ = t.tx.Rollback() }

func read(rows *sql.Rows, err error) ([]guest.Row, error) {
	if err != nil {
		return nil, failure(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, failure(err)
	}
	var found []guest.Row
	for rows.Next() {
		row, targets := make(guest.Row, len(names)), make([]any, len(names))
		for column := range row {
			targets[column] = &row[column]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, failure(err)
		}
		found = append(found, row)
	}
	return found, failure(rows.Err())
}

func changed(result sql.Result, err error) (uint64, error) {
	if err != nil {
		return 0, failure(err)
	}
	changed, err := result.RowsAffected()
	return uint64(changed), failure(err)
}

// failure tells the kinds apart by SQLite's own words, which all drivers pass on.
func failure(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for words, kind := range map[string]string{
		"UNIQUE constraint failed":      "Unique",
		"FOREIGN KEY constraint failed": "ForeignKey",
		"NOT NULL constraint failed":    "NotNull",
		"CHECK constraint failed":       "Check",
	} {
		if strings.Contains(text, words) {
			return &guest.SQLError{Kind: guest.Constraint, Constraint: kind, Detail: text}
		}
	}
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return &guest.SQLError{Kind: guest.Closed}
	case strings.Contains(text, "database is locked"):
		return &guest.SQLError{Kind: guest.Busy}
	case strings.Contains(text, "syntax error"), strings.Contains(text, "no such"):
		return &guest.SQLError{Kind: guest.Syntax, Detail: text}
	default:
		return &guest.SQLError{Kind: guest.Storage, Detail: text}
	}
}
