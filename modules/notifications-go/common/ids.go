package common

import (
	"math/big"
	"strings"
	"time"
)

// idLength is how many characters an id has.
const idLength = 26

// alphabet is Crockford's base 32, in order of value.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ULID is the id of a moment (https://github.com/ulid/spec). Its lowest 80 bits, which tell it from others of the same millisecond,
// are the lowest 16 of high and all of low.
func ULID(moment time.Time, high, low uint64) string {
	value := new(big.Int).SetUint64(uint64(max(moment.UnixMilli(), 0)))
	value.Lsh(value, 16).Or(value, new(big.Int).SetUint64(high&0xffff))
	value.Lsh(value, 64).Or(value, new(big.Int).SetUint64(low))
	id := make([]byte, idLength)
	digit, base := new(big.Int), big.NewInt(int64(len(alphabet)))
	for place := idLength - 1; place >= 0; place-- {
		value.DivMod(value, base, digit)
		id[place] = alphabet[digit.Int64()]
	}
	return string(id)
}

// IsULID tells whether a text can be an id.
func IsULID(text string) bool {
	if len(text) != idLength || text[0] > '7' {
		return false
	}
	for place := range idLength {
		if strings.IndexByte(alphabet, text[place]) < 0 {
			return false
		}
	}
	return true
}
