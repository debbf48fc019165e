#include "service.h"

// The longest recipient, in bytes.
#define MAX_RECIPIENT 128

// What the key names already, where the same was to be said. By its fields: the template's text may have changed since.
static bool find_known(const struct platform *platform, struct arena *arena, const struct notification *wanted, struct text key,
                       struct notification *known, struct failure *failure) {
    bool found;
    if (!find_by_key(platform, arena, key, known, &found, failure)) return false;
    if (found && text_is(known->recipient, wanted->recipient) && text_is(known->template, wanted->template) &&
        text_is(known->fields, wanted->fields)) {
        return true;
    }
    *failure = (struct failure){.kind = FAILURE_CONFLICT, .reason = TEXT("the deduplication key belongs to another notice")};
    return false;
}

bool notify(const struct platform *platform, struct arena *arena, struct notice notice, struct text key, struct notification *told,
            struct failure *failure) {
    if (!check_text(arena, TEXT("recipient"), notice.recipient, MAX_RECIPIENT, failure)) return false;
    const struct template *template = template_find(arena, notice.template, failure);
    if (template == NULL) return false;
    struct field arranged[MAX_PLACES];
    if (!template_arrange(template, arena, notice.fields, notice.field_count, arranged, failure)) return false;
    if (!check_key(arena, TEXT("deduplication-key"), key, failure)) return false;

    struct notification wanted = {
        .id = platform->new_id(platform->self, arena),
        .recipient = notice.recipient,
        .template = template->name,
        .text = template_render(template, arena, arranged),
        .created_at = timestamp(arena, platform->now(platform->self)),
        .fields = fields_to_column(arena, arranged, template->place_count),
    };
    bool is_new;
    if (!insert(platform, arena, &wanted, key, &is_new, failure)) return false;
    if (!is_new) return find_known(platform, arena, &wanted, key, told, failure);

    struct builder line = {.arena = arena};
    add_text(&line, TEXT("to "));
    add_text(&line, quoted(arena, wanted.recipient));
    add_text(&line, TEXT(": "));
    add_text(&line, wanted.text);
    platform->log(platform->self, LOG_INFO, TEXT("notifications"), built(&line));
    *told = wanted;
    return true;
}

bool list_notifications(const struct platform *platform, struct arena *arena, struct text recipient, const uint32_t *limit,
                        const struct text *after, struct notification_page *page, struct failure *failure) {
    if (!check_text(arena, TEXT("recipient"), recipient, MAX_RECIPIENT, failure)) return false;
    struct page wanted;
    if (!page_read(arena, limit, after, &wanted, failure)) return false;
    struct notification *items;
    size_t count;
    if (!list(platform, arena, recipient, wanted, &items, &count, failure)) return false;
    *page = (struct notification_page){.items = items, .count = count};
    if (count > wanted.limit) {
        page->count = wanted.limit;
        page->next = cursor_of(arena, items[wanted.limit - 1].id);
    }
    return true;
}

// Whether a character ends a line, or hides or turns what stands after it.
static bool hides(uint32_t point) {
    return (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) ||
           point == 0xfeff;
}

struct text quoted(struct arena *arena, struct text text) {
    struct builder out = {.arena = arena};
    add_byte(&out, '"');
    while (text.size > 0) {
        struct text character = text;
        uint32_t point = text_next(&text);
        character.size -= text.size;
        if (point == '"' || point == '\\') {
            add_byte(&out, '\\');
            add_text(&out, character);
        } else if (point == '\t') {
            add_text(&out, TEXT("\\t"));
        } else if (point == '\r') {
            add_text(&out, TEXT("\\r"));
        } else if (point == '\n') {
            add_text(&out, TEXT("\\n"));
        } else if (point < 0x20 || (point >= 0x7f && point < 0xa0) || hides(point)) {
            add_text(&out, TEXT("\\u{"));
            add_number(&out, point, 16, 0);
            add_byte(&out, '}');
        } else {
            add_text(&out, character);
        }
    }
    add_byte(&out, '"');
    return built(&out);
}
