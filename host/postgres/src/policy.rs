//! Decides which statements may reach the server.
//!
//! Schemas and roles keep a module's tables apart, and nothing more: under a role without rights one can still take
//! advisory locks, wait, send messages, and read the catalogue. So each statement is parsed by PostgreSQL's own
//! grammar, and everything in it must stand in a list: the rules of the grammar and its keywords (`grammar`), functions,
//! types and operators (`names`). Tables are named without a schema, so that they are the module's own.
//!
//! The server gets the text that was judged, in the plain form of [`Statement`], and not the module's own text.

mod grammar;
mod names;
mod refusal;

use std::ops::Range;
use std::thread;

use postgresql_cst_parser::syntax_kind::SyntaxKind;
use postgresql_cst_parser::{NodeOrToken, ParserError, ResolvedNode, ResolvedToken};

use super::lex::{self, Statement};

pub use refusal::Refusal;

/// The stack of the thread that parses. The parser calls itself for each level of its tree, which has at most some levels
/// for each token, and takes a few hundred bytes for each. The memory is used only as far as it is needed.
const STACK: usize = 256 * 1024 * 1024;

/// What a statement is run for. It decides what the statement may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A module's call: reading and writing rows.
    Call,
    /// A migration: changing the schema too.
    Migration,
    /// A migration that runs outside of a transaction, to make an index while others write.
    ConcurrentIndex,
}

/// A statement that the policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The text for the server.
    pub text: String,
    /// The greatest number of a placeholder, and so the number of parameters.
    pub parameters: u16,
    /// Whether the statement inserts, updates or deletes rows, or changes the schema.
    pub writes: bool,
    /// Whether the statement locks the rows that it reads: `FOR UPDATE` and its like.
    pub locks: bool,
    /// The line of the original text on which the statement begins, counted from 1.
    pub line: usize,
}

/// A statement that the policy refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused {
    /// The reason.
    pub refusal: Refusal,
    /// The line of the original text, counted from 1: the statement's first, or that of a malformed token.
    pub line: usize,
}

/// Checks the text of a call. It must have exactly one statement. `types` are the names of the enums and domains in the
/// module's schema.
///
/// The call blocks for some hundred microseconds, and some 10 ms for the longest statements.
///
/// # Errors
/// Returns the reason if the statement is not allowed.
pub fn check_call(sql: &str, types: &[String]) -> Result<Allowed, Refusal> {
    let mut found = lex::statements(sql).map_err(|(refusal, _)| refusal)?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Refusal::Empty),
        (Some(_), false) => Err(Refusal::Several),
        (Some(statement), true) => check(statement, Purpose::Call, types).map_err(|refused| refused.refusal),
    }
}

/// Splits the text of a migration into its statements, in the plain form. [`check`] decides about each, with the types
/// that the schema has at that moment.
///
/// # Errors
/// Returns the first malformed token, or that there is no statement.
pub fn split_migration(sql: &str) -> Result<Vec<Statement>, Refused> {
    match lex::statements(sql) {
        Ok(found) if found.is_empty() => Err(Refused { refusal: Refusal::Empty, line: 1 }),
        Ok(found) => Ok(found),
        Err((refusal, line)) => Err(Refused { refusal, line }),
    }
}

/// Checks one statement. `types` are the names of the enums and domains in the module's schema.
///
/// # Errors
/// Returns the reason with the statement's line if the statement is not allowed.
pub fn check(statement: Statement, purpose: Purpose, types: &[String]) -> Result<Allowed, Refused> {
    let line = statement.line;
    let judge = || {
        let text = statement.text.as_str();
        let tree = postgresql_cst_parser::parse(text).map_err(|error| syntax(text, &error))?;
        // What the parser left out was not judged.
        if tree.text() != text {
            return Err(Refusal::Syntax(beginning(text)));
        }
        Judge { text, purpose, types }.statement(&tree)
    };
    let judged = thread::scope(|scope| {
        let thread = thread::Builder::new().name("sql-parser".to_owned()).stack_size(STACK);
        let unreadable = || Refusal::Syntax(beginning(&statement.text));
        match thread.spawn_scoped(scope, judge) {
            // A panic of the parser is an error of the statement.
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(unreadable())),
            Err(error) => {
                tracing::error!(%error, "the thread that parses a statement can't be started: the statement is refused");
                Err(unreadable())
            }
        }
    });
    let (writes, locks) = judged.map_err(|refusal| Refused { refusal, line })?;
    let Statement { text, parameters, .. } = statement;
    Ok(Allowed { text, parameters, writes, locks, line })
}

