package notifications

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"shop/notifications/common"
	"watertight/guest"
	"watertight/guest/native"
)

// testPlatform is a real SQLite file with the module's own migrations, and a log that tests can read.
type testPlatform struct {
	native.Database
	log []string
}

func newPlatform(t *testing.T) *testPlatform {
	t.Helper()
	database, err := native.Open("sqlite", filepath.Join(t.TempDir(), "db"), "migrations")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.SQL.Close() })
	return &testPlatform{Database: database}
}

// shop is the service over the platform, or over another database. Its ids sort as they were made, within a millisecond too, so that tests
// can tell the order of a list.
func (p *testPlatform) shop(database guest.Database) Notifications {
	service := New(database, slog.New(guest.NewLogHandler("notifications", func(level slog.Level, context, line string) {
		p.log = append(p.log, fmt.Sprintf("%s %s: %s", level, context, line))
	})))
	made := int64(0)
	service.newID = func() string {
		made++
		return guest.ULID(time.UnixMilli(made), 0, 0)
	}
	return service
}

// sabotage runs SQL past the module.
func (p *testPlatform) sabotage(t *testing.T, statement string) {
	t.Helper()
	if _, err := p.SQL.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// count is the one integer that a query returns.
func (p *testPlatform) count(t *testing.T, statement string) int64 {
	t.Helper()
	count, err := guest.First(p, guest.Column[int64], statement)
	if err != nil {
		t.Fatal(err)
	}
	return *count
}

// busyDatabase is a database that has no time now.
type busyDatabase struct{ guest.Database }

func (busyDatabase) Execute(string, ...any) (uint64, error) {
	return 0, &guest.SQLError{Kind: guest.Busy}
}

// field is the field that an error refuses; empty where it refuses none.
func field(err error) string {
	var invalid *common.Invalid
	if errors.As(err, &invalid) {
		return invalid.Field
	}
	return ""
}
