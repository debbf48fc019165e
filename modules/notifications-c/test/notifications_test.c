// Notifications over a real database.

#include <stdio.h>
#include <string.h>

#include "service.h"
#include "test_platform.h"

static int passed, failed;

#define EXPECT(condition)                                                       \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            is_well = false;                                                    \
        }                                                                       \
    } while (0)

// Whether the expectations of the running test held.
static bool is_well;
static struct test_platform test;
static struct arena arena;

static struct text text(const char *string) {
    return (struct text){string, strlen(string)};
}

// A notice about an order, and room for its fields.
struct about {
    struct field fields[2];
    struct notice notice;
};

static struct notice notice(struct about *about, const char *recipient, const char *order) {
    about->fields[0] = (struct field){TEXT("total"), TEXT("9.00 EUR")};
    about->fields[1] = (struct field){TEXT("order"), text(order)};
    about->notice = (struct notice){text(recipient), TEXT("order-placed"), about->fields, 2};
    return about->notice;
}

// Tells somebody something that can't be refused.
static struct notification must_notify(struct notice what, const char *key) {
    struct notification told = {0};
    struct failure failure;
    EXPECT(notify(&test.platform, &arena, what, text(key), &told, &failure));
    return told;
}

static bool is_refused(struct notice what, struct text key, const char *field) {
    struct notification told;
    struct failure failure;
    return !notify(&test.platform, &arena, what, key, &told, &failure) && failure.kind == FAILURE_INVALID &&
           text_is(failure.field, text(field));
}

static void a_notice_is_rendered_kept_and_logged(void) {
    struct about about;
    struct notification told = must_notify(notice(&about, "ada", "1"), "k");
    EXPECT(text_is(told.text, TEXT("Thank you! Your order 1 over 9.00 EUR was placed.")));
    struct notification_page page;
    struct failure failure;
    EXPECT(list_notifications(&test.platform, &arena, TEXT("ada"), NULL, NULL, &page, &failure));
    EXPECT(page.count == 1 && text_is(page.items[0].id, told.id) && page.next.size == 0);
    EXPECT(text_is(built(&test.logged), TEXT("notifications: to \"ada\": Thank you! Your order 1 over 9.00 EUR was placed.\n")));
}

static void a_key_names_one_notice(void) {
    struct about about;
    struct notification told = must_notify(notice(&about, "ada", "1"), "k");
    struct field first = about.fields[0];
    about.fields[0] = about.fields[1];
    about.fields[1] = first;
    EXPECT(text_is(must_notify(about.notice, "k").id, told.id));
    struct notice others[3];
    struct about abouts[3];
    others[0] = notice(&abouts[0], "ada", "2");
    others[1] = notice(&abouts[1], "bob", "1");
    others[2] = notice(&abouts[2], "ada", "1");
    others[2].template = TEXT("order-cancelled");
    for (size_t index = 0; index < 3; index++) {
        struct failure failure;
        EXPECT(!notify(&test.platform, &arena, others[index], TEXT("k"), &told, &failure));
        EXPECT(failure.kind == FAILURE_CONFLICT);
    }
    // A later build may word it otherwise: it's the same notice all the same.
    sabotage(&test, "update notifications set text = 'older words'");
    EXPECT(text_is(must_notify(notice(&about, "ada", "1"), "k").text, TEXT("older words")));
    EXPECT(count(&test, "select count(*) from notifications") == 1);
}

static void notices_are_checked(void) {
    char long_text[129];
    memset(long_text, 'x', sizeof long_text);
    struct text too_long = {long_text, sizeof long_text};
    struct about about;
    struct notice wrong = notice(&about, "ada", "1");
    EXPECT(is_refused(wrong, TEXT(""), "deduplication-key"));
    EXPECT(is_refused(wrong, too_long, "deduplication-key"));
    wrong.recipient = TEXT("");
    EXPECT(is_refused(wrong, TEXT("k"), "recipient"));
    wrong.recipient = too_long;
    EXPECT(is_refused(wrong, TEXT("k"), "recipient"));
    wrong = notice(&about, "ada", "1");
    wrong.template = TEXT("hello");
    EXPECT(is_refused(wrong, TEXT("k"), "template"));
    wrong = notice(&about, "ada", "1");
    wrong.field_count = 0;
    EXPECT(is_refused(wrong, TEXT("k"), "fields"));
    EXPECT(count(&test, "select count(*) from notifications") == 0);
}

