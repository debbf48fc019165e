//! The functions, types, operators and index methods of PostgreSQL that statements may name.
//!
//! Only what stands here is allowed. A function must not run SQL that it gets as text, read or write outside of its
//! arguments, wait, or tell about the server, the session or other schemas. `tests/server` compares the lists with a real
//! server's catalogue.

/// Functions, without those that have a syntax of their own.
pub(super) const FUNCTIONS: &[&str] = &[
    // Aggregates
    "any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "corr", "count", "covar_pop",
    "covar_samp", "every", "json_agg", "json_object_agg", "jsonb_agg", "jsonb_object_agg", "max", "min", "mode",
    "percentile_cont", "percentile_disc", "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
    "stddev", "stddev_pop", "stddev_samp", "string_agg", "sum", "var_pop", "var_samp", "variance",
    // Windows
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank", "rank",
    "row_number",
    // Numbers
    "abs", "acos", "asin", "atan", "atan2", "cbrt", "ceil", "ceiling", "cos", "cot", "degrees", "div", "exp", "floor", "gcd",
    "lcm", "ln", "log", "log10", "min_scale", "mod", "pi", "pow", "power", "radians", "random", "round", "scale", "sign",
    "sin", "sqrt", "tan", "trim_scale", "trunc", "width_bucket",
    // Texts and bytes
    "ascii", "bit_count", "bit_length", "btrim", "char_length", "character_length", "chr", "concat", "concat_ws", "decode",
    "encode", "format", "get_byte", "initcap", "left", "length", "lower", "lpad", "ltrim", "md5", "octet_length", "overlay",
    "position", "regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_matches", "regexp_replace",
    "regexp_split_to_array", "regexp_split_to_table", "regexp_substr", "repeat", "replace", "reverse", "right", "rpad", "rtrim",
    "set_byte", "sha224", "sha256", "sha384", "sha512", "split_part", "starts_with", "string_to_array", "string_to_table",
    "strpos", "substr", "substring", "to_hex", "translate", "upper",
    // Times
    "age", "clock_timestamp", "date_bin", "date_part", "date_trunc", "isfinite", "justify_days", "justify_hours",
    "justify_interval", "make_date", "make_interval", "make_time", "make_timestamp", "make_timestamptz", "now",
    "statement_timestamp", "timezone", "to_char", "to_date", "to_number", "to_timestamp", "transaction_timestamp",
    // Arrays and sets
    "array_append", "array_cat", "array_dims", "array_length", "array_lower", "array_ndims", "array_position",
    "array_positions", "array_prepend", "array_remove", "array_replace", "array_to_string", "array_upper", "cardinality",
    "generate_series", "generate_subscripts", "trim_array", "unnest",
    // JSON
    "array_to_json", "json_array_elements", "json_array_elements_text", "json_array_length", "json_build_array",
    "json_build_object", "json_each", "json_each_text", "json_extract_path", "json_extract_path_text", "json_object",
    "json_object_keys", "json_strip_nulls", "json_to_record", "json_to_recordset", "json_typeof", "jsonb_array_elements",
    "jsonb_array_elements_text", "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each",
    "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert", "jsonb_object", "jsonb_object_keys",
    "jsonb_path_exists", "jsonb_path_match", "jsonb_path_query", "jsonb_path_query_array", "jsonb_path_query_first",
    "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls", "jsonb_to_record", "jsonb_to_recordset",
    "jsonb_typeof", "row_to_json", "to_json", "to_jsonb",
    // Ranges, enums, addresses, ids
    "daterange", "enum_first", "enum_last", "enum_range", "gen_random_uuid", "host", "int4range", "int8range", "isempty",
    "lower_inc", "lower_inf", "masklen", "network", "num_nonnulls", "num_nulls", "numrange", "range_merge", "tsrange",
    "tstzrange", "upper_inc", "upper_inf",
    // Text search
    "numnode", "phraseto_tsquery", "plainto_tsquery", "setweight", "strip", "to_tsquery", "to_tsvector", "ts_headline",
    "ts_rank", "ts_rank_cd", "websearch_to_tsquery",
];

/// Types that are named like a function. Types with a syntax of their own (`integer`, `timestamp`) are in the grammar.
pub(super) const TYPES: &[&str] = &[
    "bool", "bpchar", "bytea", "cidr", "date", "daterange", "float4", "float8", "inet", "int2", "int4", "int4range", "int8",
    "int8range", "json", "jsonb", "jsonpath", "macaddr", "macaddr8", "numeric", "numrange", "text", "timestamptz", "timetz",
    "tsquery", "tsrange", "tstzrange", "tsvector", "uuid", "varchar",
];

/// Names of types that stand for a column with a sequence of its own. Only a column of a migration can have one.
pub(super) const SERIALS: &[&str] = &["bigserial", "serial", "serial2", "serial4", "serial8", "smallserial"];

/// Operators that are more than one of `+ - * / % ^ < > = <= >= <> !=`, which the grammar knows.
pub(super) const OPERATORS: &[&str] = &[
    "!~", "!~*", "!~~", "!~~*", "#", "#-", "#>", "#>>", "&", "&&", "&<", "&>", "->", "->>", "-|-", "<<", "<<=", "<@", ">>",
    ">>=", "?", "?&", "?|", "@", "@>", "@?", "@@", "^@", "|", "|/", "||", "||/", "~", "~*", "~~", "~~*",
];

/// Methods of indexes.
pub(super) const INDEX_METHODS: &[&str] = &["brin", "btree", "gin", "gist", "hash"];

/// The beginnings of names that belong to the server and to the host.
const RESERVED: &[&str] = &["pg_", "watertight_"];

/// Whether a module may not have or use a relation with this name.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}
