//! The parts of PostgreSQL's grammar that statements may be made of: its rules and its keywords.
//!
//! Only what stands here is allowed, so that what a later grammar adds is refused. The names are those of PostgreSQL's
//! `gram.y`. A rule also allows what it contains only if that stands here too. A keyword in the place of a name is
//! always allowed.

use std::collections::HashSet;
use std::sync::LazyLock;

use postgresql_cst_parser::syntax_kind::SyntaxKind::{self, *};

use super::Purpose;

/// Punctuation, literals and names.
#[rustfmt::skip]
const TOKENS: &[SyntaxKind] = &[
    Caret, Colon, Comma, Dot, Equals, Greater, LBracket, LParen, Less, Minus, Op, Percent, Plus, RBracket, RParen,
    Slash, Star, COLON_EQUALS, EQUALS_GREATER, FCONST, GREATER_EQUALS, ICONST, IDENT, LESS_EQUALS, NOT_EQUALS,
    PARAM, SCONST, TYPECAST, Whitespace,
];

/// Rules under which a keyword is a name.
const NAMES: &[SyntaxKind] =
    &[bare_label_keyword, col_name_keyword, reserved_keyword, type_func_name_keyword, unreserved_keyword];

/// Rules of statements that read and write rows.
#[rustfmt::skip]
const ROWS_RULES: &[SyntaxKind] = &[
    Root, parse_toplevel, stmtmulti, toplevel_stmt, stmt,
    // Statements
    SelectStmt, InsertStmt, UpdateStmt, DeleteStmt, PreparableStmt, select_no_parens, select_with_parens,
    simple_select, select_clause, values_clause, opt_with_clause, with_clause, cte_list, common_table_expr,
    opt_materialized, opt_search_clause, opt_cycle_clause, opt_all_clause, distinct_clause, set_quantifier,
    opt_target_list, target_list, target_el, from_clause, from_list, where_clause, where_or_current_clause,
    using_clause, group_clause, group_by_list, group_by_item, empty_grouping_set, cube_clause, rollup_clause,
    grouping_sets_clause, having_clause, window_clause, window_definition_list, window_definition, sort_clause,
    opt_sort_clause, sortby_list, sortby, opt_asc_desc, opt_nulls_order, select_limit, opt_select_limit,
    limit_clause, offset_clause, select_limit_value, select_offset_value, select_fetch_first_value, first_or_next,
    row_or_rows, I_or_F_const, for_locking_clause, opt_for_locking_clause, for_locking_items, for_locking_item,
    for_locking_strength, locked_rels_list, opt_nowait_or_skip, insert_target, insert_rest, insert_column_list,
    insert_column_item, override_kind, opt_on_conflict, opt_conf_expr, returning_clause, set_clause_list,
    set_clause, set_target_list, set_target, relation_expr_opt_alias,
    // Tables and what stands for them
    table_ref, joined_table, join_type, opt_outer, join_qual, relation_expr, extended_relation_expr,
    qualified_name, qualified_name_list, alias_clause, opt_alias_clause, opt_alias_clause_for_join_using,
    func_alias_clause, func_table, opt_ordinality, TableFuncElementList, TableFuncElement, opt_collate_clause,
    // Expressions
    a_expr, b_expr, c_expr, columnref, indirection, opt_indirection, indirection_el, opt_slice_bound, AexprConst,
    Iconst, Sconst, SignedIconst, NumericOnly, expr_list, row, explicit_row, implicit_row, array_expr,
    array_expr_list, in_expr, sub_type, subquery_Op, case_expr, case_arg, when_clause_list, when_clause,
    case_default, opt_asymmetric, all_Op, qual_Op, qual_all_Op, MathOp, func_expr, func_expr_windowless,
    func_expr_common_subexpr, func_application, func_name, func_arg_list, func_arg_list_opt, func_arg_expr,
    param_name, within_group_clause, filter_clause, over_clause, window_specification, opt_existing_window_name,
    opt_partition_clause, opt_frame_clause, frame_extent, frame_bound, opt_window_exclusion_clause, extract_list,
    extract_arg, overlay_list, position_list, substr_list, trim_list, unicode_normal_form,
    // Types
    Typename, SimpleTypename, GenericType, opt_type_modifiers, opt_array_bounds, ConstTypename, Numeric,
    opt_float, Character, CharacterWithLength, CharacterWithoutLength, ConstCharacter, character, opt_varying,
    ConstDatetime, opt_timezone, ConstInterval, opt_interval, interval_second, JsonType,
    // Names
    ColId, ColLabel, BareColLabel, attr_name, name, name_list, opt_name_list, any_name, type_function_name,
    NonReservedWord, columnList, columnElem, index_params, index_elem, index_elem_options, opt_collate,
    opt_qualified_name,
];