fn syntax(text: &str, error: &ParserError) -> Refusal {
    let near = match error {
        ParserError::ParseError { start_byte_pos, .. } => text.get(*start_byte_pos..).unwrap_or_default(),
        ParserError::ScanReport(_) | ParserError::ScanError { .. } => text,
    };
    let near: String = near.split(' ').next().unwrap_or_default().chars().take(40).collect();
    Refusal::Syntax(if near.is_empty() { "the end".to_owned() } else { near })
}

/// Walks the tree of one statement.
struct Judge<'a> {
    /// The statement. The tree's own texts are not used, because the tree looks for each from the root.
    text: &'a str,
    purpose: Purpose,
    types: &'a [String],
}

impl<'a> Judge<'a> {
    /// Returns whether the statement writes, and whether it locks rows.
    fn statement(&self, tree: &ResolvedNode) -> Result<(bool, bool), Refusal> {
        let kind = tree.descendants().find(|node| node.kind() == SyntaxKind::stmt);
        let kind = kind.or_else(|| tree.descendants().find(|node| node.kind() == SyntaxKind::toplevel_stmt));
        let kind = kind.and_then(|node| node.children().next()).map(|node| node.kind()).ok_or(Refusal::Empty)?;
        if !grammar::statements(self.purpose).contains(&kind) {
            let word = self.text.split(' ').find(|word| *word != "(").unwrap_or_default().to_ascii_uppercase();
            return Err(Refusal::Statement { word, reason: grammar::denial(kind, self.purpose) });
        }
        let (mut writes, mut locks) = (kind != SyntaxKind::SelectStmt, false);
        for element in tree.descendants_with_tokens() {
            match element {
                NodeOrToken::Node(node) => {
                    self.node(node)?;
                    use SyntaxKind::{DeleteStmt, InsertStmt, UpdateStmt, for_locking_item};
                    writes |= matches!(node.kind(), InsertStmt | UpdateStmt | DeleteStmt);
                    locks |= node.kind() == for_locking_item;
                }
                NodeOrToken::Token(token) => self.token(token)?,
            }
        }
        Ok((writes, locks))
    }

    fn token(&self, token: &ResolvedToken) -> Result<(), Refusal> {
        let text = self.at(token.text_range());
        match token.kind() {
            _ if grammar::is_name(token.parent().kind()) => Ok(()),
            // `FOR UPDATE OF` names tables. Elsewhere the word belongs to tables that are made of types.
            SyntaxKind::OF if token.parent().kind() == SyntaxKind::locked_rels_list => Ok(()),
            SyntaxKind::Op if !names::OPERATORS.contains(&text) => Err(Refusal::Operator(text.to_owned())),
            kind if grammar::is_allowed(kind, self.purpose) => Ok(()),
            _ => Err(Refusal::Construct(text.to_ascii_uppercase())),
        }
    }

