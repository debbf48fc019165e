package notifications

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"watertight/guest"
)

func notice(recipient, order string) Notice {
	fields := []Field{{"total", "9.00 EUR"}, {"order", order}}
	return Notice{Recipient: recipient, Template: "order-placed", Fields: fields}
}

// mustNotify tells somebody something that can't be refused.
func mustNotify(t *testing.T, n Notifications, notice Notice, key string) Notification {
	t.Helper()
	told, err := n.Notify(notice, key)
	if err != nil {
		t.Fatal(err)
	}
	return told
}

func TestANoticeIsRenderedKeptAndLogged(t *testing.T) {
	platform := newPlatform(t)
	shop := platform.shop(platform)
	told := mustNotify(t, shop, notice("ada", "1"), "k")
	if told.Text != "Thank you! Your order 1 over 9.00 EUR was placed." {
		t.Error(told.Text)
	}
	page, err := shop.List("ada", nil, nil)
	if err != nil || !slices.Equal(page.Items, []Notification{told}) || page.Next != nil {
		t.Error(page, err)
	}
	if !slices.Equal(platform.log, []string{`INFO notifications: to "ada": ` + told.Text}) {
		t.Error(platform.log)
	}
}

func TestAKeyNamesOneNotice(t *testing.T) {
	platform := newPlatform(t)
	shop := platform.shop(platform)
	told := mustNotify(t, shop, notice("ada", "1"), "k")
	again := notice("ada", "1")
	slices.Reverse(again.Fields)
	if mustNotify(t, shop, again, "k") != told {
		t.Error("the order of the fields makes no other notice")
	}
	cancelled := notice("ada", "1")
	cancelled.Template = "order-cancelled"
	for _, other := range []Notice{notice("ada", "2"), notice("bob", "1"), cancelled} {
		var conflict *ConflictError
		if _, err := shop.Notify(other, "k"); !errors.As(err, &conflict) {
			t.Error(other, err)
		}
	}
	// A later build may word it otherwise: it's the same notice all the same.
	platform.sabotage(t, "update notifications set text = 'older words'")
	if mustNotify(t, shop, notice("ada", "1"), "k").ID != told.ID {
		t.Error("another notice")
	}
	if platform.count(t, "select count(*) from notifications") != 1 || len(platform.log) != 1 {
		t.Error(platform.log)
	}
}

func TestNoticesAreChecked(t *testing.T) {
	platform := newPlatform(t)
	shop := platform.shop(platform)
	long := strings.Repeat("x", 129)
	hello, empty := notice("ada", "1"), notice("ada", "1")
	hello.Template = "hello"
	empty.Fields = nil
	cases := []struct {
		notice     Notice
		key, field string
	}{
		{notice("", "1"), "k", "recipient"},
		{notice(long, "1"), "k", "recipient"},
		{hello, "k", "template"},
		{empty, "k", "fields"},
		{notice("ada", "1"), "", "deduplication-key"},
		{notice("ada", "1"), long, "deduplication-key"},
	}
	for _, c := range cases {
		if _, err := shop.Notify(c.notice, c.key); field(err) != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	if platform.count(t, "select count(*) from notifications") != 0 {
		t.Error("something was kept")
	}
}

func TestListsArePagedNewestFirst(t *testing.T) {
	platform := newPlatform(t)
	shop := platform.shop(platform)
	for order := 1; order <= 5; order++ {
		mustNotify(t, shop, notice("ada", fmt.Sprint(order)), fmt.Sprint("a", order))
		mustNotify(t, shop, notice("bob", fmt.Sprint(order)), fmt.Sprint("b", order))
	}
	three, zero, over, cursor := uint32(3), uint32(0), uint32(101), "?"
	first, err := shop.List("ada", &three, nil)
	if err != nil || first.Next == nil {
		t.Fatal(first, err)
	}
	second, err := shop.List("ada", &three, first.Next)
	if err != nil || second.Next != nil {
		t.Fatal(second, err)
	}
	var orders string
	for _, told := range append(first.Items, second.Items...) {
		orders += told.Text[22:23]
	}
	if orders != "54321" {
		t.Error(orders)
	}
	cases := []struct {
		recipient string
		limit     *uint32
		after     *string
		field     string
	}{{"ada", &zero, nil, "limit"}, {"ada", &over, nil, "limit"}, {"ada", nil, &cursor, "after"}, {"", nil, nil, "recipient"}}
	for _, c := range cases {
		if _, err := shop.List(c.recipient, c.limit, c.after); field(err) != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

func TestADatabaseThatFailsIsTold(t *testing.T) {
	platform := newPlatform(t)
	var unavailable *UnavailableError
	if _, err := platform.shop(busyDatabase{platform}).Notify(notice("ada", "1"), "k"); !errors.As(err, &unavailable) {
		t.Error(err)
	}
	platform.sabotage(t, "drop table notifications")
	var storage *StorageError
	var cause *guest.SQLError
	if _, err := platform.shop(platform).Notify(notice("ada", "1"), "k"); !errors.As(err, &storage) || !errors.As(err, &cause) {
		t.Error(err)
	}
	if _, err := platform.shop(platform).List("ada", nil, nil); !errors.As(err, &storage) {
		t.Error(err)
	}
}

func TestEveryTemplateRendersWithItsPlacesAndNoOthers(t *testing.T) {
	for _, template := range templates {
		if !slices.IsSorted(template.places) {
			t.Error(template.places)
		}
		var fields []Field
		for _, place := range template.places {
			fields = append(fields, Field{place, "<>"})
		}
		arranged, err := template.arrange(fields)
		if err != nil || strings.Count(template.render(arranged), "<>") != len(template.places) {
			t.Error(template.render(arranged), err)
		}
	}
}

func TestValuesAreNotReadAgain(t *testing.T) {
	template, err := findTemplate("order-placed")
	if err != nil {
		t.Fatal(err)
	}
	fields, err := template.arrange([]Field{{"total", "{order}"}, {"order", "{total}"}})
	if err != nil || template.render(fields) != "Thank you! Your order {total} over {order} was placed." {
		t.Error(template.render(fields), err)
	}
}

func TestFieldsFitTheTemplate(t *testing.T) {
	template, err := findTemplate("order-placed")
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		fields []Field
		field  string
	}{
		{[]Field{{"order", "1"}}, "fields"},
		{[]Field{{"order", "1"}, {"colour", "red"}}, "fields[1].name"},
		{[]Field{{"order", "1"}, {"order", "2"}}, "fields[1].name"},
		{[]Field{{"order", "1\n2"}, {"total", "2"}}, "fields[0].value"},
		{[]Field{{"order", "1\u0085"}, {"total", "2"}}, "fields[0].value"},
		{[]Field{{"order", strings.Repeat("1", 257)}, {"total", "2"}}, "fields[0].value"},
	}
	for _, c := range cases {
		if _, err := template.arrange(c.fields); field(err) != c.field {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}