static void lists_are_paged_newest_first(void) {
    for (int order = 1; order <= 5; order++) {
        char number[2] = {(char)('0' + order), '\0'}, key[3] = {'a', number[0], '\0'};
        struct about about;
        must_notify(notice(&about, "ada", number), key);
        key[0] = 'b';
        must_notify(notice(&about, "bob", number), key);
    }
    uint32_t three = 3;
    struct notification_page first, second;
    struct failure failure;
    EXPECT(list_notifications(&test.platform, &arena, TEXT("ada"), &three, NULL, &first, &failure));
    EXPECT(first.count == 3 && first.next.size > 0);
    EXPECT(list_notifications(&test.platform, &arena, TEXT("ada"), &three, &first.next, &second, &failure));
    EXPECT(second.count == 2 && second.next.size == 0);
    EXPECT(first.items[0].text.data[22] == '5' && second.items[1].text.data[22] == '1');

    const struct {
        const char *recipient;
        uint32_t limit;
        const char *after, *field;
    } wrong[] = {{"ada", 0, NULL, "limit"}, {"ada", 101, NULL, "limit"}, {"ada", 1, "?", "after"}, {"", 1, NULL, "recipient"}};
    for (size_t index = 0; index < sizeof wrong / sizeof wrong[0]; index++) {
        struct text after = text(wrong[index].after ? wrong[index].after : "");
        EXPECT(!list_notifications(&test.platform, &arena, text(wrong[index].recipient), &wrong[index].limit,
                                   wrong[index].after ? &after : NULL, &first, &failure));
        EXPECT(failure.kind == FAILURE_INVALID && text_is(failure.field, text(wrong[index].field)));
    }
}

static void a_database_that_fails_is_told(void) {
    struct about about;
    struct notice wanted = notice(&about, "ada", "1");
    struct notification told;
    struct notification_page page;
    struct failure failure;
    test.is_busy = true;
    EXPECT(!notify(&test.platform, &arena, wanted, TEXT("k"), &told, &failure) && failure.kind == FAILURE_UNAVAILABLE);
    test.is_busy = false;
    sabotage(&test, "drop table notifications");
    EXPECT(!notify(&test.platform, &arena, wanted, TEXT("k"), &told, &failure) && failure.kind == FAILURE_STORAGE);
    EXPECT(failure.cause.size > 0);
    EXPECT(!list_notifications(&test.platform, &arena, TEXT("ada"), NULL, NULL, &page, &failure));
    EXPECT(failure.kind == FAILURE_STORAGE);
}

static void every_template_renders_with_its_places(void) {
    for (size_t index = 0; index < TEMPLATE_COUNT; index++) {
        const struct template *template = &TEMPLATES[index];
        struct field fields[MAX_PLACES] = {{{0}, {0}}}, arranged[MAX_PLACES];
        for (size_t place = 0; place < template->place_count; place++) {
            fields[place] = (struct field){template->places[place], TEXT("<>")};
        }
        struct failure failure;
        EXPECT(template_arrange(template, &arena, fields, template->place_count, arranged, &failure));
        struct text rendered = template_render(template, &arena, arranged);
        size_t found = 0;
        for (size_t at = 0; at + 1 < rendered.size; at++) found += memcmp(rendered.data + at, "<>", 2) == 0;
        EXPECT(found == template->place_count);
    }
}

static void values_are_not_read_again(void) {
    struct field fields[] = {{TEXT("total"), TEXT("{order}")}, {TEXT("order"), TEXT("{total}")}}, arranged[MAX_PLACES];
    struct failure failure;
    EXPECT(template_arrange(&TEMPLATES[0], &arena, fields, 2, arranged, &failure));
    struct text rendered = template_render(&TEMPLATES[0], &arena, arranged);
    EXPECT(text_is(rendered, TEXT("Thank you! Your order {total} over {order} was placed.")));
}