    fn node(&self, node: &ResolvedNode) -> Result<(), Refusal> {
        use SyntaxKind::{
            AexprConst, DefineStmt, ENUM_P, GenericType, access_method_clause, any_name, attrs, columnDef, func_name,
            indirection, indirection_el, name, opt_single_name, qualified_name,
        };
        if !grammar::is_allowed(node.kind(), self.purpose) {
            return Err(Refusal::Construct(self.shortened(node)));
        }
        match node.kind() {
            func_name | GenericType | qualified_name | any_name
                if node.children().any(|part| [indirection, attrs].contains(&part.kind())) =>
            {
                Err(Refusal::Qualified(self.joined(node)))
            }
            func_name if is_under(node, AexprConst) => self.type_name(&self.identifier(node), false),
            func_name => function(self.identifier(node)),
            GenericType => {
                let own = node.children().next().map(|part| self.identifier(part)).unwrap_or_default();
                // Typename and SimpleTypename stand between.
                let column = node.ancestors().nth(3).is_some_and(|above| above.kind() == columnDef);
                self.type_name(&own, column)
            }
            name if is_under(node, access_method_clause) => {
                let method = self.identifier(node);
                let known = names::INDEX_METHODS.contains(&method.as_str());
                if known { Ok(()) } else { Err(Refusal::Construct(format!("USING {method}"))) }
            }
            qualified_name if self.purpose == Purpose::Call && self.identifier(node) == names::KEYVALUE => Ok(()),
            qualified_name | any_name | name | opt_single_name => not_reserved(self.identifier(node)),
            indirection_el if !is_of_column(node) => Err(Refusal::Construct(self.joined(node))),
            DefineStmt => {
                let enumerates = node.children_with_tokens().any(|part| part.kind() == ENUM_P);
                if enumerates { Ok(()) } else { Err(Refusal::Construct(self.shortened(node))) }
            }
            _ => Ok(()),
        }
    }

    fn at(&self, range: impl Into<Range<usize>>) -> &'a str {
        &self.text[range.into()]
    }

    /// The name that a node consists of, without quotes.
    fn identifier(&self, node: &ResolvedNode) -> String {
        unquoted(self.at(node.text_range()))
    }

    /// The text of a node without spaces.
    fn joined(&self, node: &ResolvedNode) -> String {
        self.at(node.text_range()).replace(' ', "")
    }

    /// The beginning of a node's text.
    fn shortened(&self, node: &ResolvedNode) -> String {
        let mut words = self.at(node.text_range()).split(' ');
        let start: Vec<&str> = words.by_ref().take(4).collect();
        let more = if words.next().is_some() { " …" } else { "" };
        format!("{}{more}", start.join(" ").to_ascii_uppercase())
    }

    /// Checks the name of a type. `column` says that the type is that of a new column.
    fn type_name(&self, own: &str, column: bool) -> Result<(), Refusal> {
        let known = names::TYPES.contains(&own) || self.types.iter().any(|known| known == own);
        let serial = column && names::SERIALS.contains(&own);
        if known || serial { Ok(()) } else { Err(Refusal::Type(own.to_owned())) }
    }
}

fn function(own: String) -> Result<(), Refusal> {
    if names::FUNCTIONS.contains(&own.as_str()) { Ok(()) } else { Err(Refusal::Function(own)) }
}

fn not_reserved(own: String) -> Result<(), Refusal> {
    if names::is_reserved(&own) { Err(Refusal::Reserved(own)) } else { Ok(()) }
}

fn is_under(node: &ResolvedNode, kind: SyntaxKind) -> bool {
    node.parent().is_some_and(|parent| parent.kind() == kind)
}

/// Whether an element after a name, `.column` or `[1]`, is allowed: a subscript, or the one point of `table.column`. A
/// second point would name a schema, and a point after an expression could call a function.
fn is_of_column(element: &ResolvedNode) -> bool {
    use SyntaxKind::{Dot, columnref, indirection, indirection_el, opt_indirection};
    if element.children_with_tokens().all(|part| part.kind() != Dot) {
        return true;
    }
    let is_list = |node: &&ResolvedNode| matches!(node.kind(), indirection | opt_indirection);
    let owner = element.ancestors().skip(1).find(|above| !is_list(above));
    // The list grows to the left, so an element with a list before it is not the first one.
    let is_first =
        element.parent().is_some_and(|list| list.children().next().is_some_and(|first| first.kind() == indirection_el));
    owner.is_some_and(|owner| owner.kind() == columnref) && is_first
}

/// The name that a text is, without quotes.
fn unquoted(text: &str) -> String {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => text.to_owned(),
    }
}

/// The first characters of a text.
fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}
