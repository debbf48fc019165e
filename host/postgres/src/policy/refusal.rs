//! The reasons for which the policy refuses a statement.

/// The reason for which a statement is refused before the server sees it. The text is for the statement's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text has no statement.
    #[error("the SQL text contains no statement")]
    Empty,
    /// The text has more than one statement.
    #[error("only one statement can run at a time")]
    Several,
    /// A string, quoted name or comment has no end.
    #[error("a {0} has no end")]
    Unfinished(&'static str),
    /// A character that can't begin a token.
    #[error("the character {0:?} is not allowed here")]
    Character(char),
    /// A form of a token that is not offered.
    #[error("{0} is not allowed")]
    Form(&'static str),
    /// A name is longer than PostgreSQL's names.
    #[error("the name `{0}` has more than 63 bytes")]
    LongName(String),
    /// The number of a placeholder is out of bounds.
    #[error("placeholders are `?1` to `?{0}`")]
    Placeholder(u16),
    /// The statement has more tokens than the given number.
    #[error("the statement has more than {0} words, values and signs")]
    TooLong(usize),
    /// Brackets are nested deeper than the given number.
    #[error("brackets are nested more than {0} deep")]
    TooDeep(usize),
    /// The text is no SQL of PostgreSQL.
    #[error("syntax error near `{0}`")]
    Syntax(String),
    /// A kind of statement that modules can't run.
    #[error("`{word}` is denied: {reason}")]
    Statement {
        /// The statement's first word.
        word: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A part of a statement that is not offered.
    #[error("`{0}` is denied in this place")]
    Construct(String),
    /// A function that is not offered.
    #[error("the function `{0}` is denied")]
    Function(String),
    /// A type that is not offered.
    #[error("the type `{0}` is denied")]
    Type(String),
    /// An operator that is not offered.
    #[error("the operator `{0}` is denied")]
    Operator(String),
    /// A name that belongs to the server or to the host.
    #[error("`{0}`: names that start with `pg_` or `watertight_` are reserved")]
    Reserved(String),
    /// A name with a schema.
    #[error("`{0}`: names are written without a schema, because a module has one schema")]
    Qualified(String),
}

impl Refusal {
    /// A stable word for the kind of refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Empty => "empty",
            Refusal::Several => "several",
            Refusal::Unfinished(_) | Refusal::Character(_) | Refusal::Form(_) | Refusal::Placeholder(_) => "form",
            Refusal::LongName(_) => "long-name",
            Refusal::TooLong(_) | Refusal::TooDeep(_) => "bound",
            Refusal::Syntax(_) => "syntax",
            Refusal::Statement { .. } => "statement",
            Refusal::Construct(_) => "construct",
            Refusal::Function(_) => "function",
            Refusal::Type(_) => "type",
            Refusal::Operator(_) => "operator",
            Refusal::Reserved(_) => "reserved",
            Refusal::Qualified(_) => "qualified",
        }
    }
}
