// The component: the contract's functions over the service, and nothing else.
//
// The caller's values belong to these functions, which free them. What they return is copied to memory that the bindings free.

#include <stdlib.h>

#include "host.h"
#include "module.h"
#include "service.h"

typedef exports_shop_notifications_notifications_notice_t contract_notice_t;
typedef exports_shop_notifications_notifications_notification_t contract_notification_t;
typedef exports_shop_notifications_notifications_notification_page_t contract_page_t;
typedef exports_shop_notifications_notifications_error_t contract_error_t;
typedef exports_shop_notifications_notifications_cursor_t contract_cursor_t;

static struct text lent(module_string_t text) {
    return (struct text){(const char *)text.ptr, text.len};
}

static module_string_t given(struct text text) {
    module_string_t copy;
    module_string_dup_n(&copy, text.data, text.size);
    return copy;
}

static contract_notification_t notification_of(const struct notification *told) {
    return (contract_notification_t){
        .id = given(told->id),
        .recipient = given(told->recipient),
        .template_ = given(told->template),
        .text = given(told->text),
        .created_at = given(told->created_at),
    };
}

// What a caller may know. The cause of a failing database is logged here and goes no further.
static contract_error_t error_of(const struct failure *failure) {
    contract_error_t error = {0};
    switch (failure->kind) {
    case FAILURE_INVALID:
        error.tag = EXPORTS_SHOP_NOTIFICATIONS_NOTIFICATIONS_ERROR_INVALID;
        error.val.invalid.field = given(failure->field);
        error.val.invalid.reason = given(failure->reason);
        break;
    case FAILURE_CONFLICT:
        error.tag = EXPORTS_SHOP_NOTIFICATIONS_NOTIFICATIONS_ERROR_CONFLICT;
        error.val.conflict = given(failure->reason);
        break;
    case FAILURE_UNAVAILABLE:
        error.tag = EXPORTS_SHOP_NOTIFICATIONS_NOTIFICATIONS_ERROR_UNAVAILABLE;
        error.val.unavailable = given(failure->reason);
        break;
    case FAILURE_STORAGE:
        HOST.log(HOST.self, LOG_ERROR, TEXT("sql"), failure->cause);
        error.tag = EXPORTS_SHOP_NOTIFICATIONS_NOTIFICATIONS_ERROR_STORAGE;
        error.val.storage = given(failure->reason);
        break;
    }
    return error;
}

bool exports_shop_notifications_notifications_notify(contract_notice_t *notice, module_string_t *deduplication_key,
                                                     contract_notification_t *ret, contract_error_t *err) {
    struct arena arena = {0};
    size_t count = notice->fields.len;
    struct field *fields = arena_take(&arena, count, sizeof *fields);
    for (size_t index = 0; index < count; index++) {
        fields[index] = (struct field){lent(notice->fields.ptr[index].name), lent(notice->fields.ptr[index].value)};
    }
    struct notice wanted = {lent(notice->recipient), lent(notice->template_), fields, count};
    struct notification told;
    struct failure failure;
    bool is_told = notify(&HOST, &arena, wanted, lent(*deduplication_key), &told, &failure);
    if (is_told) {
        *ret = notification_of(&told);
    } else {
        *err = error_of(&failure);
    }
    exports_shop_notifications_notifications_notice_free(notice);
    module_string_free(deduplication_key);
    arena_free(&arena);
    return is_told;
}

bool exports_shop_notifications_notifications_list_notifications(module_string_t *recipient, uint32_t *maybe_limit,
                                                                 contract_cursor_t *maybe_after, contract_page_t *ret,
                                                                 contract_error_t *err) {
    struct arena arena = {0};
    struct text after = maybe_after == NULL ? TEXT("") : lent(*maybe_after);
    struct notification_page page;
    struct failure failure;
    bool is_listed = list_notifications(&HOST, &arena, lent(*recipient), maybe_limit, maybe_after == NULL ? NULL : &after, &page, &failure);
    if (is_listed) {
        contract_notification_t *items = calloc(page.count, sizeof *items);
        if (items == NULL && page.count > 0) abort();
        for (size_t index = 0; index < page.count; index++) items[index] = notification_of(&page.items[index]);
        ret->items.ptr = items;
        ret->items.len = page.count;
        ret->next.is_some = page.next.size > 0;
        if (ret->next.is_some) ret->next.val = given(page.next);
    } else {
        *err = error_of(&failure);
    }
    module_string_free(recipient);
    if (maybe_after != NULL) module_string_free(maybe_after);
    arena_free(&arena);
    return is_listed;
}
