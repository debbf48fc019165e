package common

import (
	"encoding/base64"
	"fmt"

	"watertight/guest"
)

const (
	// defaultLimit is how many items a page has where nobody says.
	defaultLimit = 20
	// maxLimit is how many items a page can have.
	maxLimit = 100
	// end sorts behind every ULID.
	end = "~"
)

// Page is the part of a list that is asked for, newest first. Lists are cut by the last id that was seen, so that a page costs the same
// wherever it starts.
type Page struct {
	// Before: items have ids below this.
	Before string
	limit  int
}

// Paged is a part of a list.
type Paged[T any] struct {
	// Items are the newest first.
	Items []T
	// Next is where the next page starts; nil on the last.
	Next *string
}

// NewPage reads a contract's limit and after.
func NewPage(limit *uint32, after *string) (Page, error) {
	page := Page{Before: end, limit: defaultLimit}
	if limit != nil {
		if *limit < 1 || *limit > maxLimit {
			return Page{}, &Invalid{"limit", fmt.Sprintf("must be between 1 and %d", maxLimit)}
		}
		page.limit = int(*limit)
	}
	if after != nil {
		id, ok := decode(*after)
		if !ok {
			return Page{}, &Invalid{"after", "must be a cursor that a page had"}
		}
		page.Before = id
	}
	return page, nil
}

// Fetch is how many items to fetch: one more than are shown tells whether there is a next page.
func (page Page) Fetch() int64 {
	return int64(page.limit) + 1
}

// Cut makes the page from what was fetched.
func Cut[T any](page Page, items []T, id func(T) string) Paged[T] {
	if len(items) <= page.limit {
		return Paged[T]{Items: items}
	}
	items = items[:page.limit]
	next := base64.RawURLEncoding.EncodeToString([]byte(id(items[len(items)-1])))
	return Paged[T]{Items: items, Next: &next}
}

func decode(cursor string) (string, bool) {
	id, err := base64.RawURLEncoding.DecodeString(cursor)
	// Each id has one cursor: line breaks and stray bits, which the decoder overlooks, make another text.
	if err != nil || !guest.IsULID(string(id)) || base64.RawURLEncoding.EncodeToString(id) != cursor {
		return "", false
	}
	return string(id), true
}
