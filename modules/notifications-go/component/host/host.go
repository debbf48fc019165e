//go:build wasip1

// Package host has the ports over the host's capabilities.
package host

import (
	"fmt"
	"time"

	types "go.bytecodealliance.org/pkg/wit/types"

	clock "shop/notifications/bindings/wasi_clocks_wall_clock"
	logging "shop/notifications/bindings/wasi_logging_logging"
	random "shop/notifications/bindings/wasi_random_random"
	sql "shop/notifications/bindings/watertight_sql_sql"
	"shop/notifications/common"
)

// Host is what the host gives a module.
type Host struct{}

var _ common.Platform = Host{}

// ReportPanic is deferred by every export: a panic says why in the log, and then ends the call.
func ReportPanic() {
	if reason := recover(); reason != nil {
		Host{}.Log(common.Critical, "panic", fmt.Sprint(reason))
		panic(reason)
	}
}

// Log writes one line.
func (Host) Log(level common.Level, context, message string) {
	levels := map[common.Level]logging.Level{
		common.Info:     logging.LevelInfo,
		common.Warn:     logging.LevelWarn,
		common.Error:    logging.LevelError,
		common.Critical: logging.LevelCritical,
	}
	logging.Log(levels[level], context, message)
}

// Now is the time now.
func (Host) Now() time.Time {
	now := clock.Now()
	return time.Unix(int64(now.Seconds), int64(now.Nanoseconds))
}

// NewID is a new ULID.
func (host Host) NewID() string {
	return common.ULID(host.Now(), random.GetRandomU64(), random.GetRandomU64())
}

// Query runs one statement that only reads.
func (Host) Query(statement string, parameters ...any) ([]common.Row, error) {
	rows, err := unwrap(sql.Query(statement, toHost(parameters)))
	if err != nil {
		return nil, err
	}
	found := make([]common.Row, len(rows))
	for index, row := range rows {
		found[index] = make(common.Row, len(row))
		for column, value := range row {
			found[index][column] = fromHost(value)
		}
	}
	return found, nil
}

// Execute runs one statement that writes.
func (Host) Execute(statement string, parameters ...any) (uint64, error) {
	return unwrap(sql.Execute(statement, toHost(parameters)))
}

func toHost(parameters []any) []sql.Value {
	values := make([]sql.Value, len(parameters))
	for index, parameter := range parameters {
		switch parameter := parameter.(type) {
		case string:
			values[index] = sql.MakeValueText(parameter)
		case int64:
			values[index] = sql.MakeValueInteger(parameter)
		default:
			panic(fmt.Sprintf("a parameter of type %T", parameter))
		}
	}
	return values
}

func fromHost(value sql.Value) any {
	switch value.Tag() {
	case sql.ValueInteger:
		return value.Integer()
	case sql.ValueReal:
		return value.Real()
	case sql.ValueText:
		return value.Text()
	case sql.ValueBlob:
		return value.Blob()
	default:
		return nil
	}
}

// kinds names the kinds of constraints for the log.
var kinds = map[sql.ConstraintKind]string{
	sql.ConstraintKindUnique:     "Unique",
	sql.ConstraintKindForeignKey: "ForeignKey",
	sql.ConstraintKindNotNull:    "NotNull",
	sql.ConstraintKindCheck:      "Check",
	sql.ConstraintKindOther:      "Other",
}

func unwrap[T any](result types.Result[T, sql.Error]) (T, error) {
	if result.IsOk() {
		return result.Ok(), nil
	}
	var none T
	switch err := result.Err(); err.Tag() {
	case sql.ErrorConstraint:
		violation := err.Constraint()
		return none, &common.SQLError{Kind: common.Constraint, Detail: kinds[violation.Kind] + ": " + violation.Detail}
	case sql.ErrorSyntax:
		return none, &common.SQLError{Kind: common.Syntax, Detail: err.Syntax()}
	case sql.ErrorBusy:
		return none, &common.SQLError{Kind: common.Busy}
	case sql.ErrorTimeout:
		return none, &common.SQLError{Kind: common.Timeout}
	case sql.ErrorTooLarge:
		return none, &common.SQLError{Kind: common.TooLarge}
	case sql.ErrorClosed:
		return none, &common.SQLError{Kind: common.Closed}
	default:
		return none, &common.SQLError{Kind: common.Storage, Detail: err.Storage()}
	}
}
