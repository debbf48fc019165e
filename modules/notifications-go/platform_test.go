package notifications

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"shop/notifications/common"
)

// testPlatform is the ports over a real SQLite file with the module's own migrations, and a log that tests can read.
type testPlatform struct {
	database *sql.DB
	made     int64
	log      []string
}

func newPlatform(t *testing.T) *testPlatform {
	t.Helper()
	database, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Close() })
	migrations, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(migrations) == 0 {
		t.Fatal("no migrations", err)
	}
	platform := &testPlatform{database: database}
	for _, migration := range migrations {
		text, err := os.ReadFile(migration)
		if err != nil {
			t.Fatal(err)
		}
		platform.sabotage(t, string(text))
	}
	return platform
}

// sabotage runs SQL past the module.
func (p *testPlatform) sabotage(t *testing.T, statement string) {
	t.Helper()
	if _, err := p.database.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// count is the one integer that a query returns.
func (p *testPlatform) count(t *testing.T, statement string) int {
	t.Helper()
	var count int
	if err := p.database.QueryRow(statement).Scan(&count); err != nil {
		t.Fatal(err)
	}
	return count
}

func (p *testPlatform) Now() time.Time { return time.Now() }

// NewID sorts as it was made, within a millisecond too, so that tests can tell the order of a list.
func (p *testPlatform) NewID() string {
	p.made++
	return common.ULID(time.UnixMilli(p.made), 0, 0)
}

func (p *testPlatform) Log(level common.Level, context, message string) {
	if level == common.Info {
		p.log = append(p.log, context+": "+message)
	}
}

func (p *testPlatform) Query(statement string, parameters ...any) ([]common.Row, error) {
	rows, err := p.database.Query(statement, parameters...)
	if err != nil {
		return nil, storage(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, storage(err)
	}
	var found []common.Row
	for rows.Next() {
		row, targets := make(common.Row, len(names)), make([]any, len(names))
		for column := range row {
			targets[column] = &row[column]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, storage(err)
		}
		found = append(found, row)
	}
	return found, storage(rows.Err())
}

func (p *testPlatform) Execute(statement string, parameters ...any) (uint64, error) {
	result, err := p.database.Exec(statement, parameters...)
	if err != nil {
		return 0, storage(err)
	}
	changed, err := result.RowsAffected()
	return uint64(changed), storage(err)
}

func storage(err error) error {
	if err == nil {
		return nil
	}
	return &common.SQLError{Kind: common.Storage, Detail: err.Error()}
}

// busyPlatform is a platform whose database has no time now.
type busyPlatform struct{ *testPlatform }

func (busyPlatform) Execute(string, ...any) (uint64, error) {
	return 0, &common.SQLError{Kind: common.Busy}
}

// field is the field that an error refuses; empty where it refuses none.
func field(err error) string {
	var invalid *common.Invalid
	if errors.As(err, &invalid) {
		return invalid.Field
	}
	return ""
}
