// The texts that customers get, and how their places are filled.

#ifndef TEMPLATE_H
#define TEMPLATE_H

#include "common.h"

// The most places of a template.
#define MAX_PLACES 4

// A value for one of a template's places.
struct field {
    struct text name, value;
};

// A text with places, each `{name}`.
struct template {
    struct text name;
    // Sorted.
    struct text places[MAX_PLACES];
    size_t place_count;
    struct text text;
};

extern const struct template TEMPLATES[];
extern const size_t TEMPLATE_COUNT;

// The template of this name.
const struct template *template_find(struct arena *arena, struct text name, struct failure *failure);
// Puts the fields in the order of the places. There is one for each place and no other.
bool template_arrange(const struct template *template, struct arena *arena, const struct field *fields, size_t count,
                      struct field arranged[MAX_PLACES], struct failure *failure);
// The text with its places filled by arranged fields. What a value says is never read as a place again.
struct text template_render(const struct template *template, struct arena *arena, const struct field arranged[MAX_PLACES]);

#endif