/// Keywords of statements that read and write rows.
#[rustfmt::skip]
const ROWS_KEYWORDS: &[SyntaxKind] = &[
    ALL, AND, ANY, ARRAY, AS, ASC, ASYMMETRIC, AT, BETWEEN, BIGINT, BOOLEAN_P, BOTH, BREADTH, BY, CASE, CAST,
    CHARACTER, CHAR_P, COALESCE, COLLATE, CONFLICT, CONSTRAINT, CROSS, CUBE, CURRENT_DATE, CURRENT_P,
    CURRENT_TIME, CURRENT_TIMESTAMP, CYCLE, DAY_P, DEC, DECIMAL_P, DEFAULT, DELETE_P, DEPTH, DESC, DISTINCT, DO,
    DOUBLE_P, ELSE, END_P, ESCAPE, EXCEPT, EXCLUDE, EXISTS, EXTRACT, FALSE_P, FETCH, FILTER, FIRST_P, FLOAT_P,
    FOLLOWING, FOR, FROM, FULL, GREATEST, GROUPING, GROUPS, GROUP_P, HAVING, HOUR_P, ILIKE, INNER_P, INSERT,
    INTEGER, INTERSECT, INTERVAL, INTO, INT_P, IN_P, IS, ISNULL, JOIN, JSON, KEY, LAST_P, LATERAL_P, LEADING,
    LEAST, LEFT, LIKE, LIMIT, LOCAL, LOCALTIME, LOCALTIMESTAMP, LOCKED, MATERIALIZED, MINUTE_P, MONTH_P, NATURAL,
    NEXT, NFC, NFD, NFKC, NFKD, NO, NORMALIZE, NORMALIZED, NOT, NOTHING, NOTNULL, NOT_LA, NOWAIT, NULLIF,
    NULLS_LA, NULL_P, NUMERIC, OFFSET, ON, ONLY, OR, ORDER, ORDINALITY, OTHERS, OUTER_P, OVER, OVERLAPS, OVERLAY,
    OVERRIDING, PARTITION, PLACING, POSITION, PRECEDING, PRECISION, RANGE, REAL, RECURSIVE, RETURNING, RIGHT,
    ROLLUP, ROW, ROWS, SEARCH, SECOND_P, SELECT, SET, SETS, SHARE, SIMILAR, SKIP, SMALLINT, SOME, SUBSTRING,
    SYMMETRIC, SYSTEM_P, TABLE, THEN, TIES, TIME, TIMESTAMP, TO, TRAILING, TRIM, TRUE_P, UNBOUNDED, UNION,
    UNKNOWN, UPDATE, USING, VALUES, VALUE_P, VARCHAR, VARIADIC, VARYING, WHEN, WHERE, WINDOW, WITH, WITHIN,
    WITHOUT_LA, WITH_LA, YEAR_P, ZONE,
];

/// More rules, of statements that change the schema.
#[rustfmt::skip]
const SCHEMA_RULES: &[SyntaxKind] = &[
    CreateStmt, OptTableElementList, TableElementList, TableElement, columnDef, ColQualList, ColConstraint,
    ColConstraintElem, ConstraintAttr, ConstraintAttributeSpec, ConstraintAttributeElem, TableConstraint,
    ConstraintElem, opt_column_list, opt_c_include, opt_no_inherit, opt_unique_null_treatment, generated_when,
    OptParenthesizedSeqOptList, SeqOptList, SeqOptElem, opt_by, opt_with, key_match, key_actions, key_action,
    key_update, key_delete,
    // Changes of tables
    AlterTableStmt, alter_table_cmds, alter_table_cmd, alter_column_default, alter_using, opt_column,
    opt_set_data, opt_drop_behavior, alter_identity_column_option_list, alter_identity_column_option, RenameStmt,
    // Indexes, views, types
    IndexStmt, opt_unique, opt_single_name, access_method_clause, opt_include, index_including_params, ViewStmt,
    DefineStmt, opt_enum_val_list, enum_val_list, AlterEnumStmt, opt_if_not_exists, CreateDomainStmt, opt_as,
    AlterDomainStmt, DomainConstraint, DomainConstraintElem,
    // Removal
    DropStmt, object_type_any_name, any_name_list, type_name_list,
];

