// Package guest has what modules of Watertight need in Go, so that nobody writes it by hand: rows as structs, transactions as functions,
// typed errors, ids, and a handler for log/slog.
//
// Rules take the interfaces of this package. In a component, the package bindings/host of the module implements them: "watertight build"
// writes it beside the bindings of the module's world. In native tests, package native implements them over database/sql.
package guest

import (
	"math/rand/v2"
	"time"
)

// Settings are the values and secrets that the manifest gives to the module.
type Settings interface {
	// Setting is the value or the secret of a key; false if the manifest doesn't have the key.
	Setting(key string) (string, bool)
}

// Timestamp writes a moment as RFC 3339 in UTC with milliseconds. Such texts sort as their moments do.
func Timestamp(moment time.Time) string {
	return moment.UTC().Format("2006-01-02T15:04:05.000Z")
}

// NewID is a new ULID (https://github.com/ulid/spec). Ids sort by the time of their creation, to the millisecond.
func NewID() string {
	// Go's runtime seeds this generator, ChaCha8, from the host for each instance. crypto/rand adds 0.2 MB to a component.
	return ULID(time.Now(), rand.Uint64(), rand.Uint64())
}

const (
	// idLength is how many characters an id has.
	idLength = 26
	// alphabet is Crockford's base 32, in order of value.
	alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)

// ULID is the id of a moment. Its lowest 80 bits, which tell it from others of the same millisecond, are the lowest 16 of high and all of
// low.
func ULID(moment time.Time, high, low uint64) string {
	// 26 digits of 5 bits: the first 10 are the time, the others the 80 bits.
	millis := uint64(max(moment.UnixMilli(), 0)) & (1<<48 - 1)
	id := make([]byte, idLength)
	for place := 9; place >= 0; place-- {
		id[place] = alphabet[millis&31]
		millis >>= 5
	}
	high &= 0xffff
	for place := idLength - 1; place >= 10; place-- {
		id[place] = alphabet[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return string(id)
}

// IsULID tells whether a text can be an id, in capitals.
func IsULID(text string) bool {
	if len(text) != idLength || text[0] > '7' {
		return false
	}
	for place := range idLength {
		if !isDigit(text[place]) {
			return false
		}
	}
	return true
}

func isDigit(char byte) bool {
	for place := range len(alphabet) {
		if alphabet[place] == char {
			return true
		}
	}
	return false
}
