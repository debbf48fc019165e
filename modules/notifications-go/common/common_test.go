package common

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestTextsAreBounded(t *testing.T) {
	cases := []struct {
		text, reason string
	}{{"x", ""}, {"", "name must not be empty"}, {"é", "name must not be longer than 1 bytes"}}
	for _, c := range cases {
		err := CheckText("name", c.text, 1)
		if (err == nil) != (c.reason == "") || err != nil && err.Error() != c.reason {
			t.Errorf("%q: %v", c.text, err)
		}
	}
	if CheckKey("key", strings.Repeat("k", 128)) != nil || CheckKey("key", strings.Repeat("k", 129)) == nil {
		t.Error("keys have 1 to 128 bytes")
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	ids := []string{"01ARYZ6S41ZZZZZZZZZZZZZZZ2", "01ARYZ6S41ZZZZZZZZZZZZZZZ1"}
	one, self := uint32(1), func(id string) string { return id }
	first, err := NewPage(&one, nil)
	if err != nil || first.Before != "~" || first.Fetch() != 2 {
		t.Fatal(first, err)
	}
	cut := Cut(first, ids, self)
	if !slices.Equal(cut.Items, ids[:1]) || cut.Next == nil {
		t.Fatal(cut)
	}
	second, err := NewPage(&one, cut.Next)
	if err != nil || second.Before != ids[0] {
		t.Fatal(second, err)
	}
	if last := Cut(second, ids[1:], self); !slices.Equal(last.Items, ids[1:]) || last.Next != nil {
		t.Error(last)
	}
}

func TestLimitsAndCursorsAreChecked(t *testing.T) {
	for _, limit := range []uint32{0, 101, math.MaxUint32} {
		if _, err := NewPage(&limit, nil); err == nil || err.(*Invalid).Field != "limit" {
			t.Error(limit, err)
		}
	}
	good := "MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjE"
	for _, cursor := range []string{"", "x", "fg", "é", "MDFBUllaNlM0MQ", good + "\n", good + "=", good[:len(good)-1] + "F"} {
		if _, err := NewPage(nil, &cursor); err == nil || err.(*Invalid).Field != "after" {
			t.Errorf("%q: %v", cursor, err)
		}
	}
	if page, err := NewPage(nil, &good); err != nil || page.Fetch() != 21 {
		t.Error(page, err)
	}
}
