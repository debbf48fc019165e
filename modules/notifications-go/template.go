package notifications

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"shop/notifications/common"
)

// maxValue is the longest value of a place, in bytes.
const maxValue = 256

// template is a text with places, each {name}.
type template struct {
	name string
	// places are sorted.
	places []string
	text   string
}

// templates are the texts that customers get.
var templates = []template{
	{
		name:   "order-placed",
		places: []string{"order", "total"},
		text:   "Thank you! Your order {order} over {total} was placed.",
	},
	{
		name:   "order-cancelled",
		places: []string{"order", "total"},
		text:   "Your order {order} over {total} was cancelled. What was charged is given back.",
	},
}

// findTemplate is the template of this name.
func findTemplate(name string) (*template, error) {
	names := make([]string, len(templates))
	for index := range templates {
		if templates[index].name == name {
			return &templates[index], nil
		}
		names[index] = templates[index].name
	}
	return nil, &common.Invalid{Field: "template", Reason: "must be one of: " + strings.Join(names, ", ")}
}

// arrange puts the fields in the order of the places. There is one for each place and no other.
func (t *template) arrange(fields []Field) ([]Field, error) {
	for index, field := range fields {
		refuse := func(part, reason string) ([]Field, error) {
			return nil, &common.Invalid{Field: fmt.Sprintf("fields[%d].%s", index, part), Reason: reason}
		}
		if !slices.Contains(t.places, field.Name) {
			return refuse("name", "must be one of: "+strings.Join(t.places, ", "))
		}
		if named(fields[:index], field.Name) != nil {
			return refuse("name", "must not be given twice")
		}
		if len(field.Value) > maxValue {
			return refuse("value", fmt.Sprintf("must not be longer than %d bytes", maxValue))
		}
		// So that a notice is one line of the log, and one line of the database per field.
		if strings.ContainsFunc(field.Value, unicode.IsControl) {
			return refuse("value", "must not have control characters")
		}
	}
	arranged := make([]Field, 0, len(t.places))
	for _, place := range t.places {
		field := named(fields, place)
		if field == nil {
			return nil, &common.Invalid{Field: "fields", Reason: "must have a field named " + place}
		}
		arranged = append(arranged, *field)
	}
	return arranged, nil
}

// render fills the places. What a value says is never read as a place again.
func (t *template) render(fields []Field) string {
	var rendered strings.Builder
	rest := t.text
	for {
		before, after, found := strings.Cut(rest, "{")
		rendered.WriteString(before)
		if !found {
			return rendered.String()
		}
		var place string
		place, rest, _ = strings.Cut(after, "}")
		rendered.WriteString(named(fields, place).Value)
	}
}

func named(fields []Field, name string) *Field {
	for index := range fields {
		if fields[index].Name == name {
			return &fields[index]
		}
	}
	return nil
}
