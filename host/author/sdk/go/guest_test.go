package guest

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAnIDHoldsItsMomentAndItsRandomness(t *testing.T) {
	// The example of the specification's reference implementation.
	moment := time.UnixMilli(1_469_918_176_385)
	for id, expected := range map[string]string{
		ULID(moment, math.MaxUint64, math.MaxUint64): "01ARYZ6S41" + strings.Repeat("Z", 16),
		ULID(moment, 0, 33):                          "01ARYZ6S410000000000000011",
		ULID(moment, 1, 0):                           "01ARYZ6S41000G000000000000",
	} {
		if id != expected || !IsULID(id) {
			t.Errorf("%s, not %s", id, expected)
		}
	}
	var ids []string
	for _, millis := range []int64{0, 1, 31, 32, 1 << 40} {
		ids = append(ids, ULID(time.UnixMilli(millis), 9, 9))
	}
	if !slices.IsSorted(ids) {
		t.Error(ids)
	}
	if id := NewID(); !IsULID(id) || id == NewID() {
		t.Error(id)
	}
	for _, text := range []string{"", "01ARYZ6S41", "81ARYZ6S41ZZZZZZZZZZZZZZZZ", "01ARYZ6S41ZZZZZZZZZZZZZZZU", "01aryz6s41zzzzzzzzzzzzzzzz"} {
		if IsULID(text) {
			t.Error(text)
		}
	}
}

type order struct {
	id     string
	total  uint32
	note   *string
	isPaid bool
}

func columns(order *order) []any {
	return []any{&order.id, &order.total, &order.note, &order.isPaid}
}

// fake is a database of prepared answers.
type fake struct {
	rows         []Row
	busy         int
	begins       int
	isCommitted  bool
	isRolledBack bool
}

func (f *fake) Query(string, ...any) ([]Row, error)        { return f.rows, nil }
func (f *fake) Execute(_ string, p ...any) (uint64, error) { return uint64(len(p)), nil }
func (f *fake) Commit() error                              { f.isCommitted = true; return nil }
func (f *fake) Rollback()                                  { f.isRolledBack = !f.isCommitted }

func (f *fake) Begin() (Tx, error) {
	f.begins++
	if f.begins <= f.busy {
		return nil, &SQLError{Kind: Busy}
	}
	return f, nil
}

func TestRowsAreStructs(t *testing.T) {
	note := "by hand"
	database := &fake{rows: []Row{{"1", int64(450), note, int64(1)}, {"2", int64(0), nil, int64(0)}}}
	found, err := All(database, columns, "")
	if err != nil || !reflect.DeepEqual(found, []order{{"1", 450, &note, true}, {"2", 0, nil, false}}) {
		t.Error(found, err)
	}
	database.rows = []Row{{int64(7)}}
	if count, err := First(database, Column[int64], ""); err != nil || *count != 7 {
		t.Error(count, err)
	}
	database.rows = nil
	if none, err := First(database, columns, ""); err != nil || none != nil {
		t.Error(none, err)
	}
	for _, row := range []Row{{"1"}, {nil, int64(1), nil, int64(1)}, {"1", int64(-1), nil, int64(1)}, {"1", int64(1), int64(1), int64(1)}, {"1", int64(1), nil, int64(2)}} {
		database.rows = []Row{row}
		if _, err := All(database, columns, ""); !IsKind(err, Storage) || strings.Contains(err.Error(), "-1") {
			t.Error(row, err)
		}
	}
}

func TestParametersAreValues(t *testing.T) {
	text := "a"
	values := Values([]any{nil, 1, uint32(2), true, 1.5, text, &text, (*string)(nil)})
	if !slices.Equal(values, []any{nil, int64(1), int64(2), int64(1), 1.5, "a", "a", nil}) {
		t.Error(values)
	}
}

func TestATransactionIsCommittedOrNot(t *testing.T) {
	database := &fake{busy: 2}
	if err := Transaction(database, func(tx Tx) error { _, err := tx.Execute(""); return err }); err != nil || !database.isCommitted {
		t.Error(err)
	}
	refusal := errors.New("refused")
	database = &fake{}
	if err := Transaction(database, func(Tx) error { return refusal }); err != refusal || !database.isRolledBack {
		t.Error(err)
	}
	database = &fake{}
	func() {
		defer func() { recover() }()
		Transaction(database, func(Tx) error { panic("so") })
	}()
	if !database.isRolledBack {
		t.Error("a panic rolls back")
	}
	database = &fake{busy: 100}
	if err := Transaction(database, func(Tx) error { t.Error("it ran"); return nil }); !IsKind(err, Busy) || database.begins != maxBegins {
		t.Error(err, database.begins)
	}
}

func TestARecordIsALineWithFields(t *testing.T) {
	var lines []string
	log := slog.New(NewLogHandler("orders", func(level slog.Level, context, line string) {
		lines = append(lines, fmt.Sprintf("%s %s: %s", level, context, line))
	}))
	log.Info("placed", "order", "01J", "total", "9.00 EUR", "note", "")
	log.With("a", 1).WithGroup("g").Warn("left", "b", true, slog.Group("h", "c", 2*time.Second))
	expected := []string{`INFO orders: placed order=01J total="9.00 EUR" note=""`, "WARN orders: left a=1 g.b=true g.h.c=2s"}
	if !slices.Equal(lines, expected) {
		t.Error(lines)
	}
	if quoted := Quoted("a\n\x00\u202e\""); quoted != `"a\n\u{0}\u{202e}\""` {
		t.Error(quoted)
	}
}
