package guest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// LevelCritical is the level of a failure after which the module can't continue.
const LevelCritical = slog.LevelError + 4

// LogHandler is a slog.Handler that writes each record as one line: the message, and its attributes as name=value.
type LogHandler struct {
	write  func(level slog.Level, context, line string)
	source string
	prefix string
	fields string
}

// NewLogHandler makes a handler. source names the part of the module that writes; write gets each line.
func NewLogHandler(source string, write func(level slog.Level, context, line string)) *LogHandler {
	return &LogHandler{write: write, source: source}
}

// Enabled is true: the host decides by its own settings.
func (h *LogHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes a record.
func (h *LogHandler) Handle(_ context.Context, record slog.Record) error {
	var line strings.Builder
	line.WriteString(record.Message)
	line.WriteString(h.fields)
	record.Attrs(func(attribute slog.Attr) bool {
		field(&line, h.prefix, attribute)
		return true
	})
	h.write(record.Level, h.source, line.String())
	return nil
}

// WithAttrs is the handler with more attributes.
func (h *LogHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	var fields strings.Builder
	fields.WriteString(h.fields)
	for _, attribute := range attributes {
		field(&fields, h.prefix, attribute)
	}
	with := *h
	with.fields = fields.String()
	return &with
}

// WithGroup is the handler whose further attributes are named GROUP.NAME.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix = h.prefix + name + "."
	}
	return &with
}

func field(line *strings.Builder, prefix string, attribute slog.Attr) {
	value := attribute.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attribute.Key != "" {
			prefix += attribute.Key + "."
		}
		for _, inner := range value.Group() {
			field(line, prefix, inner)
		}
		return
	}
	if attribute.Equal(slog.Attr{}) {
		return
	}
	text := value.String()
	isNoWord := func(char rune) bool {
		return unicode.IsSpace(char) || unicode.IsControl(char) || hides(char) || strings.ContainsRune(`"\=`, char)
	}
	if text == "" || strings.ContainsFunc(text, isNoWord) {
		text = Quoted(text)
	}
	line.WriteString(" " + prefix + attribute.Key + "=" + text)
}

// Quoted is a text in quotes, as modules of every language log it: one piece of one line, whatever it holds.
func Quoted(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, char := range text {
		switch {
		case char == '"' || char == '\\':
			out.WriteRune('\\')
			out.WriteRune(char)
		case char == '\t':
			out.WriteString(`\t`)
		case char == '\r':
			out.WriteString(`\r`)
		case char == '\n':
			out.WriteString(`\n`)
		case unicode.IsControl(char), hides(char):
			fmt.Fprintf(&out, `\u{%x}`, char)
		default:
			out.WriteRune(char)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// hides tells whether a character ends a line, or hides or turns what stands after it.
func hides(char rune) bool {
	return char >= 0x200b && char <= 0x200f || char >= 0x2028 && char <= 0x202e || char >= 0x2066 && char <= 0x2069 || char == 0xfeff
}