static void fields_fit_the_template(void) {
    static char long_text[257];
    memset(long_text, '1', sizeof long_text);
    const struct {
        struct field fields[2];
        size_t count;
        const char *field;
    } cases[] = {
        {{{TEXT("order"), TEXT("1")}}, 1, "fields"},
        {{{TEXT("order"), TEXT("1")}, {TEXT("colour"), TEXT("red")}}, 2, "fields[1].name"},
        {{{TEXT("order"), TEXT("1")}, {TEXT("order"), TEXT("2")}}, 2, "fields[1].name"},
        {{{TEXT("order"), TEXT("1\n2")}, {TEXT("total"), TEXT("2")}}, 2, "fields[0].value"},
        {{{TEXT("order"), TEXT("1\xc2\x85")}, {TEXT("total"), TEXT("2")}}, 2, "fields[0].value"},
        {{{TEXT("order"), {long_text, sizeof long_text}}, {TEXT("total"), TEXT("2")}}, 2, "fields[0].value"},
    };
    for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
        struct field arranged[MAX_PLACES];
        struct failure failure = {0};
        EXPECT(!template_arrange(&TEMPLATES[0], &arena, cases[index].fields, cases[index].count, arranged, &failure));
        EXPECT(text_is(failure.field, text(cases[index].field)));
    }
}

static void a_logged_recipient_is_one_piece_of_one_line(void) {
    const struct text cases[][2] = {
        {TEXT("ada"), TEXT("\"ada\"")},
        {TEXT("\"a\\b\""), TEXT("\"\\\"a\\\\b\\\"\"")},
        {TEXT("a\n\t\r\0\x1b"), TEXT("\"a\\n\\t\\r\\u{0}\\u{1b}\"")},
        {TEXT("José 日本 'x' e\u0301"), TEXT("\"José 日本 'x' e\u0301\"")},
        {TEXT("\u200b\u2028\u202e\u2066\ufeff\xc2\x85"), TEXT("\"\\u{200b}\\u{2028}\\u{202e}\\u{2066}\\u{feff}\\u{85}\"")},
    };
    for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
        EXPECT(text_is(quoted(&arena, cases[index][0]), cases[index][1]));
    }
}

static void ids_and_moments_are_those_of_the_contract(void) {
    // The example of the specification's reference implementation.
    uint64_t moment = 1469918176385;
    EXPECT(text_is(ulid(&arena, moment, UINT64_MAX, UINT64_MAX), TEXT("01ARYZ6S41ZZZZZZZZZZZZZZZZ")));
    EXPECT(text_is(ulid(&arena, moment, 0, 33), TEXT("01ARYZ6S410000000000000011")));
    EXPECT(!is_ulid(TEXT("81ARYZ6S41ZZZZZZZZZZZZZZZZ")) && !is_ulid(TEXT("01aryz6s41zzzzzzzzzzzzzzzz")) && !is_ulid(TEXT("")));
    EXPECT(text_is(timestamp(&arena, 1795421730007), TEXT("2026-11-23T08:15:30.007Z")));
}

static void cursors_are_checked(void) {
    struct text good = cursor_of(&arena, TEXT("01ARYZ6S41ZZZZZZZZZZZZZZZ1"));
    EXPECT(text_is(good, TEXT("MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjE")));
    struct page page;
    struct failure failure;
    EXPECT(page_read(&arena, NULL, &good, &page, &failure) && page.limit == 20);
    const char *wrong[] = {"", "x", "fg", "é", "MDFBUllaNlM0MQ", "MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjE=",
                           "MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjF"};
    for (size_t index = 0; index < sizeof wrong / sizeof wrong[0]; index++) {
        struct text cursor = text(wrong[index]);
        EXPECT(!page_read(&arena, NULL, &cursor, &page, &failure));
    }
}

static void run(const char *name, void (*body)(void)) {
    is_well = true;
    begin(&test);
    body();
    end(&test);
    arena_free(&arena);
    printf("%s %s\n", is_well ? "ok  " : "FAIL", name);
    *(is_well ? &passed : &failed) += 1;
}

#define RUN(name) run(#name, name)

int main(void) {
    RUN(a_notice_is_rendered_kept_and_logged);
    RUN(a_key_names_one_notice);
    RUN(notices_are_checked);
    RUN(lists_are_paged_newest_first);
    RUN(a_database_that_fails_is_told);
    RUN(every_template_renders_with_its_places);
    RUN(values_are_not_read_again);
    RUN(fields_fit_the_template);
    RUN(a_logged_recipient_is_one_piece_of_one_line);
    RUN(ids_and_moments_are_those_of_the_contract);
    RUN(cursors_are_checked);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