/// More keywords, of statements that change the schema.
#[rustfmt::skip]
const SCHEMA_KEYWORDS: &[SyntaxKind] = &[
    ACTION, ADD_P, AFTER, ALTER, ALWAYS, BEFORE, CACHE, CASCADE, CHECK, COLUMN, CREATE, DATA_P, DEFERRABLE,
    DEFERRED, DOMAIN_P, DROP, ENUM_P, EXPRESSION, FOREIGN, GENERATED, IDENTITY_P, IF_P, IMMEDIATE, INCLUDE,
    INCREMENT, INDEX, INITIALLY, MATCH, MAXVALUE, MINVALUE, NULLS_P, PRIMARY, REFERENCES, RENAME, REPLACE,
    RESTART, RESTRICT, SIMPLE, START, STORED, TYPE_P, UNIQUE, VALID, VALIDATE, VIEW,
];

/// What a statement of [`Purpose::ConcurrentIndex`] may have besides.
const CONCURRENT: &[SyntaxKind] = &[opt_concurrently, CONCURRENTLY];

fn set(lists: &[&[SyntaxKind]]) -> HashSet<u32> {
    lists.iter().flat_map(|list| list.iter()).map(|kind| *kind as u32).collect()
}

static ROWS_SET: LazyLock<HashSet<u32>> = LazyLock::new(|| set(&[TOKENS, NAMES, ROWS_RULES, ROWS_KEYWORDS]));
static SCHEMA_SET: LazyLock<HashSet<u32>> =
    LazyLock::new(|| set(&[TOKENS, NAMES, ROWS_RULES, ROWS_KEYWORDS, SCHEMA_RULES, SCHEMA_KEYWORDS]));
static CONCURRENT_SET: LazyLock<HashSet<u32>> =
    LazyLock::new(|| set(&[TOKENS, NAMES, ROWS_RULES, ROWS_KEYWORDS, SCHEMA_RULES, SCHEMA_KEYWORDS, CONCURRENT]));

/// Whether a statement for `purpose` may contain this rule, keyword or sign.
pub(super) fn is_allowed(kind: SyntaxKind, purpose: Purpose) -> bool {
    let set = match purpose {
        Purpose::Call => &*ROWS_SET,
        Purpose::Migration => &*SCHEMA_SET,
        Purpose::ConcurrentIndex => &*CONCURRENT_SET,
    };
    set.contains(&(kind as u32))
}

/// Whether a token directly under this rule is a name, even if it is a keyword.
pub(super) fn is_name(kind: SyntaxKind) -> bool {
    NAMES.contains(&kind)
}

/// The kinds of statements for `purpose`.
pub(super) fn statements(purpose: Purpose) -> &'static [SyntaxKind] {
    match purpose {
        Purpose::Call => &[SelectStmt, InsertStmt, UpdateStmt, DeleteStmt],
        Purpose::Migration => &[
            SelectStmt,
            InsertStmt,
            UpdateStmt,
            DeleteStmt,
            CreateStmt,
            AlterTableStmt,
            RenameStmt,
            IndexStmt,
            ViewStmt,
            DefineStmt,
            AlterEnumStmt,
            CreateDomainStmt,
            AlterDomainStmt,
            DropStmt,
        ],
        Purpose::ConcurrentIndex => &[IndexStmt],
    }
}

/// The reason for which a statement of this kind is denied.
pub(super) fn denial(kind: SyntaxKind, purpose: Purpose) -> &'static str {
    match kind {
        TransactionStmt | TransactionStmtLegacy => "the host begins and ends transactions",
        VariableSetStmt | VariableResetStmt | VariableShowStmt | ConstraintsSetStmt | DiscardStmt => {
            "sessions belong to the host"
        }
        PrepareStmt | ExecuteStmt | DeallocateStmt | DeclareCursorStmt | FetchStmt | ClosePortalStmt => {
            "the host prepares statements itself"
        }
        ListenStmt | NotifyStmt | UnlistenStmt | LockStmt => "it reaches beyond the module's own rows",
        CopyStmt | LoadStmt => "it reads or writes outside of the database",
        DoStmt | CallStmt | CreateFunctionStmt | CreateTrigStmt | RuleStmt => "the database runs no code of modules",
        ExplainStmt => "plans tell about the server; use its own tools",
        _ if purpose == Purpose::ConcurrentIndex => "a file that begins with `-- concurrently` has one CREATE INDEX",
        _ if statements(Purpose::Migration).contains(&kind) => "only migrations may change the schema",
        _ => "modules have no such statement",
    }
}
